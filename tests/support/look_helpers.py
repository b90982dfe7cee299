"""What the tests of looks at the server's counts share."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timezone

from labs import version

from dagster_beiwe.automation.changes import Grid, Held
from dagster_beiwe.sync import DailyIndex
from dagster_beiwe.windows import Window, windows_between

PEOPLE = [f"person{number:02d}" for number in range(8)]
WINDOWS = list(
    windows_between("weekly", datetime(2026, 1, 5, tzinfo=timezone.utc), datetime(2026, 2, 16, tzinfo=timezone.utc))
)
KEYS = [window.key for window in WINDOWS]
GRID = Grid(participants=PEOPLE, windows=WINDOWS, streams=("gps",), today=date(2026, 2, 16))


def committed_as(daily: DailyIndex, participant: str, windows: Sequence[Window] = WINDOWS) -> Held:
    """All windows, with the counts of some day."""
    versions = {each.key: [version(counts=daily.fingerprint(participant, each, ("gps",), b"s"))] for each in windows}
    return Held(versions=versions, secret=b"s")
