"""Remove what no retained state names: superseded versions, and files of commits that were never made.

The order makes it safe: list the files; append a record that raises the floor, so that nothing planned before it can be
committed any more; then delete, from that list alone, what no version names that the log retains at that record. Age
never makes a deletion safe: it only chooses a floor that spares runs at work.
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import msgspec

from dagster_beiwe.errors import IntegrityError, PastStateError
from dagster_beiwe.lake.catalog.catalog import Catalog
from dagster_beiwe.lake.catalog.manifests import read_manifest
from dagster_beiwe.lake.catalog.records import Collect, Place
from dagster_beiwe.lake.catalog.state import Entry, Floor, State
from dagster_beiwe.lake.catalog.store import create
from dagster_beiwe.lake.catalog.versions import Version
from dagster_beiwe.lake.layout import Home, Subject, checkpoint_number, is_token, planned_on, record_number
from dagster_beiwe.lake.storage.base import StoredFile

_HOUR: Final = 3600.0
_DAY: Final = 24 * _HOUR
_markers: msgspec.json.Decoder[list[Place]] = msgspec.json.Decoder(list[Place])
_encoder = msgspec.json.Encoder()


@dataclass(frozen=True, kw_only=True)
class Retention:
    """How long superseded versions are kept: all of them for two days, then one a day, up to ``keep_days``.

    A collection on an object store spares runs up to the age ``spare_seconds``; two of the store's own times may
    differ by ``margin_seconds``.
    """

    keep_days: float = 30
    all_seconds: float = 2 * _DAY
    spare_seconds: float = _DAY
    margin_seconds: float = _HOUR

    def superseded(self, versions: Sequence[Version], state: State, now: datetime) -> Iterator[Version]:
        """The versions of one window that are no longer kept. The newest one always is."""
        marks = [snapshot.at.number for snapshot in state.snapshots.values()]
        last_of_day = {version.time // int(_DAY): version.at for version in versions[:-1]}
        for version, following in itertools.pairwise(versions):
            age = state.age(following, now)
            daily = last_of_day[version.time // int(_DAY)] == version.at
            kept = age < _HOUR or (age < self.keep_days * _DAY and (age < self.all_seconds or daily))
            if not kept and not any(version.at <= mark < following.at for mark in marks):
                yield version


@dataclass(frozen=True, kw_only=True)
class Collected:
    """What a collection removed."""

    number: int | None = None
    versions: int = 0
    files: int = 0
    size_bytes: int = 0
    skipped: tuple[Subject, ...] = ()
    """Subjects with a manifest that cannot be read: nothing of theirs was removed."""


@dataclass
class _Plan:
    """What a collection will do on one state. Files of ``left`` may still be committed."""

    dropped: list[tuple[Place, int]] = field(default_factory=list)
    burnt: list[tuple[Place, str]] = field(default_factory=list)
    doomed: list[StoredFile] = field(default_factory=list)
    left: set[Subject] = field(default_factory=set)
    skipped: list[Subject] = field(default_factory=list)


class Collector:
    """Collects one log. ``named`` tells which files a manifest names, as paths in the lake."""

    def __init__(
        self, catalog: Catalog, named: Callable[[Home, bytes], Iterable[str]], *, retention: Retention, run_id: str
    ) -> None:
        self._catalog, self._named, self._retention, self._run_id = catalog, named, retention, run_id
        self._store, self._layout = catalog.store, catalog.layout
        self._named_by: dict[tuple[Subject, str, int], frozenset[str]] = {}

    def collect(self, also: Iterable[Subject] = ()) -> Collected:
        """Collect where dead runs may have left files, where versions are superseded, and the subjects of ``also``.

        Raises ``CommitConflictError`` on a local disk while a run writes to the study, and ``IntegrityError`` if the
        log was cut.
        """
        alone = self._store.locks  # else runs may write meanwhile
        with self._store.guard(self._layout.inside, exclusive=True):
            state = self._catalog.refresh()
            self._catalog.check()
            if alone:  # unfinished files will never be finished
                self._store.delete_all([file.path for file in self._store.scan(self._layout.staging)])
            spared = None if alone else self._floor()
            markers = self._markers()
            dead = markers if spared is None else _planned_before(max(spared.number, state.floor), markers)
            subjects = {*also, *self._superseded(state), *itertools.chain.from_iterable(dead.values())}
            if not subjects and (alone or not markers):  # of batches that had not begun with anybody
                self._tidy(markers, _Plan(), before=state.number + 1 if alone else state.floor)
                return Collected()
            own = self._mark(state, subjects)
            plan, entry = self._begin(subjects, spared)
            self._store.delete_all([file.path for file in plan.doomed])
            # A batch may have written after the list was made, unless it was too late to commit even then.
            self._tidy(markers, plan, before=entry.record.number if alone else state.floor)
            self._store.delete(own)
        return Collected(
            number=entry.record.number,
            versions=len(plan.dropped),
            files=len(plan.doomed),
            size_bytes=sum(max(file.size_bytes, 0) for file in plan.doomed),
            skipped=tuple(plan.skipped),
        )

    def _begin(self, subjects: Iterable[Subject], spared: Floor | None) -> tuple[_Plan, Entry]:
        """List, then raise the floor. Returns what may be deleted from then on."""
        listed = {subject: self._listed(subject) for subject in sorted(subjects, key=str)}
        self._refuse_cut_log(self._catalog.refresh(), itertools.chain.from_iterable(listed.values()))
        plan = _Plan()

        def draft(state: State, start: dict[str, Any]) -> Collect:
            nonlocal plan
            plan = _Plan()
            floor = Floor(start["number"]) if spared is None else spared
            for subject, files in listed.items():
                self._plan(plan, state, subject, files, floor, start["time"])
            return Collect(
                **start, floor=max(floor.number, state.floor), dropped=tuple(plan.dropped), burnt=tuple(plan.burnt)
            )

        entry = self._catalog.append(draft, run_id=self._run_id)
        assert entry is not None
        return plan, entry

    def _plan(
        self, plan: _Plan, state: State, subject: Subject, files: Sequence[StoredFile], floor: Floor, now: datetime
    ) -> None:
        """Add what is to be done about one subject's files."""
        # If the token of any subject is lost, nothing tells whose files its versions name.
        self._catalog.identities.resolve(state, subject.asset)
        token = self._catalog.identities.token(subject, state)
        dropped: list[tuple[str, Version]] = []
        kept: list[tuple[str, Version]] = []
        for window, versions in (state.section(subject.asset).windows(token) if token else {}).items():
            old = {each.at for each in self._retention.superseded(versions, state, now) if each.at <= floor.number}
            for version in versions:
                (dropped if version.at in old else kept).append((window, version))
        try:
            retained = self._files(subject, kept)
        except (IntegrityError, PastStateError):
            plan.skipped.append(subject)
            return
        superseded: set[str] = set()
        with suppress(IntegrityError, PastStateError):  # then its files are judged as any that no version names
            superseded = self._files(subject, dropped)
        plan.dropped += [(Place(token or "", window, subject.asset), version.at) for window, version in dropped]
        rules, burnt = self._catalog.terms.rules, ""
        for file in files:
            if file.path in retained or is_token(file.path):
                continue
            if file.path not in superseded and not rules.may_delete(file, floor, self._retention.margin_seconds):
                plan.left.add(subject)
                continue
            plan.doomed.append(file)
            if file.path not in superseded and planned_on(file.path) is None:
                burnt = max(burnt, file.path.rpartition("/")[2])
        if burnt and token and not self._store.locks:
            plan.burnt.append((Place(token, "", subject.asset), burnt))

    def _files(self, subject: Subject, versions: Iterable[tuple[str, Version]]) -> set[str]:
        """The files that these versions name, and their manifests."""
        found: set[str] = set()
        home = self._layout.home(subject)
        for window, version in versions:
            if not version.readable:
                continue
            key = (subject, window, version.at)
            if key not in self._named_by:
                manifest = read_manifest(self._catalog, subject, window, version)
                path = home.manifest(version.base, version.nonce)
                self._named_by[key] = frozenset((path, *self._named(home, manifest)))
            found |= self._named_by[key]
        return found

    def _superseded(self, state: State) -> Iterator[Subject]:
        """Subjects with a version that is no longer kept."""
        now = self._catalog.terms.now()
        for asset in list(state.sections):
            section = state.section(asset)
            own = {token: section.windows(token).values() for token in section}
            old = [token for token in own if any(any(self._retention.superseded(v, state, now)) for v in own[token])]
            yield from self._catalog.identities.subjects(asset, old, state)

    def _floor(self) -> Floor:
        """The newest record that is older than the runs to spare, by the store's own clock."""
        before = self._catalog.terms.now().timestamp() - self._retention.spare_seconds
        each = self._layout.records_per_folder
        start = self._catalog.state.number // each * each
        for first in range(start, max(start - 2 * each, -1), -each):
            found = [
                Floor(first + place, file.written_at)
                for file in self._store.scan(self._layout.record_folder(first))
                if (place := record_number(file.path.rpartition("/")[2])) is not None and file.written_at <= before
            ]
            if found:
                return max(found)
        return Floor(0, -math.inf)

    def _listed(self, subject: Subject) -> list[StoredFile]:
        home = self._layout.home(subject)
        return [file for file in self._store.scan(home.folder) if file.path.startswith(home.prefix)]

    def _refuse_cut_log(self, state: State, files: Iterable[StoredFile]) -> None:
        for file in files:
            if (planned_on(file.path) or 0) > state.number:
                raise IntegrityError(
                    f"{file.path!r} was planned on a record that the log does not have: it ends at {state.number}. "
                    "Nothing was removed. The log was cut or rolled back to an older state: restore the newest copy."
                )

    def _markers(self) -> dict[str, list[Subject]]:
        """The markers of batches, each with the subjects that it may have written to."""
        return {
            path: [
                subject
                for asset in {place.asset for place in places}
                for subject in self._catalog.identities.subjects(
                    asset, [place.token for place in places if place.asset == asset], self._catalog.state
                )
            ]
            for path, places in read_markers(self._catalog).items()
        }

    def _mark(self, state: State, subjects: Iterable[Subject]) -> str:
        """Leave a marker: if this collection is stopped, the next one finds what it did not delete."""
        path = self._layout.marker(state.number, os.urandom(8).hex(), 0)
        tokens = ((self._catalog.identities.token(each, state), each.asset) for each in subjects)
        places = [Place(token, "", asset) for token, asset in tokens if token]
        create(self._store, path, _encoder.encode(places), staging=self._layout.staging)
        return path

    def _tidy(self, markers: Mapping[str, Sequence[Subject]], plan: _Plan, *, before: int) -> None:
        """Remove the markers of batches that can commit nothing any more and have left nothing."""
        untidy = plan.left.union(plan.skipped)
        for path, subjects in markers.items():
            base = checkpoint_number(path.rpartition("/")[2])
            if base is not None and base < before and untidy.isdisjoint(subjects):
                self._store.delete(path)


def _planned_before(floor: int, markers: Mapping[str, list[Subject]]) -> dict[str, list[Subject]]:
    """Markers of batches older than the floor. Files of spared runs cannot be deleted yet."""
    return {
        path: subjects
        for path, subjects in markers.items()
        if (base := checkpoint_number(path.rpartition("/")[2])) is None or base < floor
    }


def read_markers(catalog: Catalog) -> dict[str, list[Place]]:
    """The markers of batches that are at work or died, by path, with the places that they may have written to.

    A marker of a record that the log does not have is of no batch, and no collection would ever remove it.
    """
    found = {}
    bases = {name: checkpoint_number(name) or 0 for name in catalog.store.list(catalog.layout.runs)}
    if any(base > catalog.state.number for base in bases.values()):
        catalog.refresh()
    for name in (name for name, base in bases.items() if base <= catalog.state.number):
        path = f"{catalog.layout.runs}/{name}"
        with suppress(FileNotFoundError, IntegrityError, msgspec.MsgspecError, RecursionError):
            found[path] = _markers.decode(catalog.store.read(path))
    return found
