"""A download before it is packed, and the stream that its members become."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

from dagster_beiwe.simulator.files import StoredFile
from dagster_beiwe.simulator.zipping import Member, zip_stream

Alteration = Callable[[Member], Member]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One file on its way into the zip. Its bytes are made when it is packed.

    ``name`` is None if an old server listed a file but left it out. Misbehaviors set ``poisoned`` (the stream
    ends here), ``alter`` (another member instead) and ``value`` (another hash).
    """

    file: StoredFile
    name: str | None
    key: str
    value: Callable[[], str | None]
    poisoned: bool = False
    alter: Alteration | None = None

    def member(self, *, zstd: bool) -> Member | None:
        if self.name is None:
            return None
        size_bytes, crc32 = self.file.checked(zstd=zstd)
        chunks = self.file.zstd_chunks if zstd else self.file.chunks
        member = Member(name=self.name, size_bytes=size_bytes, crc32=crc32, chunks=chunks)
        return self.alter(member) if self.alter else member


@dataclass(frozen=True, kw_only=True)
class Archive:
    """A download before it is packed; ``selected`` is what the query covers, also what the registry filtered out.

    ``read_file`` takes the time that the server needs to get one file out of its storage.
    """

    entries: tuple[Entry, ...]
    selected: tuple[StoredFile, ...]
    with_registry: bool
    zstd: bool
    now: datetime
    more: tuple[Member, ...] = ()
    read_file: Callable[[], None] = lambda: None

    @property
    def size_bytes(self) -> int:
        """About how much will be sent, before compression."""
        return sum(entry.file.size_bytes + 300 for entry in self.entries if entry.name) + 22

    def chunks(self) -> Iterator[bytes]:
        return zip_stream(self._members(), now=self.now)

    def _members(self) -> Iterator[Member]:
        for entry in self.entries:
            self.read_file()
            if entry.poisoned:
                raise PoisonedError
            member = entry.member(zstd=self.zstd)
            if member:
                yield member
        yield from self.more
        if self.with_registry:
            pairs = [(entry.key, entry.value()) for entry in self.entries]
            pairs += [(f"CHUNKED_DATA/{member.name}", "") for member in self.more]
            text = ", ".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in pairs)
            yield bytes_member("registry", f"{{{text}}}".encode())


class PoisonedError(Exception):
    """An object that the server cannot read, at which the stream ends."""


def bytes_member(name: str, data: bytes) -> Member:
    return Member(name=name, size_bytes=len(data), crc32=zlib.crc32(data), chunks=lambda: (data,))
