"""The coverage table, one row per participant, study-local day, and stream: its columns, and the words in them.

The frame's ``attrs`` say when it was made and in which time zone: ``as_of`` (ISO 8601, UTC) and ``time_zone``.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, timezone
from typing import Literal, get_args

import numpy as np
import pandas as pd

Status = Literal["not enrolled yet", "enrolled", "retired", "withdrawn"]
STATUSES: tuple[Status, ...] = get_args(Status)
"""What a participant was on a day."""

State = Literal["complete", "partial", "missing", "not yet", "not expected"]
STATES: tuple[State, ...] = get_args(State)
"""What came on a day of a stream, beside what was promised. ``not yet``: the day still goes on."""

TYPES: Mapping[str, str] = {
    "participant": "category",
    "day": "datetime64[s]",
    "stream": "category",
    "status": "category",
    "files": "int32",
    "hours": "int8",
    "lake_bytes": "int64",
    "server_bytes": "Int64",
    "expected_hours": "float32",
    "waiting": "Int32",
    "state": "category",
}
"""The columns in their order, and their types as pandas calls them."""

AS_OF, TIME_ZONE = "as_of", "time_zone"


def judge_days(*, hours: np.ndarray, arrived: np.ndarray, expected_hours: np.ndarray, today: np.ndarray) -> np.ndarray:
    """The state of each row, as its number in ``STATES``.

    ``arrived`` tells whether the lake or the server has anything of the day, ``today`` whether the day still goes on.
    Fewer hours than a fraction of an hour are not held against a phone.
    """
    complete = hours >= np.floor(expected_hours)
    return np.select(
        [np.isnan(expected_hours), complete, today, arrived],
        [STATES.index("not expected"), STATES.index("complete"), STATES.index("not yet"), STATES.index("partial")],
        default=STATES.index("missing"),
    ).astype(np.int8)


def has_data(frame: pd.DataFrame) -> pd.Series[bool]:
    """Of each row, whether the lake has a file of it, or the server counts any bytes."""
    return (frame["files"] > 0) | (frame["server_bytes"].fillna(0) > 0)


def as_of(frame: pd.DataFrame) -> datetime:
    """When a coverage table was made."""
    return datetime.fromisoformat(frame.attrs[AS_OF]).astimezone(timezone.utc)


def last_day(frame: pd.DataFrame) -> date | None:
    """The day that was going on when a coverage table was made; None for a study without participants."""
    return None if frame.empty else frame["day"].max().date()
