"""Rows as phones and servers should not send them, each with one fault of its own: pure functions on a file's bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta, timezone

Rows = list[list[str]]
"""The cells of each row of a file."""

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def spoiled(content: bytes, fault: str, **options: str) -> bytes:
    """The content with a fault of ``FAULTS``; raises ``KeyError`` for any other."""
    header, _, body = content.decode().partition("\n")
    rows = [line.split(",") for line in body.split("\n")]
    return "\n".join([header, *(",".join(row) for row in FAULTS[fault](rows, **options))]).encode()


def _times(row: list[str], *, later: timedelta) -> list[str]:
    moment = _EPOCH + timedelta(milliseconds=int(row[0])) + later
    ms = (moment - _EPOCH) // timedelta(milliseconds=1)
    return [str(ms), f"{moment:%Y-%m-%dT%H:%M:%S}.{ms % 1000:03d}"]


def _repeated_timestamps(rows: Rows) -> Rows:
    """Every second row has the time of the one before it."""
    return [[*rows[number - number % 2][:2], *row[2:]] for number, row in enumerate(rows)]


def _disordered_timestamps(rows: Rows) -> Rows:
    """The last row comes first."""
    return [rows[-1], *rows[:-1]]


def _contradicting_times(rows: Rows) -> Rows:
    """The time as text is that of another zone."""
    return [[row[0], _times(row, later=timedelta(hours=-5))[1], *row[2:]] for row in rows]


def _rows_of_another_hour(rows: Rows) -> Rows:
    """A third of the rows is dated three hours later than the file."""
    third = len(rows) // 3
    return [*rows[third:], *([*_times(row, later=timedelta(hours=3)), *row[2:]] for row in rows[:third])]


def _coordinates_out_of_range(rows: Rows) -> Rows:
    """Latitudes beyond the poles, no place at all, and an accuracy that iOS writes for an invalid one."""
    places = (("91.5", "-71.1", "12.0"), ("0.0", "0.0", "12.0"), ("42.3", "-71.1", "-1.0"))
    return [[*row[:2], *place[:2], row[4], place[2]] for row, place in zip(rows, _endless(places), strict=False)]


def _few_rows(rows: Rows) -> Rows:
    """What is left of a sensor that the system puts to sleep."""
    return rows[:1]


def _without_question(rows: Rows, *, question: str) -> Rows:
    """Android's timings lack questions that were answered."""
    return [row for row in rows if question not in row]


def _endless(values: tuple[tuple[str, ...], ...]) -> Iterator[tuple[str, ...]]:
    while True:
        yield from values


FAULTS: Mapping[str, Callable[..., Rows]] = {
    "repeated_timestamps": _repeated_timestamps,
    "disordered_timestamps": _disordered_timestamps,
    "contradicting_times": _contradicting_times,
    "rows_of_another_hour": _rows_of_another_hour,
    "coordinates_out_of_range": _coordinates_out_of_range,
    "few_rows": _few_rows,
    "without_question": _without_question,
}
