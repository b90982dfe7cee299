"""What a log says at one of its records: the versions of every window and table, and what may still be committed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from typing import Final, NamedTuple

import msgspec

from dagster_beiwe.errors import IntegrityError
from dagster_beiwe.lake.catalog.records import (
    Accept,
    AnyRecord,
    Begin,
    Change,
    Collect,
    Commit,
    Compare,
    Head,
    Place,
    Proof,
    Purge,
    Repair,
    Snapshot,
    Unsnapshot,
)
from dagster_beiwe.lake.catalog.versions import Section, Version
from dagster_beiwe.lake.layout import planned_on
from dagster_beiwe.lake.storage.base import StoredFile

MARK_EVERY: Final = 64
"""Of so many records the state keeps one hash, to prove that an older record is in the chain; a checkpoint is due."""
_LONGEST_GAP: Final = timedelta(days=7)


class Entry(NamedTuple):
    """A record, and the hash of its bytes."""

    record: AnyRecord
    digest: str

    @property
    def head(self) -> Head:
        return Head(self.record.number, self.digest)


class Floor(NamedTuple):
    """The record that a collection raises the floor to, and when the store wrote it.

    A process that has the log for itself uses its own record, which is newer than everything that it has listed.
    """

    number: int
    written_at: float = math.inf


WITHDRAWN: Final = "its data was withdrawn"
"""Why a change of a participant who was withdrawn since does not count."""


class Rules:
    """What may be committed on a state, and what a collector may delete: the rules that the design page proves."""

    def refusal(self, state: State, change: Change) -> str | None:
        """Why a change does not count on a state any more, None if it does."""
        if change.token in state.purged:
            return WITHDRAWN
        if change.base > state.number:
            return "it was planned on a record that this log does not have"
        if change.base < self.floor(state, change.token):
            return "a collection has begun since it was planned"
        section = state.section(change.asset)
        if change.token not in section and change.base < state.epoch:
            return "somebody was withdrawn since it was planned"
        versions = section.versions(change.token, change.window)
        if versions and versions[-1].at > change.base:
            return "another run committed it since it was planned"
        return None

    def may_delete(self, file: StoredFile, floor: Floor, margin_seconds: float) -> bool:
        """Whether nothing that is committed after the floor was raised can name a file that no version names now.

        A name tells what its batch was planned on; only for a first version's own name does the store's clock have to
        say it.
        """
        base = planned_on(file.path)
        if base is not None:
            return base < floor.number
        return file.written_at < floor.written_at - margin_seconds

    def floor(self, state: State, token: str) -> int:
        """The record before which nothing of a subject may have been planned."""
        burnt = state.burnt.get(token)
        return max(state.floor, burnt[0] if burnt else 0)


RULES: Final = Rules()


@dataclass(kw_only=True)
class State:
    """``number`` and ``digest`` are those of the newest record. A state that was handed out is never changed.

    ``uncounted`` has the records that are more than a week apart from the one before, each with the seconds beyond
    that week; see ``age``. ``withdrawn_at`` is the latest time of a withdrawal.

    ``burnt`` has, for each subject whose folder held files of no version, the record that began to delete them, and
    the last name that must not come again. ``marks`` are hashes of every 64th record, 32 bytes each.
    """

    number: int = -1
    digest: str = ""
    time: datetime = datetime(1970, 1, 1, tzinfo=timezone.utc)
    floor: int = 0
    collected: int = 0
    purged: dict[str, int] = field(default_factory=dict)
    burnt: dict[str, tuple[int, str]] = field(default_factory=dict)
    snapshots: dict[str, Snapshot] = field(default_factory=dict)
    lost: frozenset[Head] = frozenset()
    marks: bytes = b""
    uncounted: tuple[tuple[int, float], ...] = ()
    withdrawn_at: datetime = datetime(1970, 1, 1, tzinfo=timezone.utc)
    proof: Proof = field(default_factory=Proof, compare=False)
    withdrawn: dict[str, int] = field(default_factory=dict)
    """Of a past state: the participants in it who were withdrawn since, each with the record that did it."""
    sections: dict[str, Section | Callable[[], Section]] = field(default_factory=dict)

    @property
    def head(self) -> Head:
        return Head(self.number, self.digest)

    @property
    def epoch(self) -> int:
        """The newest withdrawal, 0 if there was none."""
        return max(self.purged.values(), default=0)

    def age(self, version: Version, now: datetime) -> float:
        """The seconds since a version was committed.

        Between two records at most a week counts, forward or back: a clock that is years ahead makes nothing old.
        """
        jumps = sum(seconds for number, seconds in self.uncounted if number > version.at)
        return now.timestamp() - version.time - jumps - _beyond_a_week(now - self.time)

    def section(self, asset: str = "") -> Section:
        """The versions of an asset's tables, or of the participants; read from the checkpoint when first asked for."""
        found = self.sections.get(asset)
        if found is None:
            return Section()
        if not isinstance(found, Section):
            found = self.sections[asset] = found()
        return found

    def snapshots_of(self, place: Place, at: int) -> list[str]:
        """Names of the snapshots that keep the version which record ``at`` committed."""
        versions = [version.at for version in self.section(place.asset).versions(place.token, place.window)]
        following = min((each for each in versions if each > at), default=math.inf)
        return [name for name, kept in self.snapshots.items() if at in versions and at <= kept.at.number < following]

    def current(self, token: str, asset: str = "") -> dict[str, Version]:
        """The newest version of each window of a participant (of a table, under the empty key), oldest window first."""
        windows = self.section(asset).windows(token)
        return {key: versions[-1] for key, versions in sorted(windows.items()) if versions[-1].readable}

    def mark(self, number: int) -> str | None:
        """The hash of a record whose number is a multiple of 64."""
        start = number // MARK_EVERY * 32
        return self.marks[start : start + 32].hex() if number <= self.number else None

    def replayed(self, entries: Iterable[Entry], rules: Rules = RULES) -> State:
        """The state after more records. Raises ``IntegrityError`` for a record that must not have been committed."""
        entries = list(entries)
        if not entries:
            return self
        state = replace(
            self,
            purged=dict(self.purged),
            burnt=dict(self.burnt),
            snapshots=dict(self.snapshots),
            sections=dict(self.sections),
        )
        replay = _Replay(state, rules)
        for entry in entries:
            replay.take(entry)
        return state

    def without(self, purged: Mapping[str, int]) -> State:
        """The state without subjects whose data was withdrawn later."""
        later = purged.keys() - self.purged.keys()
        if not later:
            return self
        sections: dict[str, Section | Callable[[], Section]] = {}
        for asset in self.sections:
            sections[asset] = section = self.section(asset).copy()
            for token in later:
                section.remove(token)
        return replace(
            self,
            sections=sections,
            purged={**self.purged, **{token: purged[token] for token in later}},
            withdrawn={token: purged[token] for token in later if token in self.section()},
        )


