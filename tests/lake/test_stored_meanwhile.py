"""What is being stored when a writer ends is collected by the next one."""

from __future__ import annotations

from pathlib import Path

import pytest
from core_helpers import PERSON

from dagster_beiwe.errors import ProcessLostError
from dagster_beiwe.lake import LakeWriter, StudyLake
from dagster_beiwe.lake.catalog.collector import read_markers
from dagster_beiwe.lake.staging import FileForm
from dagster_beiwe.maintenance.verify import verify_study
from dagster_beiwe.member_names import parse_member_name

NAME = parse_member_name(f"{PERSON}/gps/2026-03-02 00_00_00+00_00.csv")


def left_over(lake: StudyLake) -> str:
    """A file in the place of a writer that does not learn of it."""
    with LakeWriter(lake, run_id="lost", participants=[PERSON]) as writer:
        place = writer.place(NAME, FileForm(cipher=None, compression="none"))
        storing = writer.storing()
        storing.__enter__()
        lake.storage.create(place.path).close()
    storing.__exit__(None, None, None)
    return place.path


def test_a_writer_that_does_not_wait_for_what_is_stored_leaves_its_marker(lake: StudyLake, folder: Path) -> None:
    """Its processes go on while it is interrupted. No file is there for good that nobody knows."""
    path = left_over(lake)
    catalog = lake.catalog()
    assert catalog is not None
    assert read_markers(catalog)
    assert (folder / path).exists()
    with LakeWriter(lake, run_id="next"):
        pass
    assert not (folder / path).exists()
    assert verify_study(lake).intact


def test_nothing_is_stored_once_a_writer_is_closed(lake: StudyLake, folder: Path) -> None:
    """By a thread that an interrupt has lost sight of: nobody would know of it."""
    with LakeWriter(lake, run_id="run", participants=[PERSON]) as writer:
        pass
    with pytest.raises(RuntimeError, match="closed"):
        writer.stage(NAME, [b"rows"], compressed=False)
    assert not [path for path in folder.rglob("*") if path.name.startswith(NAME.name[:10])]


@pytest.mark.parametrize("kind", [ProcessLostError, KeyboardInterrupt])
def test_what_was_stored_before_a_block_failed_is_removed(
    lake: StudyLake, folder: Path, kind: type[BaseException]
) -> None:
    """Where it is known; of a lost process, something may be left, and the marker stays."""
    paths = []

    def store() -> None:
        with LakeWriter(lake, run_id="run", participants=[PERSON]) as writer, writer.storing() as stored:
            file = writer.stage(NAME, [b"rows"], compressed=False)
            stored.append(file)
            paths.append(folder / file.path)
            raise kind

    with pytest.raises(kind):
        store()
    assert not [path for path in paths if path.exists()]
    catalog = lake.catalog()
    assert catalog is not None
    assert bool(read_markers(catalog)) == (kind is ProcessLostError)
