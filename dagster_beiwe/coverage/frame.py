"""The coverage table, one row per participant, study-local day, and stream: its columns, and the words in them.

The frame's ``attrs`` say when it was made and in which time zone: ``as_of`` (ISO 8601, UTC) and ``time_zone``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timezone
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd

Status = Literal["not enrolled yet", "enrolled", "retired", "withdrawn"]
STATUSES: tuple[Status, ...] = get_args(Status)
"""What a participant was on a day."""

State = Literal["complete", "partial", "missing", "not yet", "not expected"]
STATES: tuple[State, ...] = get_args(State)
"""What arrived on a day of a stream, compared with what was expected. ``not yet``: the day is not over."""

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

_ABSENT: Mapping[str, np.generic] = {
    "files": np.int32(0),
    "hours": np.int8(0),
    "lake_bytes": np.int64(0),
    "server_bytes": np.int64(-1),
    "waiting": np.int32(-1),
    "expected_hours": np.float32("nan"),
}
"""What stands for a stream that a block lacks."""

_ROUNDING = 1e-4
"""What the product of a share and a day's hours may lack."""


@dataclass(frozen=True, kw_only=True)
class Block:
    """The rows of one participant: consecutive days from ``first_day`` on, by streams.

    ``statuses`` has a number of ``STATUSES`` for each day. ``server_bytes`` and ``waiting`` are negative if they are
    not known. A block may lack the last streams of the table: nobody asked for them, and it has none of their files.
    """

    participant: str
    first_day: date
    statuses: np.ndarray
    files: np.ndarray
    hours: np.ndarray
    lake_bytes: np.ndarray
    server_bytes: np.ndarray
    waiting: np.ndarray
    expected_hours: np.ndarray


def coverage_table(
    blocks: Iterable[Block], *, streams: Callable[[], Sequence[str]], today: date, now: datetime, time_zone: str
) -> pd.DataFrame:
    """The table of all participants' blocks, whose order it keeps. Days before ``today`` are over.

    ``streams`` are asked for when all blocks were seen.
    """
    participants: list[str] = []
    days: list[np.ndarray] = []
    statuses: list[np.ndarray] = []
    # Many small arrays would leave gaps in memory that are as large as the table.
    cells = {name: bytearray() for name in _ABSENT}
    shapes: dict[str, list[tuple[int, int]]] = {name: [] for name in _ABSENT}
    for block in blocks:
        participants.append(block.participant)
        days.append(np.datetime64(block.first_day, "s") + np.arange(len(block.statuses)) * np.timedelta64(1, "D"))
        statuses.append(block.statuses)
        for name, absent in _ABSENT.items():
            own = np.ascontiguousarray(getattr(block, name), absent.dtype)
            cells[name] += own.data
            shapes[name].append((own.shape[0], own.shape[1]))
    names = streams()
    order = np.argsort(np.array(names, dtype=object), kind="stable")
    lengths = np.array([len(each) for each in days], dtype=np.int64)
    columns: dict[str, Any] = {
        "participant": _categories(np.repeat(np.arange(len(days), dtype=np.int32), lengths * len(names)), participants),
        "day": np.repeat(_joined(days, TYPES["day"]), len(names)),
        "stream": _categories(np.tile(np.arange(len(names), dtype=np.int32), lengths.sum()), sorted(names)),
        "status": _categories(np.repeat(_joined(statuses, "int8"), len(names)), STATUSES),
        **{name: _widened(cells.pop(name), shapes[name], order, absent) for name, absent in _ABSENT.items()},
    }
    frame: pd.DataFrame = pd.DataFrame(_judged(columns, today), columns=list(TYPES), copy=False)
    frame.attrs = {AS_OF: now.astimezone(timezone.utc).isoformat(timespec="seconds"), TIME_ZONE: time_zone}
    return frame


def _judged(columns: dict[str, Any], today: date) -> dict[str, Any]:
    """The columns with those that follow from them, and with nulls where nothing is known."""
    server_bytes, waiting = columns["server_bytes"], columns["waiting"]
    states = judge_days(
        hours=columns["hours"],
        arrived=(columns["files"] > 0) | (server_bytes > 0),
        expected_hours=columns["expected_hours"],
        today=columns["day"] == np.datetime64(today, "s"),
    )
    return {
        **columns,
        "server_bytes": pd.arrays.IntegerArray(server_bytes, server_bytes < 0),
        "waiting": pd.arrays.IntegerArray(waiting, waiting < 0),
        "state": _categories(states, STATES),
    }


def judge_days(*, hours: np.ndarray, arrived: np.ndarray, expected_hours: np.ndarray, today: np.ndarray) -> np.ndarray:
    """The state of each row, as its number in ``STATES``.

    ``arrived`` tells whether the lake or the server has anything of the day, ``today`` whether the day is not over.
    Fractions of an hour are not held against a phone.
    """
    full_hours = expected_hours + _ROUNDING
    complete = hours >= np.floor(full_hours, out=full_hours)
    states = np.full(len(hours), STATES.index("missing"), np.int8)
    states[arrived] = STATES.index("partial")
    states[today] = STATES.index("not yet")
    states[complete] = STATES.index("complete")
    states[np.isnan(expected_hours)] = STATES.index("not expected")
    return states


def _joined(parts: Iterable[np.ndarray], kind: str) -> np.ndarray:
    return np.concatenate([np.empty(0, dtype=kind), *parts])


def _widened(
    cells: bytearray, shapes: Sequence[tuple[int, int]], order: np.ndarray, absent: np.generic
) -> npt.NDArray[Any]:
    """The cells of all blocks, day by day, with streams that a block lacks, in the order of the table.

    Each block has a shape: its days and streams.
    """
    values = np.frombuffer(cells, absent.dtype)
    if all(width == len(order) for _, width in shapes) and (order == np.arange(len(order))).all():
        return values
    ends = np.cumsum([days * width for days, width in shapes])
    parts = zip(np.split(values, ends[:-1]), shapes, strict=False)
    padded = (
        np.pad(part.reshape(days, width), ((0, 0), (0, len(order) - width)), constant_values=absent)[:, order].ravel()
        for part, (days, width) in parts
    )
    return _joined(padded, str(absent.dtype))


def _categories(codes: npt.NDArray[np.integer[Any]], words: Sequence[str]) -> Any:
    return pd.Categorical.from_codes(codes, pd.Index(list(words)))


def enrolled_now(coverage: pd.DataFrame) -> frozenset[str]:
    """The participants who are enrolled on the last day of a coverage table."""
    last = coverage["day"] == coverage["day"].max()
    return frozenset(map(str, coverage.loc[last & (coverage["status"] == "enrolled"), "participant"].unique()))


def has_data(frame: pd.DataFrame) -> pd.Series[bool]:
    """Of each row, whether the lake has a file of it, or the server counts any bytes."""
    return (frame["files"] > 0) | (frame["server_bytes"] > 0).to_numpy(bool, na_value=False)


def as_of(frame: pd.DataFrame) -> datetime:
    """When a coverage table was made."""
    return datetime.fromisoformat(frame.attrs[AS_OF]).astimezone(timezone.utc)
