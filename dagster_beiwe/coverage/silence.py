"""Find who has stopped sending: since when, and which streams."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from dagster_beiwe.coverage.enrollment import Enrollment
from dagster_beiwe.coverage.frame import has_data
from dagster_beiwe.parts import ROWS_AT_ONCE, row_parts
from dagster_beiwe.streams import StreamGroup, stream_named
from dagster_beiwe.studies.config import DEFAULT_SILENT_DAYS, StudyConfig

_LIMITS = "silence_limits"

_DAY, _EPOCH = timedelta(days=1), date(1970, 1, 1)


@dataclass(frozen=True, kw_only=True)
class SilenceLimits:
    """After how many whole days without data somebody is silent.

    ``days`` is for a phone that sends nothing, and for each stream expected from the settings. ``groups`` has different
    numbers for the streams of a group; 0 leaves the group out. A group of which nothing is expected, such as surveys,
    is looked at only if it is named here, and then as a whole.
    """

    days: int = DEFAULT_SILENT_DAYS
    groups: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def configured(cls, config: StudyConfig) -> SilenceLimits:
        """The limits of a study."""
        return cls(days=config.silent_days, groups=config.silent_groups)


DEFAULT_LIMITS = SilenceLimits()


def with_limits(frame: pd.DataFrame, limits: SilenceLimits) -> pd.DataFrame:
    """The coverage table with the study's limits in its ``attrs``, for those who have the lake alone."""
    carrying: pd.DataFrame = frame.copy(deep=False)
    carrying.attrs = {**frame.attrs, _LIMITS: {"days": limits.days, "groups": dict(limits.groups)}}
    return carrying


def limits_in(frame: pd.DataFrame) -> SilenceLimits:
    """The limits that a coverage table was made with, or the usual ones."""
    return SilenceLimits(**frame.attrs.get(_LIMITS, {}))


@dataclass(frozen=True, kw_only=True)
class SilentParticipant:
    """Somebody who takes part, and ``streams`` that have brought nothing since ``last_data``.

    ``last_data`` is the last study-local day with data of any of these streams, in the lake or counted by the server;
    None if there never was one. ``days_silent`` are the whole days since, or since enrollment: today is not counted,
    because it is not over. With ``everything``, no other stream brings data either. Times are UTC. ``waiting`` are
    files that the phone has uploaded since, and of whose days the server has processed nothing; None if unknown.
    """

    participant: str
    streams: tuple[str, ...]
    everything: bool
    last_data: date | None
    last_upload: datetime | None
    last_heartbeat: datetime | None
    days_silent: int
    waiting: int | None = None

    @property
    def what(self) -> str:
        """What is silent, in words."""
        return "everything" if self.everything else ", ".join(self.streams)


def find_silent(
    frame: pd.DataFrame,
    roster: Mapping[str, Enrollment],
    *,
    limits: SilenceLimits = DEFAULT_LIMITS,
    rows_at_once: int = ROWS_AT_ONCE,
) -> tuple[SilentParticipant, ...]:
    """The enrolled participants of a coverage table who are silent, one entry each, the longest silent first.

    Retired, withdrawn, and not yet enrolled participants are left out. A stream that was switched on recently is silent
    for no longer than since then.
    """
    if frame.empty:
        return ()
    found = []
    for participant, streams in _enrolled(frame, rows_at_once=rows_at_once):
        person = roster.get(participant, Enrollment(participant=participant))
        if entry := _silence(person, streams, limits):
            found.append(entry)
    return tuple(sorted(found, key=lambda each: (-each.days_silent, each.participant)))


@dataclass(frozen=True, kw_only=True)
class _Stream:
    """A participant's stream: its last day with data, and how many whole days it has been silent.

    ``quiet`` counts them since data or enrollment, ``owed`` since data or since the stream is expected.
    """

    stream: str
    expected: bool
    waiting: int | None
    last: date | None
    quiet: int
    owed: int

    @property
    def group(self) -> StreamGroup:
        return stream_named(self.stream).group


