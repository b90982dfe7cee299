"""Thirty hours in Dagster; ``python tests/faults/life.py`` lives through a month."""

from __future__ import annotations

from pathlib import Path

import pytest
from life import ROWS, live
from measured import rows

DAGSTERS_OWN_WARNINGS = (
    "ignore:InitResourceContext.dagster_run is deprecated:DeprecationWarning",  # its nested resources
    "ignore:Property .ScheduleDefinition:DeprecationWarning",  # its snapshots of schedules
    "ignore:.parse_obj_as. is deprecated",  # its reading of YAML
)


@pytest.mark.filterwarnings(*DAGSTERS_OWN_WARNINGS)
@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="this system does not show open files")
def test_thirty_hours_in_dagster_end_well(tmp_path: Path) -> None:
    """Sensors and schedules by the hour, faults, restarts and killed runs: nothing is lost, nothing piles up, and each
    failure of a check is told, once."""
    diary = live(30, tmp_path, seed=16)
    assert diary.equal
    assert diary.files_in_lake > 50
    assert (diary.findings, diary.leftovers) == (0, 0)
    assert diary.ticks["SUCCESS"] > 10
    assert diary.faults.total() > 2
    assert diary.killed
    assert set(diary.told.values()) == {1}
    assert {check for check, _, _ in diary.told} == diary.failed
    assert diary.handles[-1] <= diary.handles[0] + 1


def test_the_document_shows_what_the_diary_tells() -> None:
    """The figures are those of the day that stands beside them; the rows are the diary's."""
    assert rows("life") == list(ROWS)
