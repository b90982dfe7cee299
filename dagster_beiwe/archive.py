"""Read a server's zip archive from front to back, one member at a time, in bounded memory.

The server stores members uncompressed, after their sizes and CRC-32, so that an archive can be checked while it
arrives. Its last member is ``registry``, followed by the central directory and the end record. An archive without
them was cut, whatever the transport says.

    with client.get_data(...) as download:
        for member in read_archive(download):
            for chunk in member.body:
                ...
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from dagster_beiwe.errors import ArchiveError, DamagedMemberError, HostileArchiveError, TruncatedArchiveError

REGISTRY = "registry"
CHUNK_BYTES = 256 * 1024
"""Bodies come in chunks of at most this size."""

_LOCAL, _CENTRAL, _END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
_END64, _END64_LOCATOR = b"PK\x06\x06", b"PK\x06\x07"
_LOCAL_FIELDS = struct.Struct("<HHHHHLLLHH")
_CENTRAL_FIELDS = struct.Struct("<HHHHHHLLLHHHHHLL")
_END_FIELDS = struct.Struct("<HHHHLLH")
_UNKNOWN32, _UNKNOWN16 = 0xFFFFFFFF, 0xFFFF
_NAME_LIMIT = 1024
_EXTRA_LIMIT = 4096


@dataclass(frozen=True)
class Member:
    """One member: its name, its size in the archive, and its body.

    ``body`` yields chunks; asking for the next member skips the rest. At its end it raises ``DamagedMemberError`` if
    the CRC-32 is wrong; later members can still be read. It raises ``TruncatedArchiveError`` if the archive ends
    inside the member.
    """

    name: str
    size_bytes: int
    body: Iterator[bytes]


def read_archive(chunks: Iterable[bytes]) -> Iterator[Member]:
    """The members of an archive in order, ``registry`` last.

    ``chunks`` may be cut anywhere; memory holds one of them and one of a body. Raises ``TruncatedArchiveError`` if the
    bytes end before the end record or the last member is not ``registry``, ``HostileArchiveError`` for a name that
    occurs twice or is absurdly long, and ``ArchiveError`` for anything else that the server never writes.
    """
    source = _Source(chunks)
    names: set[str] = set()
    last = ""
    while (signature := source.take(4)) == _LOCAL:
        if last == REGISTRY:
            raise ArchiveError(_unexpected("has a member after the registry"))
        last, size, crc = _read_local_header(source)
        if last in names:
            raise HostileArchiveError(
                "A member's name occurs twice in the archive, which no known Beiwe version does. The archive was "
                "refused. Ask the server's operators."
            )
        names.add(last)
        body = _checked_body(source, last, size, crc)
        yield Member(last, size, body)
        with suppress(DamagedMemberError):  # the caller did not read to the end, and so did not use it
            for _ in body:
                pass
    _read_directory(source, signature, len(names))
    if last != REGISTRY:
        raise TruncatedArchiveError(
            "The archive does not end with the member 'registry'. The download does not count as complete. Try again; "
            "if the error persists, the server aborts while it packs."
        )


def _read_local_header(source: _Source) -> tuple[str, int, int]:
    """Name, size and CRC-32 of the member that follows."""
    _, flags, method, _, _, crc, packed, size, name_length, extra_length = _LOCAL_FIELDS.unpack(
        source.take(_LOCAL_FIELDS.size)
    )
    if flags & ~0x0800 or method != 0:
        raise ArchiveError(_unexpected(f"has a member with flags {flags:#06x} and compression method {method}"))
    if name_length > _NAME_LIMIT or extra_length > _EXTRA_LIMIT:
        raise HostileArchiveError(_unexpected(f"has a header of {name_length} + {extra_length} bytes"))
    raw_name = source.take(name_length)
    extra = source.take(extra_length)
    if packed == _UNKNOWN32 or size == _UNKNOWN32:
        packed = size = _size_from_zip64(extra)
    if packed != size:
        raise ArchiveError(_unexpected("has a stored member of two different sizes"))
    try:
        return raw_name.decode("utf-8"), size, crc
    except UnicodeDecodeError:
        raise HostileArchiveError(_unexpected("has a member name that is not UTF-8")) from None


def _size_from_zip64(extra: bytes) -> int:
    """The size in the zip64 extra field, which replaces sizes near and over 4 GiB."""
    position = 0
    while position + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, position)
        if kind == 1 and length >= 8 and position + 12 <= len(extra):
            (size,) = struct.unpack_from("<Q", extra, position + 4)
            return int(size)
        position += 4 + length
    raise ArchiveError(_unexpected("has a large member without its size"))


def _checked_body(source: _Source, name: str, size: int, crc: int) -> Iterator[bytes]:
    left, seen = size, 0
    while left:
        chunk = source.some(min(left, CHUNK_BYTES))
        seen = zlib.crc32(chunk, seen)
        left -= len(chunk)
        yield chunk
    if seen != crc:
        raise DamagedMemberError(
            "A member's CRC-32 differs from the one in its header: the member was damaged in transit or while it was "
            "packed. It was not stored, and is requested again.",
            member=name,
        )


def _read_directory(source: _Source, signature: bytes, members: int) -> None:
    """Check the central directory and the end record, which prove that nothing was cut."""
    entries = 0
    while signature == _CENTRAL:
        fields = _CENTRAL_FIELDS.unpack(source.take(_CENTRAL_FIELDS.size))
        source.skip(fields[9] + fields[10] + fields[11])
        entries += 1
        signature = source.take(4)
    if signature == _END64:
        (length,) = struct.unpack("<Q", source.take(8))
        source.skip(min(length, _EXTRA_LIMIT))
        signature = source.take(4)
    if signature == _END64_LOCATOR:
        source.skip(16)
        signature = source.take(4)
    if signature != _END:
        raise ArchiveError(_unexpected("has bytes that are neither a member nor the directory"))
    declared = _END_FIELDS.unpack(source.take(_END_FIELDS.size))[3]
    if entries != members or declared not in (members, _UNKNOWN16):
        raise ArchiveError(_unexpected(f"has a directory of {entries} entries for {members} members"))


def _unexpected(what: str) -> str:
    return (
        f"The archive {what}, unlike those that Beiwe writes. The download was refused. A proxy may have changed it: "
        "try again, then ask the server's operators."
    )


class _Source:
    """Takes exact numbers of bytes from chunks that are cut anywhere."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._chunk = memoryview(b"")

    def some(self, limit: int) -> bytes:
        """Between one and ``limit`` bytes."""
        while not self._chunk:
            self._chunk = memoryview(self._next_chunk())
        part, self._chunk = self._chunk[:limit], self._chunk[limit:]
        return bytes(part)

    def take(self, size: int) -> bytes:
        """Exactly ``size`` bytes; meant for small sizes."""
        parts, left = [], size
        while left:
            part = self.some(left)
            parts.append(part)
            left -= len(part)
        return b"".join(parts)

    def skip(self, size: int) -> None:
        while size:
            size -= len(self.some(min(size, CHUNK_BYTES)))

    def _next_chunk(self) -> bytes:
        try:
            return next(self._chunks)
        except StopIteration:
            raise TruncatedArchiveError(
                "The archive stops before its end record. The download does not count as complete. Try again; if the "
                "error persists, request less at a time."
            ) from None
