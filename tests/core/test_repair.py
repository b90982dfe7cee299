"""A lake that was tampered with is not built upon, and can be brought back to what the server has."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from core_helpers import PASSPHRASE, PERSON, STUDY, cells_of, check_lake, commit, sync, week

from dagster_beiwe.client import BeiweClient
from dagster_beiwe.errors import IntegrityError
from dagster_beiwe.lake import BeiweLake, StudyLake
from dagster_beiwe.lake.repair import repair_study
from dagster_beiwe.lake.verify import Finding, Verification, verify_study
from dagster_beiwe.simulator import SimulatedServer

Hurt = Callable[[Path, Path, Path], None]

HURTS: dict[str, Hurt] = {
    "manifest removed": lambda manifest, _index, _roll: manifest.unlink(),
    "manifest emptied": lambda manifest, _index, _roll: manifest.write_bytes(b"{}"),
    "index removed": lambda _manifest, index, _roll: index.unlink(),
    "index emptied": lambda _manifest, index, _roll: index.write_bytes(b"{}"),
    "roll removed": lambda _manifest, _index, roll: roll.unlink(),
    "roll emptied": lambda _manifest, _index, roll: roll.write_bytes(b"{}"),
    "participant removed": lambda manifest, index, _roll: (shutil.rmtree(manifest.parent.parent), index.unlink())[1],
    "participant and roll removed": lambda manifest, index, roll: (
        shutil.rmtree(manifest.parent.parent), index.unlink(), roll.unlink())[2],
}  # fmt: skip
"""What may happen to a window's manifest, its participant's index and the study's roll."""


def places(folder: Path, lake: StudyLake) -> tuple[Path, Path, Path]:
    """The newest manifest of the participant, the index and the roll."""
    study = folder / lake.study_id
    inside = study / ".beiwe"
    return max((study / PERSON / ".beiwe").glob("*.json")), inside / f"{PERSON}.index", inside / "participants.roll"


def kinds(lake: StudyLake) -> set[str]:
    return {finding.kind for finding in verify_study(lake).findings}


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
    assert kinds(lake) == {"manifest rolled back"}


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


@pytest.mark.parametrize("hurt", ["index removed", "roll removed", "roll emptied"])
def test_what_would_tell_of_a_loss_is_not_made_anew_by_a_run(
    client: BeiweClient, lake: StudyLake, folder: Path, hurt: str
) -> None:
    """A run refuses to write an index or roll in place of one that is gone: the new one would hide what else is."""
    sync(client, lake, cells_of(PERSON))
    HURTS[hurt](*places(folder, lake))
    with pytest.raises(IntegrityError, match="verify"):
        sync(client, lake, cells_of(PERSON)[:1])
    assert kinds(lake) <= {"index missing", "roll missing", "roll changed"}


def test_an_index_and_a_roll_that_were_put_back_are_found_and_repaired(
    client: BeiweClient, lake: StudyLake, folder: Path
) -> None:
    """Each was right once; together with a whole older study they still are, which only the roll's edition tells."""
    _, index, roll = places_after_a_run(client, lake, folder)
    older = {path: path.read_bytes() for path in (index, roll)}
    before = verify_study(lake).roll
    sync(client, lake, cells_of(PERSON))
    assert verify_study(lake).roll > before
    for path, kind in ((index, "index rolled back"), (roll, "roll rolled back")):
        path.write_bytes(older[path])
        found = verify_study(lake)
        assert kind in {finding.kind for finding in found.findings}
        repair_study(lake, found.findings, run_id="repair")
        assert verify_study(lake).findings == []
    sync(client, lake, cells_of(PERSON))
    assert verify_study(lake).findings == []


def places_after_a_run(client: BeiweClient, lake: StudyLake, folder: Path) -> tuple[Path, Path, Path]:
    sync(client, lake, cells_of(PERSON))
    return places(folder, lake)


def test_an_index_made_anew_lets_its_windows_be_looked_at_again(
    client: BeiweClient, lake: StudyLake, folder: Path
) -> None:
    """Nothing tells that the manifests are the newest ones, so no count stands for them."""
    _, index, _ = places_after_a_run(client, lake, folder)
    index.unlink()
    repair_study(lake, verify_study(lake).findings, run_id="repair")
    assert {entry.counted for entry in lake.index(PERSON).values()} == {""}


def test_what_is_committed_while_the_lake_is_verified_is_no_finding(lake: StudyLake, folder: Path) -> None:
    """A file that a run adds to a window that was already looked at is not unlisted."""
    commit(lake, {1: b"first"})
    seen = []

    def meanwhile(so_far: Verification) -> None:
        if not seen:
            seen.append(so_far.windows)
            commit(BeiweLake(folder).study(STUDY, passphrase=PASSPHRASE), {2: b"second"})

    assert verify_study(lake, on_window=meanwhile).findings == []
    assert seen == [1]
    check_lake(folder, lake)


def test_what_was_committed_since_it_was_found_is_not_taken_out(lake: StudyLake, folder: Path) -> None:
    """Findings that are no longer so: the file is listed now, or is what the newest manifest says."""
    manifest = commit(lake, {1: b"first", 2: b"second"})
    one, other = (record.path for record in manifest.files)
    outdated = [
        Finding(kind="file unlisted", participant=PERSON, path=one),
        Finding(kind="file changed", participant=PERSON, window=manifest.window, path=other),
        Finding(kind="file missing", participant=PERSON, window=manifest.window, path=one),
        Finding(kind="manifest rolled back", participant=PERSON, window=manifest.window),
    ]
    repair_study(lake, outdated, run_id="repair")
    assert lake.manifest(PERSON, manifest.window) == manifest
    check_lake(folder, lake)


def test_a_repair_beside_a_run_keeps_what_the_run_commits(lake: StudyLake, folder: Path) -> None:
    """Verified and repaired over and over while another thread commits: every committed file is there."""
    writer = threading.Thread(target=lambda: [commit(lake, {hour: b"%d" % hour}) for hour in range(1, 13)])
    commit(lake, {0: b"0"})
    writer.start()
    while writer.is_alive():
        reader = BeiweLake(folder).study(STUDY, passphrase=PASSPHRASE)
        repair_study(reader, verify_study(reader).findings, run_id="repair")
    writer.join()
    manifest = lake.manifest(PERSON, week())
    assert manifest is not None
    assert [lake.read(PERSON, record) for record in manifest.files] == [b"%d" % hour for hour in range(13)]
    check_lake(folder, lake)
