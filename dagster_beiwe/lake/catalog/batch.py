"""What one run plans, writes and commits on one state of a log.

A batch reads the state first and writes afterwards, so that everything it made is younger than the record it names as
its base. Files that a record may name are left in place until it is known that none does.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec

from dagster_beiwe.errors import LakeUnavailableError, OutcomeUnknownError
from dagster_beiwe.lake.catalog.authentication import digest
from dagster_beiwe.lake.catalog.catalog import Catalog
from dagster_beiwe.lake.catalog.records import Change, Commit, Place
from dagster_beiwe.lake.catalog.state import State
from dagster_beiwe.lake.catalog.store import create
from dagster_beiwe.lake.layout import Subject

if TYPE_CHECKING:
    from typing_extensions import Self

MOST_CHANGES: Final = 16
LINGER_SECONDS: Final = 1.0

_encoder = msgspec.json.Encoder()


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a change: the record that committed it, or why it does not count."""

    record: int
    refused: str | None = None


class Batch:
    """A batch of changes planned on ``state``; use it as a context manager.

    A marker says whom it may write to, so that a collector knows where to look if the run dies. It is removed at the
    end, unless something is left that a record may yet name. ``plan`` goes on with a newer state: changes that were
    prepared before keep the base that they were planned on.
    """

    def __init__(self, catalog: Catalog, *, run_id: str, subjects: Iterable[Subject] = ()) -> None:
        self._catalog, self._run_id = catalog, run_id
        self._subjects = tuple(subjects)
        self._places: dict[Subject, Place] = {}
        self._markers: list[str] = []
        self._staged: dict[Place, list[str]] = {}
        self._in_doubt = False
        self.plan()

    def __enter__(self) -> Self:
        self.join(self._subjects)
        return self

    def __exit__(self, *exception: object) -> None:
        for place in list(self._staged):
            self.discard(place)
        if not self._in_doubt:
            for marker in self._markers:
                self._catalog.store.delete(marker)

    def plan(self) -> State:
        """Take the newest state as the one that following changes are planned on."""
        self.state = self._catalog.recent()
        self._catalog.durable_head()  # what is planned on a record must not outlive it
        self.base = self.state.number
        self._places = {
            subject: place for subject, place in self._places.items() if place.token not in self.state.purged
        }
        return self.state

    def join(self, subjects: Iterable[Subject]) -> None:
        """Give these subjects tokens and mark them, before anything is written to them."""
        new = [subject for subject in subjects if subject not in self._places]
        if new:
            give, newest = self._catalog.identities.give, self._catalog.state
            places = {subject: Place(give(subject, newest), "", subject.asset) for subject in new}
            marker = self._catalog.layout.marker(self.base, os.urandom(8).hex(), len(self._markers))
            self._markers.append(marker)
            data = _encoder.encode(list(places.values()))
            create(self._catalog.store, marker, data, staging=self._catalog.layout.staging)
            self._places |= places

    def place(self, subject: Subject, window: str = "") -> Place:
        """What the log calls a window of a participant, or a table."""
        return self._places[subject]._replace(window=window)

    def own_name(self, stem: str, suffix: str) -> str:
        """A name that nobody else has or will have, for what is not the first version of a file."""
        return f"{stem}~{self.base}-{os.urandom(4).hex()}{suffix}"

    def doubt(self) -> None:
        """Keep the markers: something may lie there that this batch does not know."""
        self._in_doubt = True

    def create(self, place: Place, path: str, data: bytes) -> None:
        """Write a file for a change. It is removed again if the change does not count.

        ``FileExistsError`` means that the name is taken: by a dead run, or by this one, whose answer was lost.
        """
        try:
            self._catalog.store.create_new(path, data, staging=self._catalog.layout.staging)
        except BaseException:
            self._in_doubt = True  # nobody knows whose the file is, if there is one: a collector will
            raise
        self._staged.setdefault(place, []).append(path)

    def change(
        self,
        subject: Subject,
        window: str,
        manifest: bytes,
        *,
        files: Iterable[str] = (),
        base: int | None = None,
        complete: bool = True,
        counts: str = "",
        compared: int = 0,
    ) -> Change:
        """Write a manifest, whose files are durable, and say what is to be committed.

        ``files`` were written for it on ``base``, by default the state's; they are removed if the change does not
        count. ``counts`` is a fingerprint that was made with the subject's secret.
        """
        base = self.base if base is None else base
        place, nonce = self.place(subject, window), os.urandom(4).hex()
        path = self._catalog.layout.home(subject).manifest(window, base, nonce)
        self._staged.setdefault(place, []).extend(files)
        self._in_doubt, doubt = True, self._in_doubt
        try:
            create(self._catalog.store, path, manifest, staging=self._catalog.layout.staging)
        except LakeUnavailableError as error:
            self._in_doubt = doubt or isinstance(error, OutcomeUnknownError)
            raise
        self._in_doubt = doubt
        self._staged[place].append(path)
        return Change(
            token=place.token,
            base=base,
            nonce=nonce,
            sha256=digest(manifest),
            size_bytes=len(manifest),
            window=window,
            asset=subject.asset,
            complete=complete,
            counts=counts,
            compared=compared,
        )

    def commit(self, changes: Sequence[Change]) -> dict[Place, Outcome]:
        """Commit changes in one record. What those wrote that do not count is removed.

        Raises ``OutcomeUnknownError`` where the store did not say what came of it.
        """
        staged = {change.place: self._staged.pop(change.place, []) for change in changes}
        doubt, self._in_doubt = self._in_doubt, True  # from here on a record may name them
        record, refused = self._append(changes)
        self._in_doubt = doubt
        outcomes = {change.place: Outcome(record=record) for change in changes}
        for change, reason in refused:
            outcomes[change.place] = Outcome(record=0, refused=reason)
            self._staged[change.place] = staged[change.place]
            self.discard(change.place)
        return outcomes

    def _append(self, changes: Sequence[Change]) -> tuple[int, list[tuple[Change, str]]]:
        """Append a record of what counts, if anything does; its number (0 if nothing counts), and what does not."""
        refused: list[tuple[Change, str]] = []

        def draft(state: State, start: dict[str, Any]) -> Commit | None:
            refused.clear()
            good: dict[object, Change] = {}
            for change in changes:
                reason = self._catalog.terms.rules.refusal(state, change)
                if reason is None and change.place in good:
                    reason = "the same commit changes it twice"
                if reason is None:
                    good[change.place] = change
                else:
                    refused.append((change, reason))
            return Commit(**start, changes=tuple(good.values())) if good else None

        entry = self._catalog.append(draft, run_id=self._run_id)
        self._catalog.durable_head()
        return (entry.record.number if entry else 0), refused

    def discard(self, place: Place) -> None:
        """Remove what was written for a change that no record names.

        Somebody else's file can't be hit: a name that a collector has deleted does not come again.
        """
        doubt, self._in_doubt = self._in_doubt, True  # until all of it is done
        self._catalog.store.delete_all(self._staged.pop(place, []))
        self._in_doubt = doubt


