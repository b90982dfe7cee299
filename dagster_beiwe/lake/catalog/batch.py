"""What one run plans, writes and commits on one state of a log.

A batch reads the state first and writes afterwards, so that everything it made is younger than the record it names as
its base. (On a disk that locks, files may be older: no collector runs meanwhile.) Files that a record may name are left
in place until it is known that none does.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

import msgspec

from dagster_beiwe.errors import WithdrawnError
from dagster_beiwe.lake.catalog.authentication import digest
from dagster_beiwe.lake.catalog.catalog import Catalog
from dagster_beiwe.lake.catalog.records import Change, Commit, Place
from dagster_beiwe.lake.catalog.state import State
from dagster_beiwe.lake.catalog.store import create
from dagster_beiwe.lake.layout import Subject

if TYPE_CHECKING:
    from typing_extensions import Self

MOST_CHANGES: Final = 16
"""So many changes share a record."""

_encoder = msgspec.json.Encoder()


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a change: the record that committed it, or why it does not count."""

    record: int
    refused: str | None = None


@dataclass(frozen=True, kw_only=True)
class NewVersion:
    """A version that is to be committed: its manifest as it is stored, and the ``files`` that were written for it.

    ``counts`` is a fingerprint that was made with the subject's secret.
    """

    window: str = ""
    manifest: bytes
    files: Sequence[str] = ()
    complete: bool = True
    counts: str = ""
    compared: int = 0


