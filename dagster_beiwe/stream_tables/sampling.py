"""How densely a sensor was sampled. Pure."""

from __future__ import annotations

from typing import Any

import pandas as pd


def hours_with_rows(times: pd.Series[Any]) -> int:
    """How many hours (UTC) have at least one of the times."""
    return int(times.dt.floor("h").nunique())


def sampling_rate(times: pd.Series[Any]) -> float | None:
    """Rows per second while the sensor was on: 1 over the median interval between sorted times; None for too few.

    Pauses between bursts are few among the intervals, so the median is one inside a burst. Rows of one moment count
    once.
    """
    steps = times.diff().dt.total_seconds()
    median = steps[steps > 0].median()
    return None if pd.isna(median) else round(1 / float(median), 3)
