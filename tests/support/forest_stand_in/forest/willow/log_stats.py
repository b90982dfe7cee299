"""Calls and texts: how many a day has."""

from pathlib import Path

from forest.constants import Frequency
from forest.days import days_of, write


def log_stats_inner(beiwe_id: str, output_folder: str, study_folder: str, frequency: Frequency, tz_str: str) -> None:
    assert frequency is Frequency.DAILY
    calls, texts = (days_of(Path(study_folder, beiwe_id, stream), tz_str) for stream in ("calls", "texts"))
    assert calls, "Forest needs rows of both"
    assert texts, "Forest needs rows of both"
    lines: list[list[object]] = [
        [*map(int, day.split("-")), calls[day], texts[day]] for day in sorted({*calls, *texts})
    ]
    write(Path(output_folder, f"{beiwe_id}.csv"), ["year", "month", "day", "num_in_call", "num_s"], lines)
