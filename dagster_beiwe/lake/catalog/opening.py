"""Open one log when it is first needed, and keep it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import NamedTuple

from dagster_beiwe.environment import BEIWE_LAKE
from dagster_beiwe.errors import ConfigurationError, IntegrityError
from dagster_beiwe.lake.catalog.catalog import Catalog
from dagster_beiwe.lake.catalog.healing import Healed, heal
from dagster_beiwe.lake.catalog.past import accept_restored
from dagster_beiwe.lake.catalog.records import Former, Head
from dagster_beiwe.lake.catalog.state import State
from dagster_beiwe.lake.storage.base import Storage

NOTHING = State()
"""The state of a log that was never begun."""


class Seen(NamedTuple):
    """The head of a log as it is remembered outside of the lake: in whose folder, and of which lineage it was."""

    folder: str
    number: int
    digest: str
    lineage: str


@dataclass(frozen=True)
class LogElsewhere:
    """How another process opens a log, to read it. It goes through a pipe and nowhere else."""

    storage: Callable[[], Storage]
    folder: str
    passphrase: str | None = field(repr=False)

    def opened(self) -> Opening:
        return Opening(self.storage(), self.folder, self.passphrase)


class Opening:
    """The log in a folder, opened once for all who share this. Usable from several threads."""

    def __init__(
        self, storage: Storage, folder: str, passphrase: str | None, *, witness: Storage | None = None
    ) -> None:
        self.storage, self.folder = storage, folder
        self._passphrase, self._witness = passphrase, witness
        self._lock = threading.RLock()
        self._catalog: Catalog | None = None
        self._removed: IntegrityError | None = None
        """Why no other log is begun where one was seen."""
        self._formers: tuple[Former, ...] = ()
        self.pinned: State | None = None
        """The state at which the log is read; None for the newest at each time."""

    def catalog(self) -> Catalog | None:
        """The log's catalog; None if there is no log.

        Raises ``WrongPassphraseError`` before anything else is read, and ``IntegrityError`` for a log that is
        incomplete or lacks what its checkpoints or its witness have seen.
        """
        with self._lock:
            if self._catalog is None:
                found = Catalog.open(self.storage, self.folder, self._passphrase, witness=self._witness)
                if found is not None:
                    found.check()
                self._catalog = found
            return self._catalog

    def continues(self, former: Catalog, remembered: Iterable[Seen]) -> None:
        """Let the log, if it is yet to be begun, name the one that it continues: what was seen of that stays valid.

        Raises ``IntegrityError`` if ``former`` lacks what is remembered of it. Only now can that be noticed: the new
        log knows no record of it but the last.
        """
        lineage = former.begin.lineage
        own = [each for each in remembered if (each.folder, each.lineage) == (self.folder, lineage)]
        former.check(_heads(own, ()))
        self._formers = ((lineage, former.durable_head()), *former.begin.formers)

    def begun(self) -> Catalog:
        """The log's catalog, to be written to; the log is begun if there is none."""
        if self.pinned is not None:
            raise ConfigurationError(
                f"The log in {self.folder!r} was opened at a past state, which is read-only. Nothing was written. Open "
                "the study without `as_of`."
            )
        with self._lock:
            if self._catalog is not None:
                return self._catalog
            if self._removed is not None:
                raise self._removed
            made = Catalog.create(
                self.storage, self.folder, self._passphrase, witness=self._witness, formers=self._formers
            )
            made.check()
            self._catalog = made
            return made

    def at(self, state: State | None = None) -> Opening:
        """The same log read at one state, by default the newest, whatever is committed later."""
        state = self.state() if state is None else state
        pinned = copy(self)
        pinned.pinned = state
        return pinned

    def reopened(self) -> Opening:
        """The same log, to be read anew, as another process would."""
        return Opening(self.storage, self.folder, self._passphrase, witness=self._witness)

    def elsewhere(self) -> LogElsewhere | None:
        """How another process opens this log in its newest state, without a witness; None if it would not help."""
        storage = self.storage.elsewhere()
        return None if storage is None else LogElsewhere(storage, self.folder, self._passphrase)

    def seen(self) -> Seen | None:
        """The newest head that this process has seen, to be remembered elsewhere; None if there is no log."""
        catalog = self.catalog()
        if catalog is None:
            return None
        return Seen(self.folder, *catalog.durable_head(), catalog.begin.lineage)

    def check(self, remembered: Iterable[Seen] = ()) -> Catalog | None:
        """The log, once it is certain that it has all that somebody has seen of it, such as Dagster.

        Raises ``IntegrityError`` if it lacks any: it was cut, rolled back, or removed.
        """
        own = [each for each in remembered if each.folder == self.folder]
        catalog = self.catalog()
        if catalog is not None:
            catalog.check(_heads(own, catalog.begin.formers))
        elif lacking := _heads(own, self._formers):
            self._removed = IntegrityError(
                f"The lake at {self.storage.describe()} has no log in {self.folder!r}, though record "
                f"{max(lacking).number} of it was seen. Nothing was read or written. The folder was removed (restore "
                f"it from a backup), or this is not the lake that was seen before (correct {BEIWE_LAKE})."
            )
            raise self._removed
        return catalog

    def lost(self, remembered: Iterable[Seen]) -> list[Head]:
        """The records that somebody has seen and the log lacks."""
        catalog = Catalog.open(self.storage, self.folder, self._passphrase, witness=self._witness)
        own = [each for each in remembered if each.folder == self.folder]
        return catalog.lost_heads(_heads(own, catalog.begin.formers)) if catalog else _heads(own, self._formers)

    def accept(self, remembered: Iterable[Seen], *, run_id: str) -> tuple[Head, ...]:
        """Give up the records that somebody has seen and the log lacks, because it was restored on purpose."""
        catalog = Catalog.open(self.storage, self.folder, self._passphrase, witness=self._witness)
        if catalog is None:
            return ()
        own = [each for each in remembered if each.folder == self.folder]
        with self.storage.guard(catalog.layout.inside, exclusive=False):
            return accept_restored(catalog, _heads(own, catalog.begin.formers), run_id=run_id)

    def heal(self) -> Healed:
        """Bring back what is missing of the log; see ``healing.heal``."""
        return heal(self.storage, self.folder, self._passphrase, witness=self._witness)

    def take_over(self, before: Opening) -> None:
        """Use the log as another has opened it, if it is this one and continues from there: that saves reading it."""
        catalog = before._catalog
        if catalog is not None and self._terms() == before._terms() and catalog.stands():
            with self._lock:
                self._catalog = catalog

    def _terms(self) -> tuple[str | None, ...]:
        witness = self._witness.describe() if self._witness else None
        return self.storage.describe(), self.folder, self._passphrase, witness

    def state(self) -> State:
        """The state at which the log is read."""
        if self.pinned is not None:
            return self.pinned
        catalog = self.catalog()
        return catalog.refresh() if catalog else NOTHING


def _heads(seen: Iterable[Seen], formers: Sequence[Former]) -> list[Head]:
    """What a log must have: all that was seen, but for what those logs had that it continues."""
    last = dict(formers)
    return [
        head
        for each in seen
        if (head := Head(each.number, each.digest)) != (former := last.get(each.lineage))
        and (former is None or head.number >= former.number)
    ]
