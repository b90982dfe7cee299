"""A tree of 100,000 files is listed and planned: by names alone, each file in its window."""

from __future__ import annotations

import os
from pathlib import Path

from core_helpers import DAY, HOUR, START, STUDY

from dagster_beiwe.adoption.adoption import Adoption
from dagster_beiwe.adoption.old_tree import OldTree
from dagster_beiwe.client import BeiweClient
from dagster_beiwe.lake import StudyLake
from dagster_beiwe.windows import windows_between

PEOPLE = [f"many{number:04}" for number in range(100)]
STREAMS = ("accelerometer", "gps")
HOURS = 500


def test_a_hundred_thousand_files_are_planned(client: BeiweClient, lake: StudyLake, tmp_path: Path) -> None:
    """What ``python -m benchmarks.adopt`` then adopts, this lists only: no file is opened."""
    names = [f"{START + hour * HOUR:%Y-%m-%d %H_%M_%S}+00_00.csv" for hour in range(HOURS)]
    for folder in (tmp_path / who / stream for who in PEOPLE for stream in STREAMS):
        folder.mkdir(parents=True)
        for name in names:
            os.mknod(folder / name, 0o000)
    found = OldTree.read(tmp_path, study_id=STUDY, participants=PEOPLE, streams=STREAMS)
    windows = list(windows_between("weekly", START, START + 28 * DAY))
    plan = Adoption(client, lake, found, windows=windows).plan()
    assert (plan.files, plan.files_held, plan.outside, found.unknown) == (100_000, 0, [], [])
    planned = {who: [cell.window for cell in cells] for who, cells in plan.cells.items()}
    assert planned == dict.fromkeys(PEOPLE, windows[:3])
