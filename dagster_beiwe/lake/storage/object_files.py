"""Files of an object store while they are read or written."""

from __future__ import annotations

import io
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from dagster_beiwe.errors import IntegrityError, LakeUnavailableError

if TYPE_CHECKING:
    from dagster_beiwe.lake.storage.object_store import ObjectStorage

logger = logging.getLogger("dagster_beiwe")

PIECE_BYTES = 8 * 1024 * 1024
"""Smaller files are one request, larger ones are uploaded and read in pieces of this size."""


class Download(io.RawIOBase):
    """An object that is read in pieces; where the store's client fails, it says so in the lake's words."""

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
                if type(error).__name__ == "FileExpired":  # s3fs asks for each piece with the version of the first one
                    raise self._replaced() from None
                raise
        buffer[: len(data)] = data
        return len(data)

    def _replaced(self) -> IntegrityError:
        return IntegrityError(
            f"{self._path!r} in the lake at {self._storage.describe()} was replaced while it was read; what was read "
            "must not be used. This package replaces no file: look who else can write to the lake, and run "
            "`dagster-beiwe verify`."
        )

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


class Upload(io.RawIOBase):
    """A new object: one request if it is small, else in pieces. Nothing of it shows before it is closed.

    A block that ends with an exception leaves nothing. ``otherwise`` is its name if the other one is taken, and if it
    is large: stores can't complete pieces on condition that nothing is there.
    """

    def __init__(self, storage: ObjectStorage, path: str, otherwise: str | None = None) -> None:
        self._storage, self.path, self._otherwise = storage, path, otherwise
        self.doubtful = False
        self._buffer = io.BytesIO()
        self._pieces: Any = None
        self._size_bytes = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._size_bytes

    def write(self, data: Any) -> int:
        size_bytes = memoryview(data).nbytes
        if self._pieces is None and self._size_bytes + size_bytes > PIECE_BYTES:
            self.path = self._otherwise or self.path
            self._pieces = self._storage.start_upload(self.path)
            self._pass_on(self._buffer.getvalue())
            self._buffer = io.BytesIO()
        if self._pieces is None:
            self._buffer.write(data)
        else:
            self._pass_on(data)
        self._size_bytes += size_bytes
        return size_bytes

    def _pass_on(self, data: Any) -> None:
        with self._storage.explained("written", self.path):
            self._pieces.write(data)

    def close(self) -> None:
        if self.closed:
            return
        try:
            if self._pieces is None:
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
        except FileExistsError:  # also where the answer was lost, and the client has asked again
            if self._otherwise is not None:
                self.path, self._otherwise, self.doubtful = self._otherwise, None, True
                self._put(data)
            elif not self._lies_there(data):
                raise

    def _complete(self) -> None:
        with self._storage.explained("written", self.path):
            self._pieces.close()
            try:
                self._pieces.commit()
            except FileNotFoundError:  # no such upload: the answer was lost, and the client has asked again
                if self._storage.size_bytes(self.path) != self._size_bytes:
                    raise

    def _lies_there(self, data: bytes) -> bool:
        with suppress(FileNotFoundError, IntegrityError):  # IntegrityError: it is larger
            return self._storage.read(self.path, limit_bytes=len(data)) == data
        return False

    def abandon(self) -> None:
        """Give up the upload."""
        super().close()
        if self._pieces is None:
            return
        with suppress(AttributeError):  # some stores' files can't be marked, and need not be
            self._pieces.closed = True  # or it would be uploaded when it is collected
        try:
            with self._storage.explained("removed", self.path), suppress(FileNotFoundError):
                self._pieces.discard()
            self._storage.delete(self.path)
        except LakeUnavailableError as error:
            logger.warning("The pieces of an upload that was given up may be left in the store: %s", error)

    def __exit__(self, kind: object, *rest: object) -> None:
        if kind is not None and not self.closed:
            self.abandon()
        self.close()

    def __del__(self) -> None:
        if not self.closed:
            self.abandon()
