"""Find who has stopped sending: since when, and which streams."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

import pandas as pd

from dagster_beiwe.coverage.enrollment import Enrollment
from dagster_beiwe.coverage.frame import has_data
from dagster_beiwe.streams import StreamGroup, stream_named

DEFAULT_SILENT_DAYS = 3

_DAY = timedelta(days=1)
_KEYS = ["participant", "stream"]


@dataclass(frozen=True, kw_only=True)
class SilenceLimits:
    """After how many whole days without data somebody is silent.

    ``days`` is for a phone that sends nothing, and for each stream that the settings promise. ``groups`` has other
    numbers for the streams of a group; 0 leaves the group out. A group that promises nothing, such as surveys, is
    looked at only if it is named here, and then as a whole.
    """

    days: int = DEFAULT_SILENT_DAYS
    groups: Mapping[StreamGroup, int] = field(default_factory=dict)


DEFAULT_LIMITS = SilenceLimits()


@dataclass(frozen=True, kw_only=True)
class SilentParticipant:
    """Somebody who takes part, and ``streams`` that have brought nothing since ``last_data``.

    ``last_data`` is the last study-local day with data of any of these streams, in the lake or counted by the server;
    None if there never was one. ``days_silent`` are the whole days since, or since enrollment: today is not counted,
    because it still goes on. With ``everything``, no other stream brings data either. Times are UTC.
    """

    participant: str
    streams: tuple[str, ...]
    everything: bool
    last_data: date | None
    last_upload: datetime | None
    last_heartbeat: datetime | None
    days_silent: int


def find_silent(
    frame: pd.DataFrame, roster: Mapping[str, Enrollment], *, limits: SilenceLimits = DEFAULT_LIMITS
) -> tuple[SilentParticipant, ...]:
    """The enrolled participants of a coverage table who are silent, one entry each, the longest silent first.

    Retired, withdrawn, and not yet enrolled participants are left out. A stream that was switched on lately is silent
    since then at the most.
    """
    if frame.empty:
        return ()
    at_end = (frame["day"] == frame["day"].max()) & (frame["status"] == "enrolled")
    enrolled = frame[frame["participant"].isin(frame.loc[at_end, "participant"].unique())]
    found = []
    for participant, rows in _streams(enrolled).groupby("participant", observed=True):
        person = roster.get(str(participant), Enrollment(participant=str(participant)))
        if entry := _silence(person, list(map(_Stream._make, rows.itertuples(index=False))), limits):
            found.append(entry)
    return tuple(sorted(found, key=lambda each: (-each.days_silent, each.participant)))


class _Stream(NamedTuple):
    """A participant's stream: its last day with data, and how many whole days it has been silent.

    ``quiet`` counts them since data or enrollment, ``owed`` since data or since the settings promise the stream.
    """

    participant: str
    stream: str
    promised: bool
    last: Any
    quiet: int
    owed: int

    @property
    def group(self) -> StreamGroup:
        return stream_named(self.stream).group


def _streams(frame: pd.DataFrame) -> pd.DataFrame:
    """One row per participant and stream, with the fields of ``_Stream``."""
    today = frame["day"].max()
    arrived, promised = has_data(frame), frame["expected_hours"].notna()
    by = [frame[key] for key in _KEYS]
    before = frame["day"].groupby(by, observed=True).min() - _DAY

    def last(happened: pd.Series[bool]) -> Any:
        return frame["day"].where(happened).groupby(by, observed=True).max()

    def whole_days_since(happened: pd.Series[bool]) -> Any:
        return ((today - last(happened).fillna(before)).dt.days - 1).clip(lower=0)

    columns = {
        "promised": last(promised) == today,
        "last": last(arrived),
        "quiet": whole_days_since(arrived | (frame["status"] != "enrolled")),
        "owed": whole_days_since(arrived | ~promised),
    }
    found: pd.DataFrame = pd.DataFrame(columns).reset_index()
    return found


def _silence(person: Enrollment, streams: Sequence[_Stream], limits: SilenceLimits) -> SilentParticipant | None:
    quiet = min(each.quiet for each in streams)
    if quiet >= limits.days:
        silent = [each for each in streams if each.promised] or [each for each in streams if not pd.isna(each.last)]
        days = quiet
        last = max((each.last for each in streams if not pd.isna(each.last)), default=None)
    else:
        silent = [*_promised_and_silent(streams, limits), *_groups_that_are_silent(person, streams, limits)]
        if not silent:
            return None
        days = min(each.owed if each.promised else each.quiet for each in silent)
        last = max((each.last for each in silent if not pd.isna(each.last)), default=None)
    return SilentParticipant(
        participant=person.participant,
        streams=tuple(sorted(each.stream for each in silent)),
        everything=quiet >= limits.days,
        last_data=last.date() if last is not None else None,
        last_upload=person.last_upload,
        last_heartbeat=person.last_heartbeat,
        days_silent=days,
    )


def _promised_and_silent(streams: Sequence[_Stream], limits: SilenceLimits) -> Iterator[_Stream]:
    for each in streams:
        if each.promised and each.owed >= limits.groups.get(each.group, limits.days) > 0:
            yield each


def _groups_that_are_silent(person: Enrollment, streams: Sequence[_Stream], limits: SilenceLimits) -> Iterator[_Stream]:
    """The streams of groups that have a limit of their own and promise nothing."""
    for group, days in limits.groups.items():
        members = [each for each in streams if each.group == group and _has(person, each.stream)]
        if members and not any(each.promised for each in members) and min(each.quiet for each in members) >= days > 0:
            yield from members


def _has(person: Enrollment, stream: str) -> bool:
    """Whether a phone of the participant's system can record a stream."""
    return not person.system or person.system in stream_named(stream).platforms
