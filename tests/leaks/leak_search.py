"""Look for canaries in everything below a folder: files as they are and unpacked, and every value of databases."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import sqlite3
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import zstandard
from leak_needles import Needles

_SQLITE = b"SQLite format 3\0"
_DEPTH = 4


@dataclass(frozen=True)
class Leak:
    """A canary where it should not be."""

    canary: str
    place: str


def search_folder(folder: Path, needles: Needles) -> list[Leak]:
    """Every leak below the folder, in contents and in names."""
    found = []
    for path in sorted(folder.rglob("*")):
        place = path.relative_to(folder).as_posix()
        found += [Leak(name, f"name of {place}") for name in needles.found_in(place.encode())]
        if path.is_file() and not path.is_symlink():
            data = path.read_bytes()
            found += search_bytes(data, place, needles)
            if data.startswith(_SQLITE):
                found += search_database(path, place, needles)
    return found


def search_bytes(data: bytes, place: str, needles: Needles, *, depth: int = _DEPTH) -> list[Leak]:
    """Leaks in bytes, and in what they are when unpacked."""
    found = [Leak(name, place) for name in sorted(needles.found_in(data))]
    return [*found, *search_unpacked(data, place, needles, depth=depth)]


def search_unpacked(data: bytes, place: str, needles: Needles, *, depth: int = _DEPTH) -> list[Leak]:
    """Leaks in what the bytes are when unpacked, and not in what they are."""
    found = []
    for kind, unpacked in _unpacked(data) if depth else ():
        found += search_bytes(unpacked, f"{place} ({kind})", needles, depth=depth - 1)
    return found


def search_database(path: Path, place: str, needles: Needles) -> list[Leak]:
    """Leaks in every value of every table."""
    found = []
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
        database.text_factory = bytes
        names = [row[0].decode() for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for name in names:
            for row in database.execute(f'SELECT * FROM "{name}"'):
                for value in row:
                    if isinstance(value, bytes):
                        found += search_bytes(value, f"{place}, table {name}", needles)
    database.close()
    return found


def _unpacked(data: bytes) -> Iterator[tuple[str, bytes]]:
    """What the bytes are when unpacked; raw deflate has no mark of its own, so that every beginning is tried."""
    for kind, magic, unpack in _PACKERS:
        if data.startswith(magic):
            try:
                unpacked = unpack(data)
            except (OSError, EOFError, ValueError, NotImplementedError, *_UNPACKING_FAILED):
                continue
            if unpacked:  # a few bytes are taken for a deflated nothing
                yield kind, unpacked


def _unzlib(data: bytes) -> bytes:
    return zlib.decompressobj().decompress(data)


def _undeflated(data: bytes) -> bytes:
    return zlib.decompressobj(-zlib.MAX_WBITS).decompress(data)


def _unzstd(data: bytes) -> bytes:
    return zstandard.ZstdDecompressor().decompressobj().decompress(data)


def _unzipped(data: bytes) -> bytes:
    """Names and contents of all members."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return b"\n".join(part for name in archive.namelist() for part in (name.encode(), archive.read(name)))


def _of_parquet(data: bytes) -> bytes:
    return _values(pyarrow.parquet.read_table(io.BytesIO(data)))


def _of_arrow_file(data: bytes) -> bytes:
    return _values(pyarrow.feather.read_table(io.BytesIO(data)))


def _of_arrow_stream(data: bytes) -> bytes:
    with pa.ipc.open_stream(data) as reader:
        return _values(reader.read_all())


def _values(table: pa.Table) -> bytes:
    """Every value as text, with the notes in the schema."""
    return f"{table.schema.metadata}\n{table.schema}\n{table.to_pydict()}".encode()


_UNPACKING_FAILED = (zlib.error, lzma.LZMAError, zstandard.ZstdError, zipfile.BadZipFile, pa.ArrowException)
_PACKERS: tuple[tuple[str, bytes, Callable[[bytes], bytes]], ...] = (
    ("zlib", b"x", _unzlib),
    ("gzip", b"\x1f\x8b", gzip.decompress),
    ("zstd", b"\x28\xb5\x2f\xfd", _unzstd),
    ("bzip2", b"BZh", bz2.decompress),
    ("xz", b"\xfd7zXZ", lzma.decompress),
    ("zip", b"PK\x03\x04", _unzipped),
    ("Parquet", b"PAR1", _of_parquet),
    ("Arrow file", b"ARROW1", _of_arrow_file),
    ("Arrow stream", b"\xff\xff\xff\xff", _of_arrow_stream),
    ("deflate", b"", _undeflated),
)
