"""What Arrow writes to: file-like objects that count and hash the bytes."""

from __future__ import annotations

import hashlib
import io
from collections import deque
from typing import BinaryIO, Final

from dagster_beiwe.encryption import Bytes
from dagster_beiwe.errors import ConfigurationError

_LONGEST_FOOTER_BYTES: Final = 16 * 1024 * 1024
_FOOTER_END_BYTES: Final = 8
"""The length of the footer, and four letters: a Parquet file ends with them."""


class HashingSink(io.RawIOBase):
    """Counts and hashes what is written, and keeps none of it."""

    def __init__(self) -> None:
        super().__init__()
        self.size_bytes, self.sha256 = 0, hashlib.sha256()

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.size_bytes

    def write(self, data: Bytes) -> int:  # type: ignore[override]
        self.size_bytes += len(data)
        self.sha256.update(data)
        return len(data)


class ParquetSink(HashingSink):
    """Passes a Parquet file on to ``file``, and keeps its footer."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self._file = file
        self._last: deque[bytes] = deque()
        self._last_bytes = 0

    def write(self, data: Bytes) -> int:  # type: ignore[override]
        data = bytes(data)
        self._last.append(data)
        self._last_bytes += len(data)
        while self._last_bytes - len(self._last[0]) >= _LONGEST_FOOTER_BYTES:
            self._last_bytes -= len(self._last.popleft())
        self._file.write(data)
        return super().write(data)

    def footer(self) -> bytes:
        """The footer of the file that was written. Raises ``ConfigurationError`` if it is too long."""
        last = b"".join(self._last)
        size_bytes = int.from_bytes(last[-_FOOTER_END_BYTES:][:4], "little") + _FOOTER_END_BYTES
        if size_bytes > len(last):
            raise ConfigurationError(
                f"The table has so many columns that their description takes {size_bytes} bytes. It was not stored. "
                "Store several tables of fewer columns."
            )
        return last[-size_bytes:]
