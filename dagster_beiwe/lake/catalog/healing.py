"""Bring back records of a log that are missing or damaged, from its witness or from its packs.

Files that the log's key did not authenticate are set aside; authentic records never are. A log that was cut ends where
it was cut: only its witness can bring back what came after.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from dagster_beiwe.errors import IntegrityError, WrongPassphraseError
from dagster_beiwe.lake.catalog.authentication import digest
from dagster_beiwe.lake.catalog.key_file import open_log
from dagster_beiwe.lake.catalog.log import missing
from dagster_beiwe.lake.catalog.records import Head
from dagster_beiwe.lake.catalog.store import clear, create, readable
from dagster_beiwe.lake.catalog.terms import TERMS, Terms
from dagster_beiwe.lake.catalog.witness import Witness
from dagster_beiwe.lake.layout import LogLayout
from dagster_beiwe.lake.storage.base import Store


@dataclass
class Healed:
    """Numbers of the records that were restored, and of those whose place held a file that is no record."""

    restored: list[int] = field(default_factory=list)
    aside: list[int] = field(default_factory=list)


def heal(
    store: Store, folder: str, passphrase: str | None, *, witness: Store | None = None, terms: Terms = TERMS
) -> Healed:
    """Make a log whole again as far as its witness and its packs remember it. All runs must be stopped.

    Raises ``IntegrityError`` if a record is missing that nobody remembers, although later ones exist.
    """
    return _Healing(store, LogLayout(folder, terms.records_per_folder), passphrase, witness, terms).heal()


class _Healing:
    def __init__(
        self, store: Store, layout: LogLayout, passphrase: str | None, witness: Store | None, terms: Terms
    ) -> None:
        self._store, self._layout = store, layout
        self._witness = Witness(witness, layout.folder) if witness else None
        self._witnessed = defaultdict[int, list[Head]](list)
        for heads in self._witness.heads() if self._witness else ():
            for head in heads:
                self._witnessed[head.number].append(head)
        self._healed = Healed()
        error: Exception = missing(layout.record(0))
        for data in self._candidates(0):
            try:
                authenticator, _ = open_log(data, layout, passphrase, place=store.describe())
            except (IntegrityError, WrongPassphraseError) as failure:
                error = failure
            else:
                self._first: bytes | None = data
                self._log = terms.log(store, layout, authenticator)
                return
        raise error  # if the lake's own record seems to be of another passphrase, the witness's proves which is wrong

    def heal(self) -> Healed:
        """Follow the chain until nobody has a next record."""
        with self._store.guard(self._layout.inside, exclusive=True):
            number, data = 0, self._first
            while data is not None:
                self._put(number, data)
                number += 1
                data = self._next(number, digest(data))
            self._set_aside_from(number)
        return self._healed

    def _next(self, number: int, previous: str) -> bytes | None:
        for data in (*self._candidates(number), *self._log.packed_copies(number)):
            with suppress(IntegrityError):
                if self._log.entry(number, data).record.previous == previous:
                    return data
        return None

    def _candidates(self, number: int) -> Iterator[bytes]:
        """What may be the record: the lake's own file first, then what the witness has."""
        if (own := self._own(number)) is not None:
            yield own
        for head in self._witnessed.get(number, ()):
            assert self._witness is not None, "its heads were read"
            with suppress(FileNotFoundError, IntegrityError):
                yield self._witness.bytes_of(head)

    def _own(self, number: int) -> bytes | None:
        return readable(self._store, self._layout.record(number))

    def _put(self, number: int, data: bytes) -> None:
        """Restore a record unless it is in its place already."""
        if self._own(number) == data:
            return
        self._set_aside(number)
        create(self._store, self._layout.record(number), data, staging=self._layout.staging)
        self._healed.restored.append(number)

    def _set_aside_from(self, end: int) -> None:
        """Set aside what lies after the last record, unless it is authentic: then a record before it is lost."""
        found = self._log.listed_from(end)
        if any(self._is_authentic(number) for number in found):
            raise missing(self._layout.record(end))
        for number in found:
            self._set_aside(number)

    def _is_authentic(self, number: int) -> bool:
        with suppress(IntegrityError):
            return (data := self._own(number)) is not None and bool(self._log.entry(number, data))
        return False

    def _set_aside(self, number: int) -> None:
        path = self._layout.record(number)
        folder, _, name = path.rpartition("/")
        if name not in self._store.list(folder):
            return
        if number and self._is_authentic(number):  # but it does not follow the record before it
            raise missing(path)
        if (data := self._own(number)) is not None:  # else it is no file, and no record was lost with it
            self._store.create_new(f"{self._layout.aside}/{number:012}-{os.urandom(4).hex()}", data)
        clear(self._store, path)
        self._healed.aside.append(number)
