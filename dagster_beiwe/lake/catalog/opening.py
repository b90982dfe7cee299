"""Open one log when it is first needed, and keep it."""

from __future__ import annotations

import threading

from dagster_beiwe.lake.catalog.catalog import Catalog
from dagster_beiwe.lake.catalog.records import Head
from dagster_beiwe.lake.catalog.state import State
from dagster_beiwe.lake.catalog.store import Store

NOTHING = State()
"""What a log says that was never begun."""


class Opening:
    """The log in a folder, opened once for all who share this. Usable from several threads."""

    def __init__(self, store: Store, folder: str, passphrase: str | None, *, witness: Store | None = None) -> None:
        self._store, self._folder, self._passphrase, self._witness = store, folder, passphrase, witness
        self._lock = threading.RLock()
        self._catalog: Catalog | None = None

    def catalog(self, *, create: bool = False, former: tuple[str, Head] | None = None) -> Catalog | None:
        """The log's catalog; None if there is no log, unless ``create`` begins it. ``former`` is what it carries on.

        Raises ``WrongPassphraseError`` before anything else is read, and ``IntegrityError`` for a log that is not whole
        or lacks what its checkpoints or its witness have seen.
        """
        with self._lock:
            if self._catalog is None:
                if create:
                    found: Catalog | None = Catalog.create(
                        self._store, self._folder, self._passphrase, witness=self._witness, former=former
                    )
                else:
                    found = Catalog.open(self._store, self._folder, self._passphrase, witness=self._witness)
                if found is not None:
                    found.check()
                self._catalog = found
            return self._catalog

    def state(self) -> State:
        """The newest state."""
        catalog = self.catalog()
        return catalog.refresh() if catalog else NOTHING
