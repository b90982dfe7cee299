"""One version of a table in the lake, as Arrow reads its file.

An encrypted file is read in ranges: its footer, and then the pages that are asked for. The manifest proves the footer,
and the key each page: without the former, pages of a weaker mode would pass. A file that is
not encrypted, or that was encrypted as a whole, proves nothing in parts and is read whole.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Final

import pyarrow as pa
from pyarrow import dataset, parquet

from dagster_beiwe.encryption import UNENCRYPTED, KeyRing
from dagster_beiwe.errors import IntegrityError
from dagster_beiwe.lake.layout import Subject
from dagster_beiwe.lake.manifest import ModularEncryption, TableManifest
from dagster_beiwe.lake.storage.base import Storage
from dagster_beiwe.tables.keys import FileKey

_ENCRYPTED: Final = b"PARE"
_TAIL_BYTES: Final = 64 * 1024
"""Arrow asks for so much when it looks for the footer."""


def is_encrypted_parquet(head: bytes) -> bool:
    """Whether a file that begins with ``head`` can be a Parquet file of which nothing is readable."""
    return head.startswith(_ENCRYPTED)


@dataclass(frozen=True, repr=False, eq=False)
class StoredTable:
    """A version of a table. Nothing is read before a method asks for it.

    ``absent`` makes the error for a file that is missing.
    """

    subject: Subject
    manifest: TableManifest
    path: str
    storage: Storage
    ring: KeyRing
    absent: Callable[[], Exception]

    @cached_property
    def key(self) -> FileKey | None:
        """The file's key; None if it has none of its own. Raises ``EncryptionError`` if it can't be unwrapped."""
        modular, wrapped_by = self.manifest.modular, self.manifest.encryption
        return FileKey.unwrap(modular, self.ring, wrapped_by, path=self.path) if modular else None

    def stored(self) -> bytes:
        """The file as it lies in the lake, proven. No key is needed. Raises ``IntegrityError`` if it was changed."""
        data = self.read_range(0, self.manifest.stored_size_bytes + 1)
        if hashlib.sha256(data).hexdigest() != self.manifest.stored_sha256:
            raise self._changed()
        return data

    def source(self) -> io.RawIOBase | io.BytesIO:
        """The Parquet file, for Arrow to read. Raises ``EncryptionError`` if its key is missing or wrong."""
        if self.manifest.modular is not None:
            return _Ranges(self, self.manifest.modular)
        stored = self.stored()
        if self.manifest.encryption == UNENCRYPTED:
            return io.BytesIO(stored)
        manifest = self.manifest
        return io.BytesIO(self.ring.decrypt(stored, manifest.encryption, sha256=manifest.sha256, name=self.path))

    @contextmanager
    def proven(self) -> Iterator[None]:
        """Turn errors of Arrow's, which finds whatever was changed in a file, into ``IntegrityError``."""
        try:
            yield
        except (pa.ArrowException, OSError) as error:
            if isinstance(error, MemoryError):
                raise
            raise self._changed() from None

    def opener(self) -> Callable[..., parquet.ParquetFile]:
        """What opens the file with options of Arrow's, as often as wanted; call it in a ``with`` block of ``proven``.

        Its footer is fetched once, and proven.
        """
        properties = self.key.decryption() if self.key else None
        source = pa.PythonFile(self.source(), mode="r")
        return partial(parquet.ParquetFile, source, decryption_properties=properties, pre_buffer=True)

    def parquet(self) -> parquet.ParquetFile:
        """The file with its footer read and proven; read it in a ``with`` block of ``proven``."""
        opener = self.opener()
        with self.proven():
            return opener()

    def fragment(self) -> dataset.ParquetFileFragment:
        """The file as a part of Arrow's datasets, with its footer read and proven."""
        options = dataset.ParquetFragmentScanOptions(
            pre_buffer=True, decryption_properties=self.key.decryption() if self.key else None
        )
        source = self.source()
        fragment = dataset.ParquetFileFormat(default_fragment_scan_options=options).make_fragment(
            pa.PythonFile(source, mode="r")
        )
        with self.proven():
            fragment.ensure_complete_metadata()
        if isinstance(source, _Ranges):
            source.forget()
        return fragment

    def read_range(self, start: int, size_bytes: int) -> bytes:
        """A part of the stored file. Raises ``IntegrityError`` if the file is missing."""
        try:
            return self.storage.read_range(self.path, start, size_bytes)
        except FileNotFoundError:
            raise self.absent() from None

    def tail(self, modular: ModularEncryption, tail_bytes: int) -> bytes:
        """The file's last bytes, of which the footer is proven. Raises ``IntegrityError``."""
        tail = self.read_range(self.manifest.stored_size_bytes - tail_bytes, tail_bytes + 1)
        footer = tail[len(tail) - modular.footer_size_bytes :]
        if len(tail) != tail_bytes or hashlib.sha256(footer).hexdigest() != modular.footer_sha256:
            raise self._changed()
        return tail

    def _changed(self) -> IntegrityError:
        return IntegrityError(
            f"{self.path!r} differs from the file that was committed for {self.subject}. Nothing was read. It was "
            "changed or damaged: restore it from a backup, or materialize the table again."
        )


class _Ranges(io.RawIOBase):
    """An encrypted file, of which only the ranges are fetched that are read. Its end is fetched once, and proven."""

    def __init__(self, table: StoredTable, modular: ModularEncryption) -> None:
        super().__init__()
        self._table, self._modular, self._at = table, modular, 0
        self._size_bytes = table.manifest.stored_size_bytes
        self._tail_bytes = min(max(modular.footer_size_bytes, _TAIL_BYTES), self._size_bytes)
        self._tail: bytes | None = None

    def forget(self) -> None:
        """Keep nothing of the file in memory: there may be thousands of them."""
        self._tail = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size_bytes}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        left = max(0, self._size_bytes - self._at)
        start, wanted = self._at, left if size is None or size < 0 else min(size, left)
        self._at += wanted
        in_tail = start - (self._size_bytes - self._tail_bytes)
        if in_tail < 0:
            return self._table.read_range(start, wanted)
        if self._tail is None:
            self._tail = self._table.tail(self._modular, self._tail_bytes)
        return self._tail[in_tail : in_tail + wanted]

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)
