"""What is wrong with the days of a study: which check fails, of whom, and on which days. Pure, and without values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, Final, Literal, TypeAlias
from zoneinfo import ZoneInfo

import pandas as pd

from dagster_beiwe.coverage.frame import TIME_ZONE, as_of
from dagster_beiwe.streams import stream_named

Severity = Literal["warning", "error"]

FEW: Final = 0.25
"""Less than this share of what is expected from the duty cycle is far fewer."""

MANY_REPEATED: Final = 0.01
"""A larger share of a sensor's rows has the time of an earlier row: phones write a few such rows."""

_ON_ITS_WAY: Final = pd.Timedelta(days=1)
"""Data of today and of the day before may be on its way."""

Flags: TypeAlias = "pd.Series[bool]"


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One way in which a day of a stream can be wrong. ``count`` says how many rows, files, or answers are."""

    what: str
    is_found: Callable[[pd.DataFrame], Flags]
    count: Callable[[pd.DataFrame], pd.Series[Any]]
    severity: Severity = "warning"
    late: bool = False
    """Whether what has not arrived yet looks like it, so that the newest days are left alone."""


def _counted(what: str, column: str, *, severity: Severity = "warning", late: bool = False) -> Fault:
    return Fault(
        what=what,
        is_found=lambda days: days[column] > 0,
        count=lambda days: days[column],
        severity=severity,
        late=late,
    )


def _often_repeated(days: pd.DataFrame) -> Flags:
    sensors = [stream for stream in days["stream"].unique() if (duty := stream_named(stream).duty) and duty.off]
    return days["stream"].isin(sensors) & (days["repeated_timestamps"] > MANY_REPEATED * days["rows"])


CHECKS: Final[Mapping[str, tuple[Fault, ...]]] = {
    "answers_and_timings": (
        _counted("answers without timings", "answers_without_timings", late=True),
        _counted("submissions without answers", "submissions_without_answers", late=True),
    ),
    "timestamps": (
        Fault(
            what="rows with the same timestamp as an earlier row",
            is_found=_often_repeated,
            count=lambda days: days["repeated_timestamps"],
        ),
        _counted("rows earlier than the row before", "disordered_timestamps", severity="error"),
    ),
    "coordinates": (_counted("rows with coordinates out of range", "coordinates_out_of_range"),),
    "sampling": (
        Fault(
            what="minutes with data, where far more are expected",
            is_found=lambda days: days["valid_minutes"] < FEW * days["expected_minutes"],
            count=lambda days: days["valid_minutes"],
            late=True,
        ),
        Fault(
            what="rows, where far more are expected",
            is_found=lambda days: days["rows"] < FEW * days["expected_rows"],
            count=lambda days: days["rows"],
            late=True,
        ),
    ),
    "clock": (
        _counted("files dated after they were uploaded or fetched", "dated_ahead"),
        _counted("files of uploads in which everything was dated days ago", "dated_behind"),
        _counted("rows whose two times contradict each other", "contradicting_times"),
        _counted("rows outside the hour of their file", "outside_hour", severity="error"),
    ),
}


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A fault of a participant's stream: on which days, and how many rows, files, or answers in all."""

    participant: str
    stream: str
    what: str
    severity: Severity
    days: tuple[date, ...]
    number: int


def find_faults(table: pd.DataFrame, check: str) -> tuple[Finding, ...]:
    """What a check finds in the table of a study's days: first of whom the newest day is affected."""
    today = as_of(table).astimezone(ZoneInfo(table.attrs[TIME_ZONE])).date()
    found = [
        Finding(
            participant=str(participant),
            stream=str(stream),
            what=fault.what,
            severity=fault.severity,
            days=tuple(days["day"].dt.date),
            number=int(fault.count(days).sum()),
        )
        for fault in CHECKS[check]
        for (participant, stream), days in _days_with(table, fault, today).groupby(
            ["participant", "stream"], observed=True
        )
    ]
    return tuple(sorted(found, key=lambda each: (-each.days[-1].toordinal(), each.participant, each.stream)))


def _days_with(table: pd.DataFrame, fault: Fault, today: date) -> pd.DataFrame:
    if fault.late:
        table = table[table["day"] < pd.Timestamp(today) - _ON_ITS_WAY]
    found: pd.DataFrame = table[fault.is_found(table).fillna(value=False).astype(bool)]
    return found
