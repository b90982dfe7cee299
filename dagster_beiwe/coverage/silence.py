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
from dagster_beiwe.streams import StreamGroup, stream_named
from dagster_beiwe.studies.config import DEFAULT_SILENT_DAYS, StudyConfig

_LIMITS = "silence_limits"

_DAY, _EPOCH = timedelta(days=1), date(1970, 1, 1)
_ROWS_AT_ONCE = 1 << 18


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
    frame: pd.DataFrame, roster: Mapping[str, Enrollment], *, limits: SilenceLimits = DEFAULT_LIMITS
) -> tuple[SilentParticipant, ...]:
    """The enrolled participants of a coverage table who are silent, one entry each, the longest silent first.

    Retired, withdrawn, and not yet enrolled participants are left out. A stream that was switched on recently is silent
    for no longer than since then.
    """
    if frame.empty:
        return ()
    found = []
    for participant, streams in _enrolled(frame):
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


def _enrolled(frame: pd.DataFrame) -> Iterator[tuple[str, list[_Stream]]]:
    """Everybody who is enrolled today, with all streams."""
    participants, streams = frame["participant"].cat, frame["stream"].cat
    shape = len(participants.categories), len(streams.categories)
    people, numbers, days = participants.codes.to_numpy(), streams.codes.to_numpy(), frame["day"].to_numpy()
    arrived, enrolled, expected = (
        each.to_numpy() for each in (has_data(frame), frame["status"] == "enrolled", frame["expected_hours"].notna())
    )
    today = _number(days.max())

    def at(happened: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Cells and days of the rows on which something happened, some at a time: all would take much memory."""
        for start in range(0, len(frame), _ROWS_AT_ONCE):
            part = slice(start, start + _ROWS_AT_ONCE)
            rows = np.flatnonzero(happened[part]) + start
            yield people[rows].astype(np.int32) * shape[1] + numbers[rows], _number(days[rows])

    def last(happened: np.ndarray) -> np.ndarray:
        """The last day on which something happened, or that before the first row."""
        found: np.ndarray = before.copy()
        for cells, day in at(happened):
            np.maximum.at(found, cells, day)
        return found

    before = np.full(shape[0] * shape[1], today)
    for cells, day in at(np.ones(len(frame), bool)):
        np.minimum.at(before, cells, day - 1)
    last_data, last_expected = last(arrived), last(expected)
    waiting = frame["waiting"].dropna()
    is_known = frame["waiting"].notna().to_numpy()
    uploads = np.full(before.shape, -1)
    known = np.concatenate([np.zeros(0, np.int32), *(cells for cells, _ in at(is_known))])
    np.maximum.at(uploads, known, 0)
    np.add.at(uploads, known, waiting.to_numpy(np.int64))
    quiet, owed = (np.maximum(today - last(since) - 1, 0) for since in (arrived | ~enrolled, arrived | ~expected))
    for code in np.unique(people[enrolled & (days == days.max())]).tolist():  # numpy's own would overflow
        own = range(code * shape[1], (code + 1) * shape[1])
        yield (
            str(participants.categories[code]),
            [
                _Stream(
                    stream=str(streams.categories[cell % shape[1]]),
                    expected=bool(last_expected[cell] == today),
                    waiting=int(uploads[cell]) if uploads[cell] >= 0 else None,
                    last=_EPOCH + int(last_data[cell]) * _DAY if last_data[cell] > before[cell] else None,
                    quiet=int(quiet[cell]),
                    owed=int(owed[cell]),
                )
                for cell in own
                if before[cell] < today
            ],
        )


def _number(days: Any) -> Any:
    """Numbers of days."""
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
