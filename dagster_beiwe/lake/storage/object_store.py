"""A lake in an object store: S3, Google Cloud Storage, or Azure.

Such a store has no locks, folders or file modes. The lake needs whole objects, and conditional puts that create an
object only if none of its name exists. Nothing is cached.
"""

from __future__ import annotations

import io
import logging
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any, BinaryIO, cast

from dagster_beiwe.errors import BeiweError, IntegrityError, LakeUnavailableError
from dagster_beiwe.lake.storage.base import (
    LARGEST_DOCUMENT_BYTES,
    MAY_BE_ABSENT,
    NewFile,
    Storage,
    StoredFile,
    check_inside,
    too_large,
    unavailable,
)
from dagster_beiwe.lake.storage.object_clients import client_of
from dagster_beiwe.lake.storage.object_errors import advice, code, is_of_the_store
from dagster_beiwe.lake.storage.object_opening import open_store
from dagster_beiwe.retries import OBJECT_CONFLICT_ATTEMPTS, OBJECT_CONFLICT_FIRST_WAIT_SECONDS

logger = logging.getLogger("dagster_beiwe")

PART_BYTES = 8 * 1024 * 1024
"""Smaller files are one request; larger ones are read in ranges and written as multipart uploads of this size."""

_REMOVALS_AT_ONCE = 8
_READS_AT_ONCE = 16
_ENDS_BEFORE = frozenset({"InvalidRange", "416"})
"""Codes for a range that begins where an object has ended: those of S3 and Azure, and of Google."""


class ObjectStorage(Storage):
    """A lake below a URL such as ``s3://bucket/lake``. Usable from several threads.

    Credentials and endpoint come from the store's usual environment, never from the URL. Raises
    ``ConfigurationError`` if the URL cannot be used, its store cannot create exclusively, or the store's package is not
    installed; connects on first use.
    """

    locks = False

    def __init__(self, url: str) -> None:
        self._files, self._root, self._protocol = open_store(url)
        self._client = client_of(self._files, self._protocol)

    def describe(self) -> str:
        return f"{self._protocol}://{self._root.strip('/')}"

    def read(self, path: str, *, limit_bytes: int = LARGEST_DOCUMENT_BYTES) -> bytes:
        data = self.read_range(path, 0, limit_bytes + 1)
        if len(data) > limit_bytes:
            raise too_large(path, limit_bytes)
        return data

    def read_range(self, path: str, start: int, size_bytes: int) -> bytes:
        with self.explained("read", path):
            try:
                return bytes(self._files.cat_file(self._full(path), start=start, end=start + size_bytes))
            except Exception as error:
                if code(error) not in _ENDS_BEFORE:
                    raise
                return b""

    def exists(self, path: str) -> bool:
        with suppress(FileNotFoundError), self.explained("read", path):
            return bool(self._files.info(self._full(path))["type"] == "file")
        return False

    def open(self, path: str, *, size_bytes: int | None = None) -> BinaryIO:
        if size_bytes is not None and size_bytes <= PART_BYTES:
            return io.BytesIO(self.read_range(path, 0, size_bytes + 1))
        with self.explained("read", path):
            file = self._files.open(self._full(path), "rb", block_size=PART_BYTES)
        return cast("BinaryIO", io.BufferedReader(_Download(self, path, file)))

    def create(self, path: str, *, otherwise: str | None = None) -> NewFile:
        return cast("NewFile", _Upload(self, path, otherwise))

    def create_new(self, path: str, data: bytes, *, staging: str | None = None) -> None:  # noqa: ARG002
        with self.explained("written", path):
            for attempt in range(OBJECT_CONFLICT_ATTEMPTS):
                try:
                    self._files.pipe_file(self._full(path), data, mode="create")
                except (FileExistsError, FileNotFoundError):
                    raise
                except OSError as error:
                    if code(error) == "PreconditionFailed":
                        raise FileExistsError(path) from None
                    if code(error) != "ConditionalRequestConflict" or attempt == OBJECT_CONFLICT_ATTEMPTS - 1:
                        raise
                    # S3, while another request for the object is under way
                    time.sleep(OBJECT_CONFLICT_FIRST_WAIT_SECONDS * 2**attempt)
                else:
                    return

    def read_all(self, paths: Sequence[str]) -> list[bytes | None]:
        with ThreadPoolExecutor(_READS_AT_ONCE, thread_name_prefix="beiwe-read") as pool:
            return list(pool.map(self._found, paths))

    def scan(self, path: str) -> Iterator[StoredFile]:
        start = len(self._full("")) + 1
        with self.explained("listed", path), suppress(FileNotFoundError):
            for each in self._client.scan(self._full(path)):
                if not each.path.endswith("/"):
                    yield each._replace(path=each.path[start:])

    def delete_all(self, paths: Sequence[str]) -> None:
        names = {self._full(path): path for path in paths}
        left: Sequence[str] = list(names)
        if len(names) > 1:
            with self.explained("removed", paths[0]):
                left = self._client.delete_many(left)
        with ThreadPoolExecutor(_REMOVALS_AT_ONCE, thread_name_prefix="beiwe-delete") as pool:
            for done in [pool.submit(self.delete, names[name]) for name in left]:
                done.result()

    @contextmanager
    def guard(self, path: str, *, exclusive: bool) -> Iterator[None]:  # noqa: ARG002
        yield

    def delete(self, path: str) -> None:
        with self.explained("removed", path), suppress(FileNotFoundError):
            self._files.rm_file(self._full(path))

    def delete_folder(self, path: str) -> None:
        """Folders do not exist, but consoles and other programs leave markers of them."""
        with self.explained("removed", path):
            self._client.delete_markers(self._full(path))

    def list(self, path: str) -> list[str]:
        with suppress(FileNotFoundError), self.explained("listed", path):
            return sorted(self._client.names(self._full(path)))
        return []

    def sync_folder(self, path: str) -> None:
        """Nothing to do: what the store confirmed is durable."""

    def size_bytes(self, path: str) -> int:
        """The size of an object. Raises ``FileNotFoundError``."""
        with self.explained("read", path):
            return int(self._files.size(self._full(path)))

    def multipart_upload(self, path: str) -> Any:
        """A file of fsspec's that appears after ``close`` and ``commit``."""
        with self.explained("written", path):
            return self._files.open(self._full(path), "wb", block_size=PART_BYTES, autocommit=False)

    def _full(self, path: str) -> str:
        check_inside(path)
        return f"{self._root}/{path}" if path else self._root

    @contextmanager
    def explained(self, done: str, path: str) -> Iterator[None]:
        try:
            yield
        except (FileExistsError, BeiweError):
            raise
        except Exception as error:
            if isinstance(error, FileNotFoundError) and done in MAY_BE_ABSENT:
                raise
            if not is_of_the_store(error):
                raise
            got = code(error) or type(error).__name__
            raise unavailable(self, done, path, got, advice(error)) from None


