"""Hash files as they are stored: each once, small ones several at a time, because object stores serve many at once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import Final, Literal

from dagster_beiwe.errors import IntegrityError, LakeUnavailableError
from dagster_beiwe.lake.storage.base import Storage
from dagster_beiwe.meanwhile import BUSY_THREADS

Wrong = Literal["file missing", "file changed", "file unreadable"]

_CHUNK_BYTES: Final = 1024 * 1024
_SMALL_BYTES: Final = 4 * _CHUNK_BYTES
_BATCH_FILES: Final = 256
_BATCH_BYTES: Final = 8 * _CHUNK_BYTES
"""An object store holds this much in memory."""


class StoredHashes:
    """The hashes of the files that were read. ``files`` and ``size_bytes`` count them."""

    def __init__(self, storage: Storage, *, threads: int = BUSY_THREADS) -> None:
        self._storage, self._threads = storage, threads
        self._hashes: dict[str, str] = {}
        self._wrong: dict[str, Wrong] = {}
        self.files = self.size_bytes = 0

    def read_ahead(self, sizes: Mapping[str, int]) -> None:
        """Read the small files among these, several at a time. Those that fail are read again once asked for."""
        new = sorted((path, size) for path, size in sizes.items() if path not in self._hashes)  # by folder
        batches = list(_batches(new))
        if len(batches) < 2 or self._threads < 2:  # threads are worth it for many bytes only
            found = iter([self._hashed(batch) for batch in batches])
        else:
            with ThreadPoolExecutor(min(len(batches), self._threads), "beiwe-hash") as pool:
                found = pool.map(self._hashed, batches)
        for path, size_bytes, sha256 in chain.from_iterable(found):
            self._take(path, size_bytes, sha256)

    def _hashed(self, paths: Sequence[str]) -> list[tuple[str, int, str]]:
        """Path, size and hash of those that could be read; none if reading one fails."""
        try:
            hashes = self._storage.hash_all(paths)
        except (IntegrityError, LakeUnavailableError):
            return []
        return [(path, *found) for path, found in zip(paths, hashes, strict=True) if found]

    def wrong(self, path: str, size_bytes: int, sha256: str) -> Wrong | None:
        """What is wrong with a file that must have this size and hash; None if nothing is."""
        if path not in self._hashes and path not in self._wrong:
            self._read(path, size_bytes)
        if path in self._wrong:
            return self._wrong[path]
        return None if self._hashes[path] == sha256 else "file changed"

    def _read(self, path: str, size_bytes: int) -> None:
        """Read one file, of any size, a chunk at a time."""
        found, count = hashlib.sha256(), 0
        try:
            with self._storage.open(path) as file:
                while count <= size_bytes and (chunk := file.read(_CHUNK_BYTES)):
                    count += len(chunk)
                    found.update(chunk)
        except FileNotFoundError:
            self._wrong[path] = "file missing"
        except LakeUnavailableError:
            self._wrong[path] = "file unreadable"
        except IntegrityError:  # it is no file
            self._wrong[path] = "file changed"
        else:
            self._take(path, count, found.hexdigest())

    def _take(self, path: str, size_bytes: int, sha256: str) -> None:
        self._hashes[path] = sha256
        self.files += 1
        self.size_bytes += size_bytes


def _batches(sizes: Iterable[tuple[str, int]]) -> Iterator[list[str]]:
    """Paths of small files, in batches that fit into memory."""
    batch: list[str] = []
    total = 0
    for path, own_bytes in sizes:
        if own_bytes > _SMALL_BYTES:
            continue
        if batch and (len(batch) == _BATCH_FILES or total + own_bytes > _BATCH_BYTES):
            yield batch
            batch, total = [], 0
        batch.append(path)
        total += own_bytes
    if batch:
        yield batch
