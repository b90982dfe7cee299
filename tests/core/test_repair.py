"""A lake that was tampered with is not built upon, and can be brought back to what the server has."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from core_helpers import PERSON, cells_of, sync

from dagster_beiwe.client import BeiweClient
from dagster_beiwe.errors import IntegrityError
from dagster_beiwe.lake import StudyLake
from dagster_beiwe.lake.verify import repair_study, verify_study
from dagster_beiwe.simulator import SimulatedServer

HURTS: dict[str, Callable[[Path, Path], None]] = {
    "manifest removed": lambda manifest, _index: manifest.unlink(),
    "manifest emptied": lambda manifest, _index: manifest.write_bytes(b"{}"),
    "index removed": lambda _manifest, index: index.unlink(),
    "index emptied": lambda _manifest, index: index.write_bytes(b"{}"),
}
"""What may happen to a window's manifest and its participant's index."""


def places(folder: Path, lake: StudyLake) -> tuple[Path, Path]:
    """The newest manifest of the participant, and the index."""
    study = folder / lake.study_id
    return max((study / PERSON / ".beiwe").glob("*.json")), study / ".beiwe" / f"{PERSON}.index"


def test_a_window_that_was_put_back_is_not_committed_over(
    client: BeiweClient, lake: StudyLake, folder: Path, tmp_path: Path
) -> None:
    """An older state of a whole participant folder is noticed before anything new hides it."""
    sync(client, lake, cells_of(PERSON))
    shutil.copytree(folder / lake.study_id / PERSON, tmp_path / "older")
    sync(client, lake, cells_of(PERSON))
    shutil.rmtree(folder / lake.study_id / PERSON)
    shutil.copytree(tmp_path / "older", folder / lake.study_id / PERSON)
    with pytest.raises(IntegrityError, match="put back to an older state"):
        sync(client, lake, cells_of(PERSON))
    assert {finding.kind for finding in verify_study(lake).findings} == {"manifest rolled back"}


@pytest.mark.parametrize("hurt", HURTS)
def test_a_repair_and_a_run_bring_the_lake_back(
    server: SimulatedServer, client: BeiweClient, lake: StudyLake, folder: Path, hurt: str
) -> None:
    """Each damage to manifests and indexes is found; after the repair and a run the lake is intact and whole."""
    sync(client, lake, cells_of(PERSON))
    whole = {record.key for manifest in lake.manifests(PERSON) for record in manifest.files}
    HURTS[hurt](*places(folder, lake))
    found = verify_study(lake)
    assert not found.intact
    repair_study(lake, found.findings, run_id="repair")
    sync(client, lake, cells_of(PERSON))
    assert verify_study(lake).findings == []
    assert {record.key for manifest in lake.manifests(PERSON) for record in manifest.files} == whole
