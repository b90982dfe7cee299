"""Study-local days: when each begins, and so which day a file belongs to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, tzinfo

import numpy as np

from dagster_beiwe.sync import DailyIndex
from dagster_beiwe.windows import Window, local_day

_DAY = timedelta(days=1)
_HOUR = 3600


def days_between(first: date, last: date) -> list[date]:
    """All dates from the first to the last one."""
    return [first + number * _DAY for number in range((last - first).days + 1)]


@dataclass(frozen=True)
class StudyDays:
    """Consecutive study-local days, as ``starts`` in seconds since 1970; the last one is the end of the last day.

    The first day may ``begin`` late, with the first window. Each day lasts until the next one begins, so every moment
    belongs to one day: also after the study's time zone was changed, when the server's days overlap, or leave hours
    out.
    """

    starts: np.ndarray

    @classmethod
    def in_zone(cls, days: Sequence[date], zone: tzinfo, *, begin: datetime) -> StudyDays:
        """Days as they are in one time zone."""
        return cls._of([begin, *(local_day(day, zone)[0] for day in days[1:]), local_day(days[-1], zone)[1]])

    @classmethod
    def counted(cls, days: Sequence[date], daily: DailyIndex, participant: str, *, begin: datetime) -> StudyDays:
        """Days as the server counted them for a participant: each in the time zone that its row names."""
        hours = [daily.day(participant, day).hours for day in days]
        return cls._of([begin, *(each.start for each in hours[1:]), hours[-1].end])

    @classmethod
    def _of(cls, moments: Sequence[datetime]) -> StudyDays:
        return cls(np.maximum.accumulate(np.array([int(moment.timestamp()) for moment in moments], dtype=np.int64)))

    @property
    def lengths(self) -> np.ndarray:
        """The hours of each day: 23 or 25 when clocks change, and others when the study's time zone does."""
        return np.asarray(np.diff(self.starts) / _HOUR)

    def of(self, seconds: np.ndarray) -> np.ndarray:
        """The number of the day that each moment belongs to: negative before the first day, and too large after the
        last."""
        return np.searchsorted(self.starts, seconds, side="right") - 1

    def hours_of(self, seconds: np.ndarray, days: np.ndarray) -> np.ndarray:
        """The number of the hour within its day that each moment belongs to."""
        return np.asarray((seconds - self.starts[days]) // _HOUR)


class TouchedWindows:
    """Which of consecutive windows each day touches."""

    def __init__(self, windows: Sequence[Window], days: StudyDays) -> None:
        starts, ends = (
            np.array([int(moment.timestamp()) for moment in moments])
            for moments in zip(*((each.start, each.end) for each in windows), strict=True)
        )
        self._first = np.searchsorted(ends, days.starts[:-1], side="right")
        self._stop = np.maximum(np.searchsorted(starts, days.starts[1:], side="left"), self._first)
        self._count = len(windows)

    def days_within(self, windows: np.ndarray) -> np.ndarray:
        """The days that touch such windows alone, as a mask of the days; ``windows`` is one of the windows."""
        others = np.concatenate([[0], np.cumsum(~windows)])
        return np.asarray((others[self._stop] == others[self._first]) & (self._stop > self._first))

    def of(self, days: np.ndarray) -> np.ndarray:
        """The windows that some days touch, as a mask of the windows; ``days`` is one of the days."""
        edges = np.zeros(self._count + 1, dtype=np.int64)
        np.add.at(edges, self._first[days], 1)
        np.add.at(edges, self._stop[days], -1)
        return np.asarray(np.cumsum(edges)[:-1] > 0)
