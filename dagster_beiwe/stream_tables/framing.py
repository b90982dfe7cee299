"""What all stream tables have in common: who, when, and the local time of it. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from dagster_beiwe.reading.columns import TEXT_DTYPE
from dagster_beiwe.reading.frames import PARTICIPANT
from dagster_beiwe.reading.rows import UTC_TIME
from dagster_beiwe.stream_tables.definition import TableSources, TypedColumns

LOCAL_TIME: Final = "local time"
TIME_ZONE: Final = "time zone"
CATEGORY: Final = "category"

_FIRST: Final = pd.Timestamp(datetime.min.replace(tzinfo=timezone.utc) + timedelta(days=1))
_LAST: Final = pd.Timestamp(datetime.max.replace(tzinfo=timezone.utc) - timedelta(days=1))

COMMON: TypedColumns = {
    PARTICIPANT: (CATEGORY, "Participant id"),
    UTC_TIME: ("datetime64[ms, UTC]", "When it happened, by the phone's clock"),
    LOCAL_TIME: (
        "datetime64[ms]",
        "The same on the wall clock of the time zone; empty outside the years 1 to 9999",
    ),
    TIME_ZONE: (
        CATEGORY,
        "The zone that the phone last reported when the partition was made, else the study's; empty if none is known",
    ),
}
"""The columns that each of them begins with."""


def framed(frame: pd.DataFrame, sources: TableSources, columns: TypedColumns) -> pd.DataFrame:
    """Rows as a table has them: its ``columns`` and types, among them those that are ``COMMON``, in order of time.

    The rows have their ``UTC time``. Columns that they lack are empty, and others are left out. Rows of the same moment
    keep their order; those without a time come last.
    """
    if not frame[UTC_TIME].is_monotonic_increasing:
        frame = frame.sort_values(UTC_TIME, kind="stable", ignore_index=True)
    zone = sources.zone
    times = in_calendar(frame[UTC_TIME])
    known: dict[str, Any] = {
        PARTICIPANT: _repeated(sources.participant, len(frame)),
        LOCAL_TIME: times.dt.tz_convert(ZoneInfo(zone)).dt.tz_localize(None) if zone else None,
        TIME_ZONE: _repeated(zone, len(frame)),
    }
    typed = {
        name: _typed(known[name] if name in known else frame.get(name), kind, frame.index)
        for name, (kind, _) in columns.items()
    }
    table: pd.DataFrame = pd.DataFrame(typed, index=frame.index, copy=False)
    return table


def in_calendar(times: pd.Series[Any]) -> pd.Series[Any]:
    """Times (UTC), without those that no time zone knows: a wrong clock or a damaged number can be in any year."""
    known: pd.Series[Any] = times
    if len(times) and not (times.min() >= _FIRST and times.max() <= _LAST):
        known = times.where(times.between(_FIRST, _LAST))
    return known


def _typed(values: Any, kind: str, index: pd.Index[Any]) -> Any:
    if kind != CATEGORY:
        return pd.Series(values, index=index, dtype=kind)
    if values is None:
        return pd.Series(_repeated(None, len(index)), index=index)
    return values if isinstance(values, pd.Categorical) else values.astype(CATEGORY)


def _repeated(value: str | None, rows: int) -> pd.Categorical:
    """A category of one value in each row, or in none."""
    categories = pd.Index([] if value is None else [value], dtype=TEXT_DTYPE)
    return pd.Categorical.from_codes(np.full(rows, -1 if value is None else 0, np.int8), categories=categories)