class _Cells:
    """What a coverage table says of each cell, a stream of a participant. Days are numbers."""

    def __init__(self, count: int, *, today: int) -> None:
        self._today = today
        self._before = np.full(count, today, np.int32)
        """The day before a cell's first row; today if it has none."""
        never = np.iinfo(np.int32).min
        self._data, self._expected, self._not_quiet, self._not_owed = np.full((4, count), never, np.int32)
        """The last days of each kind."""
        self._waiting = np.full(count, -1)
        self.enrolled_today = np.zeros(count, bool)

    def add(self, cells: np.ndarray, rows: pd.DataFrame) -> None:
        """Take in some more rows, which belong to these cells."""
        days = _day_numbers(rows["day"].to_numpy())
        arrived, enrolled, expected, known = (
            each.to_numpy()
            for each in (
                has_data(rows),
                rows["status"] == "enrolled",
                rows["expected_hours"].notna(),
                rows["waiting"].notna(),
            )
        )
        np.minimum.at(self._before, cells, days - 1)
        for last, happened in (
            (self._data, arrived),
            (self._expected, expected),
            (self._not_quiet, arrived | ~enrolled),
            (self._not_owed, arrived | ~expected),
        ):
            np.maximum.at(last, cells[happened], days[happened])
        np.maximum.at(self._waiting, cells[known], 0)
        np.add.at(self._waiting, cells[known], rows["waiting"].to_numpy(np.int64, na_value=0)[known])
        self.enrolled_today[cells[enrolled & (days == self._today)]] = True

    def stream(self, cell: int, name: str) -> _Stream | None:
        """The stream of a cell; None if it has no rows."""
        before, data, waiting = int(self._before[cell]), int(self._data[cell]), int(self._waiting[cell])
        if before == self._today:
            return None
        return _Stream(
            stream=name,
            expected=bool(self._expected[cell] == self._today),
            waiting=waiting if waiting >= 0 else None,
            last=_EPOCH + data * _DAY if data > before else None,
            quiet=max(self._today - max(int(self._not_quiet[cell]), before) - 1, 0),
            owed=max(self._today - max(int(self._not_owed[cell]), before) - 1, 0),
        )


def _enrolled(frame: pd.DataFrame, *, rows_at_once: int) -> Iterator[tuple[str, list[_Stream]]]:
    """Everybody who is enrolled today, with all streams."""
    people, streams = ([str(name) for name in frame[each].cat.categories] for each in ("participant", "stream"))
    table = _Cells(len(people) * len(streams), today=int(_day_numbers(frame["day"].to_numpy().max())))
    for part in row_parts(len(frame), at_once=rows_at_once):
        rows = frame.iloc[part]
        person, stream = (rows[each].cat.codes.to_numpy(np.int32) for each in ("participant", "stream"))
        table.add(person * len(streams) + stream, rows)
    for number in np.flatnonzero(table.enrolled_today.reshape(len(people), -1).any(axis=1)).tolist():
        own = (table.stream(number * len(streams) + place, name) for place, name in enumerate(streams))
        yield people[number], [each for each in own if each]


def _day_numbers(days: Any) -> Any:
    """Days since 1970."""
    return days.astype("datetime64[D]").astype(np.int32)


def _silence(person: Enrollment, streams: Sequence[_Stream], limits: SilenceLimits) -> SilentParticipant | None:
    quiet = min(each.quiet for each in streams)
    if everything := quiet >= limits.days:
        days, about = quiet, list(streams)
        silent = [each for each in streams if each.expected] or [each for each in streams if each.last]
    else:
        silent = about = [*_expected_and_silent(streams, limits), *_groups_that_are_silent(person, streams, limits)]
        if not silent:
            return None
        days = min(each.owed if each.expected else each.quiet for each in silent)
    waiting = [each.waiting for each in about if each.waiting is not None]
    return SilentParticipant(
        participant=person.participant,
        streams=tuple(sorted(each.stream for each in silent)),
        everything=everything,
        last_data=max((each.last for each in about if each.last), default=None),
        last_upload=person.last_upload,
        last_heartbeat=person.last_heartbeat,
        days_silent=days,
        waiting=sum(waiting) if waiting else None,
    )


def _expected_and_silent(streams: Sequence[_Stream], limits: SilenceLimits) -> Iterator[_Stream]:
    for each in streams:
        if each.expected and each.owed >= limits.groups.get(each.group, limits.days) > 0:
            yield each


def _groups_that_are_silent(person: Enrollment, streams: Sequence[_Stream], limits: SilenceLimits) -> Iterator[_Stream]:
    """The streams of groups that have a limit of their own, and of which nothing is expected."""
    for group, days in limits.groups.items():
        members = [each for each in streams if each.group == group and _has(person, each.stream)]
        if members and not any(each.expected for each in members) and min(each.quiet for each in members) >= days > 0:
            yield from members


def _has(person: Enrollment, stream: str) -> bool:
    """Whether a phone of the participant's system can record a stream."""
    return not person.system or person.system in stream_named(stream).platforms
