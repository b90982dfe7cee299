"""One log, opened: what a study holds now and held before, and the one place where a commit happens."""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from dagster_beiwe.errors import IntegrityError, LakeUnavailableError, UnknownStateError
from dagster_beiwe.lake.catalog.authentication import Authenticator, digest
from dagster_beiwe.lake.catalog.checkpoints import Checkpoints
from dagster_beiwe.lake.catalog.identities import Identities
from dagster_beiwe.lake.catalog.key_file import find_first, new_log, open_log
from dagster_beiwe.lake.catalog.log import cut, missing
from dagster_beiwe.lake.catalog.proof import extended, prove
from dagster_beiwe.lake.catalog.records import AnyRecord, Begin, Former, Head, encode
from dagster_beiwe.lake.catalog.state import MARK_EVERY, Entry, State, said
from dagster_beiwe.lake.catalog.terms import TERMS, Terms
from dagster_beiwe.lake.catalog.witness import Witness
from dagster_beiwe.lake.layout import LogLayout
from dagster_beiwe.lake.storage.base import Store

logger = logging.getLogger("dagster_beiwe")

Draft = Callable[[State, dict[str, Any]], AnyRecord | None]
"""Makes the next record on a state from what every record has; None if there is nothing to commit on it."""


class Catalog:
    """What one log says. Usable from several threads; states that it hands out stay as they are.

    Use ``open`` or ``create``. ``witness`` is another place that remembers the log's records.
    """

    def __init__(
        self,
        store: Store,
        folder: str,
        first: bytes,
        key: tuple[Authenticator, Begin],
        *,
        witness: Store | None,
        terms: Terms,
    ) -> None:
        self.store, self.layout, self.terms = store, LogLayout(folder, terms.records_per_folder), terms
        self._first = first
        self._authenticator, self.begin = key
        self._log = terms.log(store, self.layout, self._authenticator)
        self.identities = Identities(
            store, self.layout, self._authenticator, lineage=self.begin.lineage, now=terms.now, newest=self.refresh
        )
        self._checkpoints = Checkpoints(
            store,
            self.layout,
            self._authenticator,
            learn=self.identities.learn,
            rebuild=lambda number: self._replayed(number, to=number - 1),
        )
        self._witness = Witness(witness, folder) if witness else None
        self._lock = threading.RLock()
        self._seen: set[Head] = set()
        self._hashes: dict[int, str] = {}
        self._last_read = "", b""
        self._proven = self._proven_exclusive = False
        self._checkpoint_at = 0
        self._looked_at = self._refreshed_at = terms.monotonic()
        self._state = self._loaded()

    @classmethod
    def open(
        cls, store: Store, folder: str, passphrase: str | None, *, witness: Store | None = None, terms: Terms = TERMS
    ) -> Catalog | None:
        """The catalog of a log, None if there is none.

        Raises ``WrongPassphraseError`` before anything else is read, ``IntegrityError`` for an incomplete log.
        ``check`` is still to be called: what the lake alone cannot know is not looked at here.
        """
        layout = LogLayout(folder, terms.records_per_folder)
        remembering = Witness(witness, folder) if witness else None
        first = find_first(store, layout, remembering)
        if first is None:
            return None
        key = open_log(first, layout, passphrase, place=store.describe(), witness=remembering)
        return cls(store, folder, first, key, witness=witness, terms=terms)

    @classmethod
    def create(
        cls,
        store: Store,
        folder: str,
        passphrase: str | None,
        *,
        witness: Store | None = None,
        formers: Sequence[Former] = (),
        terms: Terms = TERMS,
    ) -> Catalog:
        """Like ``open``, and begins the log if there is none; it continues the ``formers``, the newest first."""
        layout = LogLayout(folder, terms.records_per_folder)
        for _ in range(3):
            if (found := cls.open(store, folder, passphrase, witness=witness, terms=terms)) is not None:
                return found
            authenticator, data = new_log(folder, passphrase, terms.now(), log2_n=terms.log2_n, formers=formers)
            terms.log(store, layout, authenticator).create(0, data)  # if another run comes first, its record counts
        raise missing(layout.record(0))

    @property
    def state(self) -> State:
        """The newest state that this process has seen."""
        return self._state

    @property
    def keyed(self) -> bool:
        """Whether records are authenticated, not only guarded against accidents."""
        return self._authenticator.keyed

    def refresh(self) -> State:
        """The newest state there is."""
        with self._lock:
            self._state = self._continued(self._state)
            self._refreshed_at = self.terms.monotonic()
            return self._state

    def recent(self) -> State:
        """The newest state, unless it was looked for a moment ago: on object stores each look is a request."""
        with self._lock:
            if self.store.locks or self.terms.monotonic() - self._refreshed_at > self.terms.look_after_seconds:
                return self.refresh()
            return self._state

    def prepare(self) -> None:
        """Look whether commits will be possible: the store creates exclusively, and ``check`` agrees.

        No record may be missing or changed, also of those that a checkpoint stands for. A commit looks for the rest.
        """
        with self._lock:
            if not self._proven:
                proof = prove(self.store, self.layout, self._state, self._read_again)
                self._state, self._proven = replace(self._state, proof=proof), True
            self._prepare(unchecked=False)

    def stands(self) -> bool:
        """Whether the newest record that this process has seen is still in the log."""
        state = self._state
        data = self._log.read(state.number)
        return data is not None and digest(data) == state.digest

    def check(self, remembered: Iterable[Head] = (), *, tell: bool = False) -> None:
        """Raise ``IntegrityError`` if the log lacks a record that somebody has seen: it was cut or rolled back.

        Asked are its checkpoints, the witness, and whoever ``remembered`` a head. Whoever is about to write may
        ``tell`` the witness what it has missed.
        """
        with self._lock:
            self._seen.update(remembered)
            if self._witness is not None:
                self._ask(self._witness, tell=tell)
            for head in sorted(self._seen):
                if not self.knows(head):
                    raise cut(self.layout.log, head, self._state.number)
            self._seen.clear()  # what is in the chain stays in it

    def knows(self, head: Head) -> bool:
        """Whether a record is in this log, or was given up when the log was restored from a backup."""
        state = self._state if head.number <= self._state.number else self.refresh()  # others may have gone on
        if head in state.lost:
            return True
        if head.number > state.number:
            return False
        return (self._hash(head.number) or self._read_again(head.number, head.number)) == head.digest

    def durable_head(self) -> Head:
        """The newest head that this process has seen, safe to be remembered: no loss of power takes it away."""
        with self._lock:
            self._log.make_durable(self._state.number)
            return self._state.head

    def record(self, number: int) -> bytes:
        """The bytes of a record of the log."""
        data = self._log.read(number)
        self._log.entry(number, data)
        assert data is not None
        return data

    def history(self, *, after: int = -1, last: int | None = None, packs: bool = True) -> Iterator[Entry]:
        """All records in order, each proven. Without ``packs`` every single file is read."""
        previous = "" if after < 0 else self._log.entry(after, self._log.read(after)).digest
        yield from self._log.after(after, previous, last=self._state.number if last is None else last, packs=packs)

    def at(self, when: int | str | datetime) -> State:
        """A past state: by number, by the name of a snapshot, or the last one whose time is not later.

        Raises ``UnknownStateError`` if there is none. What was withdrawn since is in no state.
        """
        state = self.refresh()
        number = self._number(when)
        if not 0 <= number <= state.number:
            raise UnknownStateError(
                f"The log at {self.layout.log!r} has no {said(when)}; its newest state is {state.number}. Nothing was "
                "read. `dagster-beiwe history` lists states, `dagster-beiwe snapshot list` snapshots."
            )
        return (state if number == state.number else self._replayed(number)).without(state.purged)

    def append(self, draft: Draft, *, run_id: str, unchecked: bool = False) -> Entry | None:
        """Commit the record that ``draft`` makes on the newest state; it is asked again if another run comes first.

        ``unchecked`` commits to a log that lacks what somebody has seen: only to accept that.
        """
        with self._lock:
            self._prepare(unchecked=unchecked)
            while True:
                state = self._state
                number = state.number + 1
                start = {"number": number, "previous": state.digest, "time": self.terms.now(), "run": run_id}
                record = draft(state, start)
                if record is None:
                    return None
                data = encode(self._authenticator, record)
                entry = self._log.entry(number, data)  # what nobody could read must not be created
                if self._log.create(number, data):
                    break
                self.refresh()
            if self._state is state:  # else the draft had to look, and found that another run had appended the same
                self._state = state.replayed([entry], self.terms.rules)
            self._hashes[number] = entry.digest
            self._derive(entry.head, data)
            return entry

    def shared_file(self, path: str, limit_bytes: int, *, kept: bool) -> bytes:
        """A file of manifests; ``kept`` until another is read, because windows that share one are read in a row."""
        last, data = self._last_read
        if last != path:
            data = self.store.read(path, limit_bytes=limit_bytes)
            if kept:
                self._last_read = path, data
        return data

    def write_checkpoint(self) -> None:
        """Keep the newest state, to open it quickly."""
        with self._lock:
            state = None
            while state is not self._state:  # others may go on while names are looked up
                state = self._state
                self.identities.resolve(state)
            self.durable_head()  # a checkpoint is remembered, too
            if self._proven:
                self._state = replace(self._state, proof=extended(self.store, self.layout, self._state))
            self._checkpoints.write(self._state, self.identities.known)
            self._checkpoint_at = self._state.number

    def end_run(self) -> None:
        """Keep the newest state where reading the records of this run would cost the next one more requests."""
        if not self.store.locks:
            with self._lock, self._following_up():
                self._keep(self.terms.checkpoint_after_run)

    def forget_checkpoints(self) -> None:
        """Remove what holds the ids of people who were withdrawn, and keep the newest state anew."""
        with self._lock:
            self._checkpoints.remove_all()
            self.identities.forget(self._state.purged)
            self.write_checkpoint()

    def damaged_copies(self) -> list[str]:
        """Checkpoints and packs that are not what the log says. They are derived: they can be removed."""
        return self._checkpoints.damaged(self.knows) + self._log.damaged_packs(self._state.number)

    def lost_heads(self, remembered: Iterable[Head] = ()) -> list[Head]:
        """Records that somebody has seen and that this log lacks."""
        seen = {*self._seen, *remembered}
        if self._witness is not None:
            seen.update(itertools.chain.from_iterable(self._witness.heads()))
        return sorted(head for head in seen if not self.knows(head))

    def _loaded(self) -> State:
        """The newest state, from the newest checkpoint that counts."""
        found: State | None = None
        for name, number in self._checkpoints.heads():
            state = self._checkpoints.read(name)
            if state is None:
                continue
            data = self._log.read(number)
            if data is not None and digest(data) == state.digest:
                found, self._checkpoint_at = state, number
                self._hashes[number] = state.digest
                break
            self._seen.add(state.head)
        folders = self._log.folders_above(found.number if found else -1)  # listed first: others may go on meanwhile
        state = self._continued(found or State())
        if any(start > state.number + 1 for start in folders):
            state = self._continued(state)
            self._log.check_nothing_above(state.number, folders)
        return state

    def _continued(self, state: State) -> State:
        entries = list(self._log.after(state.number, state.digest))
        self._hashes.update({entry.record.number: entry.digest for entry in entries})
        return state.replayed(entries, self.terms.rules)

    def _replayed(self, number: int, *, to: int | None = None) -> State:
        """The state at a past record, from the newest checkpoint up to ``to``, else from the first record on."""
        state = State()
        for name, at in self._checkpoints.heads():
            if (
                at <= (number if to is None else to)
                and (found := self._checkpoints.read(name)) is not None
                and self.knows(found.head)
            ):
                state = found
                break
        return state.replayed(self._log.after(state.number, state.digest, last=number), self.terms.rules)

    def _number(self, when: int | str | datetime) -> int:
        if isinstance(when, int):
            return when
        if isinstance(when, str):
            snapshot = self._state.snapshots.get(when)
            return snapshot.at.number if snapshot else -1
        times = [entry.record.time for entry in self.history()]
        if when > max(*times, self.terms.now() + timedelta(seconds=1)):
            raise UnknownStateError(
                f"The time {when.isoformat()} is in the future, so it has no state yet. Nothing was read. Leave it "
                "out to read the newest state."
            )
        return max((number for number, time in enumerate(times) if time <= when), default=-1)

    def _hash(self, number: int) -> str | None:
        if number in self._hashes:
            return self._hashes[number]
        return self._state.mark(number) if number % MARK_EVERY == 0 else None

    def _read_again(self, first: int, last: int) -> str | None:
        """The hash of record ``first``; None unless its file and all up to ``last`` lead to a hash that is known."""
        end = min(-(-last // MARK_EVERY) * MARK_EVERY, self._state.number)
        entry = self._log.entry(first, self._log.read(first))
        *_, newest = (entry, *self._log.after(first, entry.digest, last=end, packs=False))
        return entry.digest if newest.digest == self._hash(end) else None

    def _prepare(self, *, unchecked: bool) -> None:
        """Look before a commit: the store creates exclusively, the log is still there, and nobody saw more of it."""
        if not self._proven_exclusive:
            self._log.prove_exclusive(self._first)
            self._proven_exclusive = True
        due = self.terms.monotonic() - self._looked_at > self.terms.look_after_seconds
        if (due or self.store.locks) and not self.stands():  # on a disk that costs next to nothing
            raise cut(self.layout.log, self._state.head, self._state.number - 1)
        if due:
            self._looked_at = self.terms.monotonic()
            self.refresh()
        if not unchecked:
            self.check(tell=True)

    def _ask(self, witness: Witness, *, tell: bool) -> None:
        """Compare with what a witness has seen last, and ``tell`` it what it has missed."""
        newest = -1
        for heads in witness.heads():
            seen = [head for head in heads if head not in self._state.lost]
            self._seen.update(head for head in seen[:1] if head.number <= self._state.number)
            self._seen.update(head for head in seen if self._hash(head.number) not in (None, head.digest))
            self._seen.update(head for head in seen if head.number > self._state.number)
            if seen:
                newest = seen[0].number
                break
        if tell:
            self.durable_head()
        for number in range(newest + 1, self._state.number + 1) if tell else ():
            data = self.record(number)
            witness.note(Head(number, digest(data)), data)

    def _derive(self, head: Head, data: bytes) -> None:
        """Tell the witness of a commit, and write what is derived from the log when it is due."""
        with self._following_up():
            if self._witness is not None:
                self._witness.note(head, data)
            self._keep(self.terms.checkpoint_every)
            if (head.number + 1) % self.layout.records_per_folder == 0:
                self._log.pack(head.number // self.layout.records_per_folder)

    def _keep(self, after: int) -> None:
        if self._state.number - self._checkpoint_at >= after:
            self.write_checkpoint()

    @contextmanager
    def _following_up(self) -> Iterator[None]:
        """Do what follows from a commit that stands already. If it fails, the next commit makes up for it."""
        try:
            yield
        except (LakeUnavailableError, IntegrityError) as error:
            logger.warning(
                "Commit %s stands, but its follow-up work was not finished. The next commit makes up for it: %s",
                self._state.number,
                error,
            )
