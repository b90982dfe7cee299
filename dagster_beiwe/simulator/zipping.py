"""Write stored zip members one after the other, with true CRCs and sizes in the local headers.

The same shape as the server's own archives: version 2.0 headers, flags 0, no data descriptors, no extra fields;
zip64 only for members or archives near 2 GiB and more.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

_BIG = (1 << 31) - 1
_ATTRIBUTES = 0o600 << 16


@dataclass(frozen=True, kw_only=True)
class Member:
    """One file of the zip: its size and CRC-32 as in the headers, and its bytes."""

    name: str
    size_bytes: int
    crc32: int
    chunks: Callable[[], Iterable[bytes]]


def zip_stream(members: Iterable[Member], *, now: datetime) -> Iterator[bytes]:
    """The archive, chunk by chunk. ``now`` becomes the members' time."""
    stamp = struct.pack(
        "<HH",
        now.hour << 11 | now.minute << 5 | now.second // 2,
        (now.year - 1980) << 9 | now.month << 5 | now.day,
    )
    directory: list[bytes] = []
    offset = 0
    for member in members:
        header = _local_header(member, stamp)
        yield header
        sent = 0
        for chunk in member.chunks():
            sent += len(chunk)
            yield chunk
        directory.append(_directory_entry(member, stamp, offset))
        offset += len(header) + sent
    yield b"".join(directory)
    yield _end(len(directory), sum(map(len, directory)), offset)


def _sizes(member: Member) -> tuple[bytes, bytes]:
    """The two size fields, and the zip64 numbers if they do not fit."""
    if member.size_bytes <= _BIG:
        return struct.pack("<LL", member.size_bytes, member.size_bytes), b""
    return b"\xff" * 8, struct.pack("<QQ", member.size_bytes, member.size_bytes)


def _local_header(member: Member, stamp: bytes) -> bytes:
    name, (sizes, big) = member.name.encode(), _sizes(member)
    extra = struct.pack("<HH", 1, len(big)) + big if big else b""
    return (
        struct.pack("<4sHHH", b"PK\x03\x04", 45 if big else 20, 0, 0)
        + stamp
        + struct.pack("<L", member.crc32)
        + sizes
        + struct.pack("<HH", len(name), len(extra))
        + name
        + extra
    )


def _directory_entry(member: Member, stamp: bytes, offset: int) -> bytes:
    name, (sizes, big) = member.name.encode(), _sizes(member)
    if offset > _BIG:
        big, offset = big + struct.pack("<Q", offset), 0xFFFFFFFF
    extra = struct.pack("<HH", 1, len(big)) + big if big else b""
    version = 45 if big else 20
    return (
        struct.pack("<4sBBHHH", b"PK\x01\x02", version, 3, version, 0, 0)
        + stamp
        + struct.pack("<L", member.crc32)
        + sizes
        + struct.pack("<HHHHHLL", len(name), len(extra), 0, 0, 0, _ATTRIBUTES, offset)
        + name
        + extra
    )


def _end(count: int, size_bytes: int, offset: int) -> bytes:
    records = b""
    if count > 0xFFFF or offset > _BIG or size_bytes > _BIG:
        records = struct.pack(
            "<4sQHHLLQQQQ", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, size_bytes, offset
        ) + struct.pack("<4sLQL", b"PK\x06\x07", 0, offset + size_bytes, 1)
        count, size_bytes, offset = min(count, 0xFFFF), min(size_bytes, 0xFFFFFFFF), min(offset, 0xFFFFFFFF)
    return records + struct.pack("<4sHHHHLLH", b"PK\x05\x06", 0, 0, count, count, size_bytes, offset, 0)