class _Replay:
    """Records taken into a state that nobody else has. Only what they touch is copied."""

    def __init__(self, state: State, rules: Rules) -> None:
        self._state, self._rules = state, rules
        self._own: set[str] = set()

    def take(self, entry: Entry) -> None:  # noqa: C901 - one case for each kind of record
        record, state = entry.record, self._state
        now = int(record.time.timestamp())
        match record:
            case Commit():
                for change in record.changes:
                    self._commit(record.number, now, change)
            case Collect():
                self._collect(record)
            case Purge():
                state.withdrawn_at = max(state.withdrawn_at, record.time)
                for place in record.places:
                    state.purged[place.token] = record.number
                    self._section(place.asset).remove(place.token)
            case Snapshot():
                state.snapshots[record.name] = record
            case Unsnapshot():
                state.snapshots.pop(record.name, None)
            case Accept():
                state.lost |= set(record.lost)
            case Repair():
                for place in record.places:
                    self._append(place, Version(record.number, now, record.number, "", b"", 0, False, ""))
            case Compare():
                for token, windows in record.windows.items():
                    self._compare(token, windows, record.compared)
            case Begin():
                state.time = record.time
        if jump := _beyond_a_week(record.time - state.time):
            state.uncounted += ((record.number, jump),)
        state.number, state.digest, state.time = record.number, entry.digest, record.time
        if record.number % MARK_EVERY == 0:
            state.marks += bytes.fromhex(entry.digest)

    def _collect(self, record: Collect) -> None:
        state = self._state
        if not state.floor <= record.floor <= record.number:
            raise _forbidden(record.number, "its floor is below the one before, or above itself")
        state.floor, state.collected = record.floor, record.number
        for place, at in record.dropped:
            self._drop(place, at)
        for place, name in record.burnt:
            state.burnt[place.token] = (record.number, max(name, state.burnt.get(place.token, (0, ""))[1]))

    def _commit(self, number: int, now: int, change: Change) -> None:
        if (reason := self._rules.refusal(self._state, change)) is not None:
            raise _forbidden(number, reason)
        version = Version(
            number,
            now,
            change.base,
            change.nonce,
            bytes.fromhex(change.sha256),
            change.size_bytes,
            change.complete,
            change.counts,
            change.compared,
            change.offset,
            change.file_bytes,
        )
        self._append(change.place, version)

    def _compare(self, token: str, windows: Iterable[tuple[str, int]], compared: int) -> None:
        """Note when versions that are still the newest ones were compared."""
        own = self._state.section().windows(token)
        self._section("").put(
            token,
            {
                window: (*own[window][:-1], msgspec.structs.replace(own[window][-1], compared=compared))
                for window, at in windows
                if window in own and own[window][-1].at == at
            },
        )

    def _append(self, place: Place, version: Version) -> None:
        section = self._section(place.asset)
        section.put(place.token, {place.window: (*section.versions(place.token, place.window), version)})

    def _drop(self, place: Place, at: int) -> None:
        section = self._section(place.asset)
        versions = section.versions(place.token, place.window)
        section.put(place.token, {place.window: tuple(version for version in versions if version.at != at)})

    def _section(self, asset: str) -> Section:
        """An asset's versions, of which this replay has its own copy."""
        if asset not in self._own:
            self._own.add(asset)
            self._state.sections[asset] = self._state.section(asset).copy()
        return self._state.section(asset)


def _beyond_a_week(gap: timedelta) -> float:
    """The seconds of a gap between two records that do not count."""
    return (gap - min(max(gap, -_LONGEST_GAP), _LONGEST_GAP)).total_seconds()


def _forbidden(number: int, reason: str) -> IntegrityError:
    return IntegrityError(
        f"Record {number} of the log must not have been committed: {reason}. The study was not used. Records were "
        "mixed from two copies of the lake, or an older version wrote it: restore the study from a backup."
    )


def said(when: int | str | datetime) -> str:
    """A past state, in the words of whoever asked for it."""
    match when:
        case str():
            return f"snapshot {when[:80]!r}"
        case datetime():
            return f"state of {when.isoformat(timespec='seconds')} or earlier"
        case _:
            return f"state {when}"