class _Download(io.RawIOBase):
    """An object that is read in ranges, and whose client's errors are explained."""

    def __init__(self, storage: ObjectStorage, path: str, file: Any) -> None:
        self._storage, self._path, self._file = storage, path, file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        with self._storage.explained("read", self._path):
            try:
                data = self._file.read(len(buffer))
            except OSError as error:
                if type(error).__name__ == "FileExpired":  # s3fs requests each range with the first one's ETag
                    raise IntegrityError(
                        f"{self._path!r} in the lake at {self._storage.describe()} was replaced while it was read. "
                        "What was read must not be used. This package replaces no file: check who else can write to "
                        "the lake, and run `dagster-beiwe verify`."
                    ) from None
                raise
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


class _Upload(io.RawIOBase):
    """A new object: a conditional put if it is small, else a multipart upload. It appears when it is closed.

    ``otherwise`` is its name if ``path`` exists, and if it is large: stores cannot complete an upload conditionally.
    """

    def __init__(self, storage: ObjectStorage, path: str, otherwise: str | None = None) -> None:
        self._storage, self.path, self._otherwise = storage, path, otherwise
        self.doubtful = False
        self._buffer = io.BytesIO()
        self._upload: Any = None
        self._size_bytes = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._size_bytes

    def write(self, data: Any) -> int:
        size_bytes = memoryview(data).nbytes
        if self._upload is None and self._size_bytes + size_bytes > PART_BYTES:
            self.path = self._otherwise or self.path
            self._upload = self._storage.multipart_upload(self.path)
            self._pass_on(self._buffer.getvalue())
            self._buffer = io.BytesIO()
        if self._upload is None:
            self._buffer.write(data)
        else:
            self._pass_on(data)
        self._size_bytes += size_bytes
        return size_bytes

    def _pass_on(self, data: Any) -> None:
        with self._storage.explained("written", self.path):
            self._upload.write(data)

    def close(self) -> None:
        if self.closed:
            return
        try:
            if self._upload is None:
                self._put(self._buffer.getvalue())
            else:
                self._complete()
        except BaseException:
            self.abandon()
            raise
        super().close()

    def _put(self, data: bytes) -> None:
        try:
            self._storage.create_new(self.path, data)
        except FileExistsError:  # also if an answer was lost and the client tried again
            if self._otherwise is not None:
                self.path, self._otherwise, self.doubtful = self._otherwise, None, True
                self._put(data)
            elif self._storage.read_all([self.path]) != [data]:
                raise

    def _complete(self) -> None:
        with self._storage.explained("written", self.path):
            self._upload.close()
            try:
                self._upload.commit()
            except FileNotFoundError:  # no such upload: an answer was lost and the client tried again
                if self._storage.size_bytes(self.path) != self._size_bytes:
                    raise

    def abandon(self) -> None:
        """Abort the upload."""
        super().close()
        if self._upload is None:
            return
        with suppress(AttributeError):  # some stores' files cannot be marked, and need not be
            self._upload.closed = True  # or it would be uploaded when it is garbage-collected
        try:
            with self._storage.explained("removed", self.path), suppress(FileNotFoundError):
                self._upload.discard()
            self._storage.delete(self.path)
        except LakeUnavailableError as error:
            logger.warning("Parts of an aborted upload may be left in the store: %s", error)

    def __exit__(self, kind: object, *rest: object) -> None:
        if kind is not None and not self.closed:
            self.abandon()
        self.close()

    def __del__(self) -> None:
        if not self.closed:
            self.abandon()
