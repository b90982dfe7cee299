"""The numbered records of one log: read them in order, and create the next one.

Creating record n is the commit. The outcome is what lies at n afterwards: the same bytes are ours, whatever the store
answered, because clients repeat requests whose answer was lost.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress

import msgspec

from dagster_beiwe.errors import IntegrityError
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
        self._each = layout.records_per_folder
        self._durable = -1
        """The newest record that this process knows to be durable, with all before it."""

    def after(self, number: int, previous: str, *, last: int | None = None, packs: bool = True) -> Iterator[Entry]:
        """The records after ``number``, proven and chained to its hash, up to ``last`` or the end.

        ``packs`` may stand in for full folders, which proves the records but not that each one's file exists.
        Raises ``IntegrityError`` for what is no record of this log, and for a missing one.
        """
        for numbers in self._numbers(number + 1, last):
            entries = self._packed(numbers, previous) if packs and len(numbers) == self._each else None
            entries = entries or self._chained(numbers, self._files(numbers), previous)
            previous = entries[-1].digest
            yield from entries

    def entry(self, number: int, data: bytes | None) -> Entry:
        """The record in these bytes, proven to have the number."""
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
        """The bytes of a record, None if it does not exist."""
        return read(self._store, self._layout.record(number))

    def create(self, number: int, data: bytes) -> bool:
        """Commit a record: True if it is in the log now, False if its number is another's.

        Raises ``OutcomeUnknownError`` if nobody can know: then what it names must stay.
        """
        if number:
            self.make_durable(number - 1)
        if not create(self._store, self._layout.record(number), data, staging=self._layout.staging):
            return False
        self._durable = number
        return True

    def make_durable(self, number: int) -> None:
        """Make a record durable that another process created, which may have died before it did so."""
        if self._durable < number:
            self._store.sync_folder(self._layout.record_folder(number))
            self._durable = number

    def listed(self, number: int) -> list[int]:
        """Numbers of the records in the folder of a record, by its listing."""
        places = map(record_number, self._store.list(self._layout.record_folder(number)))
        return sorted(number - number % self._each + place for place in places if place is not None)

    def folders_above(self, number: int) -> list[int]:
        """The first numbers of folders above that of a record, whatever is in them."""
        folders = map(record_number, self._store.list(self._layout.log))
        return [folder * self._each for folder in folders if folder is not None and folder * self._each > number]

    def listed_from(self, number: int) -> list[int]:
        """Numbers of the records from ``number`` on, by listings, whether or not they are chained."""
        starts = self.folders_above(number - self._each)
        return [each for start in starts for each in self.listed(start) if each >= number]

    def check_nothing_above(self, number: int, folders: Sequence[int]) -> None:
        """Raise ``IntegrityError`` if there are records in these folders although the log seems to end before them."""
        if any(self.listed(start) for start in folders if start > number + 1):
            raise missing(self._layout.record(number + 1))

    def prove_exclusive(self, first: bytes) -> None:
        """Try to create the first record again. Raises ``LakeUnavailableError`` if the store cannot refuse that."""
        self._store.prove_exclusive(self._layout.record(0), first, staging=self._layout.staging)

    def pack(self, folder: int) -> None:
        """Keep a copy of a full folder of records in one file, to read it at once. Whoever comes first writes it."""
        if (data := self._folder(folder)) is not None:
            create(self._store, self._layout.pack(folder), data, staging=self._layout.staging)

    def damaged_packs(self, last: int) -> list[str]:
        """Packs of full folders up to a record that are not copies of the records."""
        paths = {folder: self._layout.pack(folder) for folder in range((last + 1) // self._each)}
        return [
            path
            for folder, path in paths.items()
            if (data := read(self._store, path)) is not None and data != self._folder(folder)
        ]

    def packed_copies(self, number: int) -> list[bytes]:
        """What the packs have of a record, not proven."""
        folder, place = divmod(number, self._each)
        return self._pack(folder)[place : place + 1]

    def _numbers(self, first: int, last: int | None) -> Iterator[range]:
        """The numbers from ``first`` to ``last``, or else of the records that exist, a folder at a time."""
        while last is None or first <= last:
            end = first - first % self._each + self._each
            if last is None:
                found = [number for number in self.listed(first) if number >= first]
                stop = first + len(found)
                if found and found[-1] >= stop:
                    raise missing(self._layout.record(min({*range(first, end)}.difference(found))))
            else:
                stop = min(end, last + 1)
            if stop > first:
                yield range(first, stop)
            if stop < end:
                return
            first = end

    def _files(self, numbers: range) -> list[bytes | None]:
        return self._store.read_all([self._layout.record(number) for number in numbers])

    def _folder(self, folder: int) -> bytes | None:
        """What the pack of a folder of records holds; None while the folder is not full."""
        data = self._files(range(folder * self._each, (folder + 1) * self._each))
        return None if None in data else _pack_encoder.encode(data)

    def _pack(self, folder: int) -> list[bytes]:
        with suppress(FileNotFoundError, msgspec.MsgspecError, IntegrityError):
            return _pack_decoder.decode(self._store.read(self._layout.pack(folder)))
        return []

    def _packed(self, numbers: range, previous: str) -> list[Entry] | None:
        """A full folder of records from its pack; None if it cannot be used: then the records themselves count."""
        data = self._pack(numbers[0] // self._each)
        with suppress(IntegrityError):
            return self._chained(numbers, data, previous) if len(data) == len(numbers) else None
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
        f"{head.digest[:16]} was seen in it. Nothing was read or written. The study was cut or rolled back to an older "
        "state: restore the newest copy, or, if the rollback was intended, run `dagster-beiwe verify --accept`. If "
        "`dagster-beiwe rekey` made this lake, give it an empty place as its witness."
    )