class GroupCommit:
    """Lets changes of several threads, or that are finished within a second, share a record.

    ``commit`` is how a batch commits several changes at once.
    """

    def __init__(
        self,
        commit: Callable[[Sequence[Change]], dict[Place, Outcome]],
        *,
        most: int = MOST_CHANGES,
        linger_seconds: float = LINGER_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._commit, self._most, self._linger, self._monotonic = commit, most, linger_seconds, monotonic
        self._queue: list[tuple[Change, Future[Outcome]]] = []
        self._since = 0.0
        self._lock, self._turn = threading.Lock(), threading.Lock()

    def submit(self, change: Change) -> Future[Outcome]:
        """Commit a change now or with the next ones.

        Commits what waits if there is enough of it or it waits long enough; ``flush`` commits the rest.
        """
        result: Future[Outcome] = Future()
        with self._lock:
            if not self._queue:
                self._since = self._monotonic()
            self._queue.append((change, result))
        if self.due:
            self.flush()
        return result

    @property
    def due(self) -> bool:
        """Whether enough changes wait, or wait long enough."""
        with self._lock:
            waited = self._monotonic() - self._since
            return bool(self._queue) and (len(self._queue) >= self._most or waited >= self._linger)

    def flush(self) -> None:
        """Commit all that waits. What fails is told to whoever asks for the result."""
        with self._turn:
            while True:
                with self._lock:
                    group, self._queue = self._queue[: self._most], self._queue[self._most :]
                if not group:
                    return
                try:
                    outcomes = self._commit([change for change, _ in group])
                except BaseException as error:
                    for _, result in group:
                        result.set_exception(error)
                    if not isinstance(error, Exception):
                        raise
                else:
                    for change, result in group:
                        result.set_result(outcomes[change.place])
