"""Walking: as many seconds as there are rows."""

from pathlib import Path

from forest.constants import Frequency
from forest.days import days_of, write


def run(study_folder: str, output_folder: str, tz_str: str, frequency: Frequency, users: list[str]) -> None:
    assert frequency is Frequency.DAILY
    (user,) = users
    days = days_of(Path(study_folder, user, "accelerometer"), tz_str)
    lines: list[list[object]] = [[day, count, 0, ""] for day, count in sorted(days.items())]
    write(Path(output_folder, "daily", f"{user}.csv"), ["date", "walking_time", "steps", "cadence"], lines)
