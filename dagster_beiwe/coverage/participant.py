"""One participant's coverage, as arrays of days by streams."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, tzinfo

import numpy as np
import pandas as pd

from dagster_beiwe.coverage.days import StudyDays
from dagster_beiwe.coverage.enrollment import Enrollment
from dagster_beiwe.coverage.frame import STATUSES, Status
from dagster_beiwe.lake.manifest import FileSizes
from dagster_beiwe.streams import stream_named
from dagster_beiwe.sync import DailyIndex

UNKNOWN = -1
"""In place of the server's bytes where it does not count, and of waiting files where uploads are not known."""

_MOST_HOURS = 64
"""More than any day has, even one on which the study moved to another time zone."""


class StreamNumbers(dict[str, int]):
    """{stream: its number}. A stream that was not expected gets the next one when it is first seen."""

    def __missing__(self, stream: str) -> int:
        self[stream] = len(self)
        return self[stream]


@dataclass(frozen=True, kw_only=True)
class Held:
    """What the lake holds by day and stream: files, different hours with files, and plain bytes."""

    files: np.ndarray
    hours: np.ndarray
    size_bytes: np.ndarray


def held(windows: Iterable[FileSizes], *, days: StudyDays, numbers: StreamNumbers, until: datetime) -> Held:
    """Count the present files of a participant's windows. Files dated later than ``until`` do not count."""
    found = list(windows)
    streams = _joined(np.array([numbers[name] for name in each.streams], np.int64)[each.stream] for each in found)
    seconds, size_bytes = _joined(each.seconds for each in found), _joined(each.size_bytes for each in found)
    belongs = days.of(seconds)
    inside = (belongs >= 0) & (belongs < len(days.lengths)) & (seconds <= until.timestamp())
    belongs, streams, seconds, size_bytes = (each[inside] for each in (belongs, streams, seconds, size_bytes))
    shape = (len(days.lengths), len(numbers))
    place = belongs * len(numbers) + streams
    has_hour = np.zeros((shape[0] * shape[1], _MOST_HOURS), dtype=bool)
    has_hour[place, days.hours_of(seconds, belongs)] = True
    count = len(has_hour)
    return Held(
        files=np.bincount(place, minlength=count).astype(np.int32).reshape(shape),
        hours=has_hour.sum(axis=1, dtype=np.int8).reshape(shape),
        size_bytes=np.bincount(place, weights=size_bytes, minlength=count).astype(np.int64).reshape(shape),
    )


def _joined(parts: Iterable[Sequence[int] | np.ndarray]) -> np.ndarray:
    return np.concatenate([np.zeros(0, np.int64), *(np.asarray(part, np.int64) for part in parts)])


def counted(
    daily: DailyIndex | None, participant: str, *, days: Sequence[date], streams: Sequence[str], numbers: StreamNumbers
) -> np.ndarray:
    """The bytes that the server counts by day and stream, or ``UNKNOWN``: nothing but ``streams`` was asked for."""
    sizes = np.full((len(days), len(numbers)), UNKNOWN, dtype=np.int64)
    if daily is not None:
        sizes[:, [numbers[stream] for stream in streams if stream not in daily.uncounted]] = 0
        for day in daily.days.get(participant, {}).values():
            number = (day.day - days[0]).days
            if 0 <= number < len(days):
                for stream, size_bytes in day.sizes.items():
                    sizes[number, numbers[stream]] = size_bytes
    return sizes


def waiting(uploads: pd.DataFrame, *, days: StudyDays, numbers: StreamNumbers, processed: np.ndarray) -> np.ndarray:
    """How many files the phone began on each day of a stream of which nothing is ``processed``, yet were uploaded.

    ``uploads`` have a ``stream``, and when the file was ``opened``.
    """
    known = uploads[uploads["stream"].isin(numbers) & uploads["opened"].notna()]
    streams = known["stream"].map(numbers).to_numpy(dtype=np.int64)
    belongs = days.of(known["opened"].astype("datetime64[s, UTC]").astype(np.int64).to_numpy())
    inside = (belongs >= 0) & (belongs < len(processed))
    place = belongs[inside] * processed.shape[1] + streams[inside]
    count = np.bincount(place, minlength=processed.size).astype(np.int32).reshape(processed.shape)
    return np.where(processed, np.int32(0), count)


@dataclass(frozen=True, kw_only=True)
class Attendance:
    """What a participant was on each day from the ``first`` one of the table on, as numbers in ``STATUSES``."""

    first: int
    statuses: np.ndarray

    @property
    def rows(self) -> slice:
        return slice(self.first, self.first + len(self.statuses))

    @property
    def enrolled_until(self) -> int | None:
        """The number of the last day on which the participant was enrolled."""
        enrolled = np.flatnonzero(self.statuses == STATUSES.index("enrolled"))
        return self.first + int(enrolled[-1]) if len(enrolled) else None

    @classmethod
    def of(
        cls,
        person: Enrollment,
        *,
        days: Sequence[date],
        zone: tzinfo,
        data_days: np.ndarray,
        enrolled_until: int | None = None,
    ) -> Attendance:
        """From what the roster says, the numbers of the days on which there is data, and that of the last day on which
        an earlier roster had the participant.

        Somebody without a date of registration counts as enrolled since creation, or else since the first data. The
        server does not report when somebody was retired or withdrew: it is taken to be the day after the last data,
        upload or heartbeat, or after ``enrolled_until`` if that is later. It is the last row. Somebody who never took
        part has only today's row.
        """
        first, last = (int(data_days[0]), int(data_days[-1])) if len(data_days) else (None, None)
        left = person.status in ("retired", "withdrawn")

        def number(day: date | None) -> int | None:
            return min(max(0, (day - days[0]).days), len(days) - 1) if day else None

        contact = person.last_contact.astimezone(zone).date() if person.last_contact else None
        signs = (last, number(contact), number(person.registered), enrolled_until)
        seen = [each for each in signs if each is not None]
        if not seen and (left or person.status == "not enrolled yet"):
            return cls(first=len(days) - 1, statuses=_of(person.status, 1))
        enrolled = _first_of(number(person.registered), number(person.created), first, 0)
        begin = min(each for each in (enrolled, number(person.created), first) if each is not None)
        end = min(max([enrolled, *seen]) + 1, len(days) - 1) if left else len(days)
        parts = [_of("not enrolled yet", enrolled - begin), _of("enrolled", end - enrolled)]
        if left:
            parts.append(_of(person.status, 1))
        return cls(first=begin, statuses=np.concatenate(parts))


def hours_expected(
    person: Enrollment, *, shares: np.ndarray, lengths: np.ndarray, statuses: np.ndarray, streams: Sequence[str]
) -> np.ndarray:
    """The hours expected of an enrolled participant's phone, by day and stream; NaN for nothing."""
    known = [not person.system or person.system in stream_named(stream).platforms for stream in streams]
    enrolled = statuses == STATUSES.index("enrolled")
    return np.where(np.outer(enrolled, known), shares * lengths[:, None], np.nan).astype(np.float32)


def _first_of(*values: int | None) -> int:
    return next(value for value in values if value is not None)


def _of(status: Status, days: int) -> np.ndarray:
    return np.full(max(0, days), STATUSES.index(status), dtype=np.int8)