class Batch:
    """A batch of changes planned on ``state``; use it as a context manager.

    A marker says whom it may write for, ``subjects`` and ``later`` perhaps others, so that a collector knows where to
    look if the run dies. It is removed at the end, unless something is left that a record may yet name.

    ``plan`` continues with a newer state: changes that were prepared before keep the base that they were planned on.
    """

    def __init__(
        self, catalog: Catalog, *, run_id: str, subjects: Iterable[Subject] = (), later: Iterable[Subject] = ()
    ) -> None:
        self._catalog, self._run_id = catalog, run_id
        self._subjects, self._later = tuple(subjects), tuple(later)
        self._places: dict[Subject, Place] = {}
        self._proposed: dict[Subject, Place] = {}
        """The tokens that subjects have, or get when something is written of them."""
        self._withdrawn: set[Subject] = set()
        """Who was withdrawn since this batch began: it gives them no new token."""
        self._marked: dict[Place, int] = {}
        self._markers: list[str] = []
        self._loose: set[str] = set()
        """Files that were written, and that no change names yet."""
        self._staged: dict[Place, list[str]] = {}
        """What was written for each change that is not committed."""
        self._in_doubt = False
        self.state = catalog.state
        self.plan()

    def __enter__(self) -> Self:
        for subject in (*self._subjects, *self._later):
            token = self._catalog.identities.assigned(subject, self.state) or os.urandom(16).hex()
            self._proposed[subject] = Place(token, "", subject.asset)
        self._mark(self._proposed.values())
        for subject in self._subjects:
            self.place(subject)
        return self

    def __exit__(self, *exception: object) -> None:
        self.remove(sorted(self._loose.union(*self._staged.values())))
        if not self._in_doubt:
            for marker in self._markers:
                self._catalog.store.delete(marker)

    def plan(self) -> State:
        """Take the newest state as the one that following changes are planned on."""
        before, self.state = self.state, self._catalog.recent()
        self._catalog.durable_head()  # what is planned on a record must not outlive it
        self.base = self.state.number
        if self.state.epoch != before.epoch:  # of tokens that were given before a withdrawal, those in use still count
            assigned, purged = self._catalog.identities.assigned, self.state.purged
            known = chain(self._places.items(), self._proposed.items())
            self._withdrawn |= {subject for subject, place in known if place.token in purged}
            self._places = {each: p for each, p in self._places.items() if assigned(each, self.state) == p.token}
            self._proposed = {each: p for each, p in self._proposed.items() if p.token not in purged}
        return self.state

    def check(self, subject: Subject) -> None:
        """Raise ``WithdrawnError`` for a subject that was withdrawn since this batch began."""
        if subject in self._withdrawn:
            raise WithdrawnError(
                f"The data of {subject} was withdrawn while this run was at work. Nothing of it was written since. "
                "Run its partitions again only if the data is wanted."
            )

    def place(self, subject: Subject, window: str = "") -> Place:
        """What the log calls a window of a participant, or a table; a token is given to whoever has none.

        To be asked before anything is written of a subject that was not named when the batch began. Raises as ``check``
        does.
        """
        self.check(subject)
        place = self._places.get(subject)
        if place is None:
            proposed = self._proposed.get(subject)
            token = self._catalog.identities.give(subject, self._catalog.state, proposed.token if proposed else None)
            place = self._places[subject] = Place(token, "", subject.asset)
        self._mark([place])
        return place._replace(window=window)

    def _mark(self, places: Iterable[Place]) -> None:
        """Say whom this batch may write for, if no marker that collections have left in place says so."""
        new = [place for place in places if self._marked.get(place, -1) < self.state.floor]
        if new:
            path = self._catalog.layout.marker(self.base, os.urandom(8).hex(), len(self._markers))
            self._markers.append(path)
            create(self._catalog.store, path, _encoder.encode(new), staging=self._catalog.layout.staging)
            self._marked |= dict.fromkeys(new, self.base)

    def own_name(self, stem: str, suffix: str) -> str:
        """A name that nobody else has or will have, for what is not the first version of a file."""
        return f"{stem}~{self.base}-{os.urandom(4).hex()}{suffix}"

    def doubt(self) -> None:
        """Something may lie there that this batch does not know: its markers stay."""
        self._in_doubt = True

    @contextmanager
    def doubted(self, kinds: type[BaseException] | tuple[type[BaseException], ...] = BaseException) -> Iterator[None]:
        """If the block fails in this way, something may lie there that this batch does not know: its markers stay."""
        try:
            yield
        except kinds:
            self._in_doubt = True
            raise

    def note(self, path: str, *, doubtful: bool = False) -> None:
        """Note a file that was written for a change to come: if none takes it, it is removed at the end.

        ``doubtful`` says that it may lie under another name too.
        """
        self._loose.add(path)
        if doubtful:
            self._in_doubt = True

    def change(
        self, subject: Subject, window: str, manifest: bytes, *, files: Sequence[str] = (), counts: str = ""
    ) -> Change:
        """Write one manifest, planned on the state as it is now, and say what is to be committed; see ``changes``."""
        version = NewVersion(window=window, manifest=manifest, files=files, counts=counts)
        (change,) = self.changes(subject, [version], token=self.place(subject).token, base=self.base)
        return change

    def changes(self, subject: Subject, versions: Sequence[NewVersion], *, token: str, base: int) -> list[Change]:
        """Write manifests, whose files are durable, into one file, and say what is to be committed in one record.

        All was planned on ``base``, when this was the subject's ``token``: somebody may have been withdrawn since. What
        was written is removed if the changes do not count.
        """
        nonce = os.urandom(4).hex()
        path = self._catalog.layout.home(subject).manifest(base, nonce)
        places = [Place(token, version.window, subject.asset) for version in versions]
        for place, version in zip(places, versions, strict=True):
            self._staged.setdefault(place, []).extend(version.files)
            self._loose.difference_update(version.files)
        data = b"".join(version.manifest for version in versions)
        with self.doubted():
            create(self._catalog.store, path, data, staging=self._catalog.layout.staging)
        changes, offset = [], 0
        for place, version in zip(places, versions, strict=True):
            self._staged[place].append(path)
            changes.append(
                Change(
                    token=place.token,
                    base=base,
                    nonce=nonce,
                    sha256=digest(version.manifest),
                    size_bytes=len(version.manifest),
                    window=version.window,
                    asset=subject.asset,
                    complete=version.complete,
                    counts=version.counts,
                    compared=version.compared,
                    offset=offset,
                    file_bytes=len(data) if len(versions) > 1 else 0,
                )
            )
            offset += len(version.manifest)
        return changes

    def commit(self, changes: Sequence[Change]) -> dict[Place, Outcome]:
        """Commit changes in one record. What those wrote that do not count is removed.

        Raises ``OutcomeUnknownError`` if the store did not say whether a record was created.
        """
        staged = {change.place: self._staged.pop(change.place, []) for change in changes}
        with self.doubted():  # from here on a record may name them
            record, refused = self._append(changes)
        named = {path for place, files in staged.items() if place not in refused for path in files}
        self.remove(sorted({path for place in refused for path in staged[place]} - named))
        return {
            place: Outcome(record=0 if place in refused else record, refused=refused.get(place)) for place in staged
        }

    def _append(self, changes: Sequence[Change]) -> tuple[int, dict[Place, str]]:
        """Append a record of what counts; its number (0 if nothing counts), and why what does not is refused."""
        assert len({change.place for change in changes}) == len(changes), "a record changes each place once"
        refused: dict[Place, str] = {}

        def draft(state: State, start: dict[str, Any]) -> Commit | None:
            refused.clear()
            for change in changes:
                if (reason := self._catalog.terms.rules.refusal(state, change)) is not None:
                    refused[change.place] = reason
            good = tuple(change for change in changes if change.place not in refused)
            return Commit(**start, changes=good) if good else None

        entry = self._catalog.append(draft, run_id=self._run_id)
        self._catalog.durable_head()
        return (entry.record.number if entry else 0), refused

    def remove(self, paths: Collection[str]) -> None:
        """Remove files that no record names.

        Somebody else's file can't be hit: a name that a collector has deleted does not come again.
        """
        with self.doubted():
            self._catalog.store.delete_all(list(paths))
        self._loose.difference_update(paths)
