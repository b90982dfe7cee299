"""Bring back records of a log that are missing or rotten, from its witness or from its packs.

Whatever the log's key did not make is set aside, authentic records never are: a log that was cut ends where it was cut,
and only its witness can bring back what came after.
"""

from __future__ import annotations

import os
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
from dagster_beiwe.lake.layout import LogLayout, record_number
from dagster_beiwe.lake.storage.base import Store


@dataclass
class Healed:
    """Numbers of records that were brought back, and of those in whose place something lay that is none."""

    restored: list[int] = field(default_factory=list)
    aside: list[int] = field(default_factory=list)


def heal(
    store: Store, folder: str, passphrase: str | None, *, witness: Store | None = None, terms: Terms = TERMS
) -> Healed:
    """Make a log whole again as far as its witness and its packs remember it. All runs have to be stopped.

    Raises ``IntegrityError`` if a record is missing that nobody remembers, though later ones are there.
    """
    return _Healing(store, folder, passphrase, witness=witness, terms=terms).heal()


class _Healing:
    def __init__(
        self, store: Store, folder: str, passphrase: str | None, *, witness: Store | None, terms: Terms
    ) -> None:
        self._store, self._layout = store, LogLayout(folder, terms.records_per_folder)
        self._witness = Witness(witness, folder) if witness else None
        self._witnessed: dict[int, list[Head]] = {}
        if self._witness is not None:
            for head in (head for heads in self._witness.heads() for head in heads):
                self._witnessed.setdefault(head.number, []).append(head)
        self._healed = Healed()
        self._first = self._find_first(folder, passphrase)
        key = open_log(self._first, folder, passphrase, name=self._layout.record(0), place=store.describe())
        self._log = terms.log(store, self._layout, key[0])

    def heal(self) -> Healed:
        """Walk along the chain until nobody has a next record."""
        with self._store.guard(self._layout.inside, exclusive=True):
            self._put(0, self._first)
            number, previous = 1, digest(self._first)
            while (data := self._next(number, previous)) is not None:
                self._put(number, data)
                number, previous = number + 1, digest(data)
            self._clear(number)
        return self._healed

    def _find_first(self, folder: str, passphrase: str | None) -> bytes:
        """The first record. A wrong one of the lake's may be a wrong passphrase: the witness's own tell that."""
        error: Exception = missing(self._layout.record(0))
        for data in self._candidates(0):
            try:
                open_log(data, folder, passphrase, name=self._layout.record(0), place=self._store.describe())
            except (IntegrityError, WrongPassphraseError) as failure:
                error = failure
            else:
                return data
        raise error

    def _next(self, number: int, previous: str) -> bytes | None:
        for data in self._candidates(number):
            with suppress(IntegrityError):
                if self._log.entry(number, data).record.previous == previous:
                    return data
        return None

    def _candidates(self, number: int) -> Iterator[bytes]:
        """What may be a record: the lake's own file first."""
        if (own := self._own(number)) is not None:
            yield own
        for head in self._witnessed.get(number, ()):
            assert self._witness is not None, "its heads were read"
            with suppress(FileNotFoundError, IntegrityError):
                yield self._witness.bytes_of(head)
        if number:
            yield from self._log.packed_copies(number)

    def _own(self, number: int) -> bytes | None:
        return readable(self._store, self._layout.record(number))

    def _put(self, number: int, data: bytes) -> None:
        """Let a record lie in its place; what lies there instead is no record of this log."""
        if self._own(number) == data:
            return
        self._set_aside(number)
        create(self._store, self._layout.record(number), data, staging=self._layout.staging)
        self._healed.restored.append(number)

    def _clear(self, end: int) -> None:
        """Set aside what lies after the last record, unless it is authentic: then one before it is lost."""
        each = self._layout.records_per_folder
        found: list[int] = []
        for folder in self._store.list(self._layout.log):
            start = record_number(folder)
            if start is None or (start + 1) * each <= end:
                continue
            places = map(record_number, self._store.list(f"{self._layout.log}/{folder}"))
            found += [start * each + place for place in places if place is not None and start * each + place >= end]
        for number in found:
            data = self._own(number)
            if data is not None and self._is_authentic(number, data):
                raise missing(self._layout.record(end))
        for number in found:
            self._set_aside(number)

    def _is_authentic(self, number: int, data: bytes) -> bool:
        try:
            self._log.entry(number, data)
        except IntegrityError:
            return False
        return True

    def _set_aside(self, number: int) -> None:
        path = self._layout.record(number)
        folder, _, name = path.rpartition("/")
        if name not in self._store.list(folder):
            return
        if (data := self._own(number)) is not None:  # else it is no file, and no record was lost with it
            if number and self._is_authentic(number, data):  # but it does not follow the one before
                raise missing(path)
            self._store.create_new(f"{self._layout.aside}/{number:012}-{os.urandom(4).hex()}", data)
        clear(self._store, path)
        self._healed.aside.append(number)
