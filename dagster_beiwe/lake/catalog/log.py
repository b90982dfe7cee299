"""The numbered records of one log: read them in order, and create the next one.

Creating record n is the commit. The outcome is what lies at n afterwards: the same bytes are ours, whatever the store
answered, because clients repeat requests whose answer was lost.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress

import msgspec

from dagster_beiwe.errors import IntegrityError, LakeUnavailableError
from dagster_beiwe.lake.catalog.authentication import Authenticator, digest
from dagster_beiwe.lake.catalog.records import Head, decode
from dagster_beiwe.lake.catalog.state import Entry
from dagster_beiwe.lake.catalog.store import create, read
from dagster_beiwe.lake.layout import LogLayout, record_number
from dagster_beiwe.lake.storage.base import Store

_pack_encoder = msgspec.msgpack.Encoder()
_pack_decoder = msgspec.msgpack.Decoder(list[bytes])


class Log:
    """Reads and creates the records of one log. ``authenticator`` proves them."""

    def __init__(self, store: Store, layout: LogLayout, authenticator: Authenticator) -> None:
        self._store, self._layout, self._authenticator = store, layout, authenticator
        self._durable = -1
        """The newest record whose name, with all before, this process knows to be durable."""

    def after(self, number: int, previous: str, *, last: int | None = None, packs: bool = True) -> Iterator[Entry]:
        """The records after ``number``, proven and chained to its hash, up to ``last`` or the end.

        ``packs`` may stand in for full folders, which proves the records but not that each one's file is there.
        Raises ``IntegrityError`` for what is no record of this log, and where one is missing.
        """
        for numbers in self._numbers(number + 1, last):
            entries = (
                self._packed(numbers, previous) if packs and len(numbers) == self._layout.records_per_folder else None
            )
            if entries is None:
                data = self._store.read_all([self._layout.record(each) for each in numbers])
                entries = self._chained(numbers, data, previous)
            previous = entries[-1].digest
            yield from entries

    def entry(self, number: int, data: bytes | None) -> Entry:
        """The record in these bytes, proven to be that of the number."""
        name = self._layout.record(number)
        if data is None:
            raise missing(name)
        record = decode(self._authenticator, data, name=name)
        if record.number != number:
            raise IntegrityError(
                f"{name!r} holds record {record.number} of the log. It was not used. Files were swapped: restore them "
                "from a backup."
            )
        return Entry(record, digest(data))

    def read(self, number: int) -> bytes | None:
        """The bytes of a record, None if it is not there."""
        return read(self._store, self._layout.record(number))

    def create(self, number: int, data: bytes) -> bool:
        """Commit a record: True if it is in the log now, False if its number is another's.

        Raises ``OutcomeUnknownError`` where nobody can know: then what it names must stay.
        """
        if number:
            self.make_durable(number - 1)
        if not create(self._store, self._layout.record(number), data, staging=self._layout.staging):
            return False
        self._durable = number
        return True

    def make_durable(self, number: int) -> None:
        """Make a record durable that others have made: they may have died before that."""
        if self._durable < number:
            self._store.sync_folder(self._layout.record_folder(number))
            self._durable = number

    def folders_above(self, number: int) -> list[int]:
        """The first numbers of folders above that of a record, whatever is in them."""
        each = self._layout.records_per_folder
        starts = [
            place * each for name in self._store.list(self._layout.log) if (place := record_number(name)) is not None
        ]
        return [start for start in starts if start > number]

    def check_nothing_above(self, number: int, folders: Sequence[int]) -> None:
        """Raise ``IntegrityError`` if there are records in these folders, though the log seems to end before them."""
        for start in folders:
            names = self._store.list(self._layout.record_folder(start)) if start > number + 1 else []
            if any(record_number(name) is not None for name in names):
                raise missing(self._layout.record(number + 1))

    def check_there(self, last: int) -> None:
        """Raise ``IntegrityError`` if a record up to ``last`` is missing, as far as listings tell."""
        each = self._layout.records_per_folder
        for first in range(0, last + 1, each):
            there = set(map(record_number, self._store.list(self._layout.record_folder(first))))
            lacking = set(range(min(each, last + 1 - first))) - there
            if lacking:
                raise missing(self._layout.record(first + min(lacking)))

    def prove_exclusive(self, first: bytes) -> None:
        """Try to create the first record again, with its own bytes. ``LakeUnavailableError`` if that succeeds."""
        try:
            self._store.create_new(self._layout.record(0), first, staging=self._layout.staging)
        except FileExistsError:
            return
        raise LakeUnavailableError(
            f"The store at {self._store.describe()} replaced a file that it was told to create. Nothing was committed, "
            "because two runs could overwrite each other's work there. Use a store, or a newer version of it, with "
            "conditional writes (`If-None-Match` in S3's terms)."
        )

    def pack(self, thousand: int) -> None:
        """Keep a copy of a full folder of records in one file, to read it at once. Whoever comes first writes it."""
        if (data := self.packed(thousand)) is not None:
            create(self._store, self._layout.pack(thousand), data, staging=self._layout.staging)

    def packed(self, thousand: int) -> bytes | None:
        """What the pack of a folder of records holds; None while the folder is not full."""
        first = thousand * self._layout.records_per_folder
        data = self._store.read_all(
            [self._layout.record(first + place) for place in range(self._layout.records_per_folder)]
        )
        return None if None in data else _pack_encoder.encode(data)

    def damaged_packs(self, last: int) -> list[str]:
        """Packs of full folders up to a record that are not copies of the records that lie there."""
        found = []
        for thousand in range((last + 1) // self._layout.records_per_folder):
            path = self._layout.pack(thousand)
            if (data := read(self._store, path)) is not None and data != self.packed(thousand):
                found.append(path)
        return found

    def packed_copies(self, number: int) -> Iterator[bytes]:
        """What the packs have of a record, not proven."""
        thousand, place = divmod(number, self._layout.records_per_folder)
        with suppress(FileNotFoundError, msgspec.MsgspecError, IntegrityError):
            yield from _pack_decoder.decode(self._store.read(self._layout.pack(thousand)))[place : place + 1]

    def _numbers(self, first: int, last: int | None) -> Iterator[range]:
        """The numbers from ``first`` to ``last``, else of the records that are there, a folder at a time."""
        while last is None or first <= last:
            end = (first // self._layout.records_per_folder + 1) * self._layout.records_per_folder
            if last is None:
                there = {record_number(name) for name in self._store.list(self._layout.record_folder(first))}
                found = sorted(end - self._layout.records_per_folder + place for place in there if place is not None)
                found = [number for number in found if number >= first]
                if found and found[-1] - first + 1 != len(found):
                    raise missing(self._layout.record(min({*range(first, end)}.difference(found))))
                stop = first + len(found)
            else:
                stop = min(end, last + 1)
            if stop > first:
                yield range(first, stop)
            if stop < end:
                return
            first = end

    def _packed(self, numbers: range, previous: str) -> list[Entry] | None:
        """A full folder of records from its pack; None where that cannot be used: the records themselves count."""
        try:
            data = _pack_decoder.decode(
                self._store.read(self._layout.pack(numbers[0] // self._layout.records_per_folder))
            )
            return self._chained(numbers, data, previous) if len(data) == self._layout.records_per_folder else None
        except (FileNotFoundError, msgspec.MsgspecError, IntegrityError):
            return None

    def _chained(self, numbers: range, data: Sequence[bytes | None], previous: str) -> list[Entry]:
        entries = []
        for number, each in zip(numbers, data, strict=True):
            entry = self.entry(number, each)
            if entry.record.previous != previous:
                raise IntegrityError(
                    f"Record {number} of the log at {self._layout.log!r} does not follow the record before it. Nothing "
                    "was read or written. The two come from different copies of the lake, or one was changed: run "
                    "`dagster-beiwe verify`, and restore the study from a backup."
                )
            previous = entry.digest
            entries.append(entry)
        return entries


def missing(name: str) -> IntegrityError:
    """The error for a record that must be there."""
    return IntegrityError(
        f"Record {name!r} is missing from the log, though later ones are there. Nothing was read or written. It was "
        "removed, or a backup was restored in part: restore the study from a backup, or from its witness with "
        "`dagster-beiwe verify --repair`."
    )


def cut(log: str, head: Head, number: int) -> IntegrityError:
    """The error for a log that ends at ``number`` or differs, though somebody has seen ``head`` in it."""
    return IntegrityError(
        f"The log at {log!r} ends at record {number} or differs, but record {head.number} with hash "
        f"{head.digest[:16]} was seen in it. Nothing was read or written. The study was cut or put back to an older "
        "state: restore the newest copy, or, if going back was wanted, run `dagster-beiwe verify --accept`."
    )
