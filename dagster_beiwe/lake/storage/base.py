"""The operations that the lake needs of a file system or an object store, and the errors for their failures.

Paths are relative to the lake's root, with ``/``; ``IntegrityError`` refuses one that leads out of it. A file gets its
name once: nothing is ever replaced. Failures become ``LakeUnavailableError``, which says what to do; a missing file is
``FileNotFoundError``.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, wait
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, BinaryIO, Final, NamedTuple, TypeVar

from dagster_beiwe.errors import IntegrityError, LakeUnavailableError
from dagster_beiwe.file_tree import is_below

if TYPE_CHECKING:
    from typing_extensions import Self

LARGEST_DOCUMENT_BYTES = 64 * 1024 * 1024
"""Manifests and other documents are read whole; the manifest of 100,000 files is smaller."""

MAY_BE_ABSENT = frozenset({"read", "listed"})
"""What can be done to a missing file without that being a failure."""


_T = TypeVar("_T")
_R = TypeVar("_R")

_SHARE: Final = 8
"""What a thread works on before it takes the next items: to be woken for each takes longer than a small file."""

_FEWEST_SHARES: Final = 4
"""Into how many shares a few items are parted: disks and object stores answer several at a time."""


class StoredFile(NamedTuple):
    """A file in a listing; ``written_at`` is in seconds, by the store's own clock.

    The size of a link, a pipe or anything else that is no regular file is -1.
    """

    path: str
    size_bytes: int
    written_at: float

    @property
    def is_regular(self) -> bool:
        return self.size_bytes >= 0


class NewFile(BinaryIO):
    """A file while it is written. A ``with`` block that raises removes it."""

    path: str
    """Its path, once it is closed."""
    doubtful: bool
    """Whether it may also exist under its other name, because an answer of the store was lost."""

    @abstractmethod
    def __enter__(self) -> Self: ...


class Store(ABC):
    """What the log needs. After a ``LakeUnavailableError`` the request may have been carried out, or still will be."""

    locks: bool
    """Whether ``guard`` keeps other processes out, even stopped ones."""

    @abstractmethod
    def describe(self) -> str:
        """The place, for messages: without credentials."""

    @abstractmethod
    def read(self, path: str, *, limit_bytes: int = LARGEST_DOCUMENT_BYTES) -> bytes:
        """A whole small file. Raises ``FileNotFoundError``, and ``IntegrityError`` if it is larger."""

    def read_all(self, paths: Sequence[str]) -> list[bytes | None]:
        """Several small files, in parallel where that is faster; None for a missing one."""
        return [*map(self._found, paths)]

    def _found(self, path: str) -> bytes | None:
        try:
            return self.read(path)
        except FileNotFoundError:
            return None

    @abstractmethod
    def list(self, path: str) -> list[str]:
        """Names directly below a folder, sorted; none if there is no such folder."""

    @abstractmethod
    def scan(self, path: str) -> Iterator[StoredFile]:
        """All files below a folder."""

    @abstractmethod
    def create_new(self, path: str, data: bytes, *, staging: str | None = None) -> None:
        """Create a small file, whole and durable, or raise ``FileExistsError``: a conditional put.

        A disk writes it to the folder ``staging`` first, by default its own.
        """

    def prove_exclusive(self, path: str, data: bytes, *, staging: str | None = None) -> None:
        """Try to create a file again, with its own bytes. Raises ``LakeUnavailableError`` if that succeeds."""
        try:
            self.create_new(path, data, staging=staging)
        except FileExistsError:
            return
        raise LakeUnavailableError(
            f"The store at {self.describe()} replaced a file instead of creating a new one. Nothing was committed, "
            "because two runs could overwrite each other's work there. Use a store, or a newer version of it, with "
            "conditional writes (`If-None-Match` in S3's terms)."
        )

    @abstractmethod
    def delete(self, path: str) -> None:
        """Delete a file, if it exists."""

    @abstractmethod
    def delete_all(self, paths: Sequence[str]) -> None:
        """Delete several files durably."""

    @abstractmethod
    def delete_folder(self, path: str) -> None:
        """Delete a folder without files."""

    @abstractmethod
    def sync_folder(self, path: str) -> None:
        """Make the names in a folder durable, and the names of the folder and those above it."""

    @abstractmethod
    def guard(self, path: str, *, exclusive: bool) -> AbstractContextManager[None]:
        """Lock a folder while the block runs, shared with other writers or ``exclusive``.

        ``exclusive`` raises ``CommitConflictError`` at once if anyone writes. Does nothing unless ``locks`` is set.
        """


class Storage(Store):
    """What the lake needs: a store of files of any size."""

    @contextmanager
    def folder_by_folder(self) -> Iterator[None]:
        """Keep the last folders of a disk open while this thread takes file after file, which is faster.

        Use it only where nobody else moves or removes folders.
        """
        yield

    def each(self, pool: Executor, work: Callable[[_T], _R], items: Sequence[_T]) -> list[_R]:
        """Work on items that have to do with its files, in threads of a pool; the results are in their order.

        An error is raised when no thread is at work any more.
        """
        step = max(1, min(_SHARE, len(items) // _FEWEST_SHARES))

        def share(own: Sequence[_T]) -> list[_R]:
            with self.folder_by_folder():
                return [work(item) for item in own]

        waiting = [pool.submit(share, items[start : start + step]) for start in range(0, len(items), step)]
        try:
            wait(waiting)
        finally:  # else they were interrupted
            for each in waiting:
                each.cancel()
            wait(waiting)
        return [result for each in waiting for result in each.result()]

    def elsewhere(self, guarded: Sequence[str] = ()) -> Callable[[], Storage] | None:  # noqa: ARG002
        """What opens it in another process, where no folder is made while one of the ``guarded`` is missing.

        None if another process can't open it, or would not help: an object store takes its time.
        """
        return None

    @abstractmethod
    def exists(self, path: str) -> bool:
        """Whether there is a file."""

    @abstractmethod
    def open(self, path: str, *, size_bytes: int | None = None) -> BinaryIO:
        """A file for reading, seekable. Raises ``FileNotFoundError``.

        The expected ``size_bytes`` save a request. If the file is larger, its rest may not be read.
        """

    def read_range(self, path: str, start: int, size_bytes: int) -> bytes:
        """A part of a file, shorter at its end. Raises ``FileNotFoundError``."""
        with self.explained("read", path), self.open(path) as file:
            file.seek(start)
            return file.read(size_bytes)

    def hash_all(self, paths: Sequence[str]) -> list[tuple[int, str] | None]:
        """Size and SHA-256 of several files; None for a missing one. An object store holds them in memory."""
        contents = self.read_all(paths)
        return [None if data is None else (len(data), hashlib.sha256(data).hexdigest()) for data in contents]

    @abstractmethod
    def create(self, path: str, *, otherwise: str | None = None) -> NewFile:
        """A new file for writing: durable when it is closed, its name after ``sync_folder``.

        It goes to ``otherwise``, a name that nobody else has, if ``path`` exists or the store cannot tell. Without
        that, ``FileExistsError`` is raised, now or at its end.
        """

    @abstractmethod
    def explained(self, done: str, path: str) -> AbstractContextManager[None]:
        """Turn the file system's errors inside the block into ``LakeUnavailableError``."""


def check_inside(path: str) -> None:
    """Raise ``IntegrityError`` for a path that leads out of the lake."""
    if not is_below(path):
        raise outside(path)


def outside(path: str) -> IntegrityError:
    """The error for a path that leads out of the lake."""
    return IntegrityError(
        f"The path {path[:200]!a} is not inside the lake. Nothing was read or written there. A document of the lake "
        "was forged or damaged: run `dagster-beiwe verify`, and check who can write to the lake."
    )


def unavailable(store: Store, done: str, path: str, got: str, advice: str) -> LakeUnavailableError:
    """The error for a failure of the place where the lake lies."""
    return LakeUnavailableError(
        f"The lake at {store.describe()} could not be {done}: {got!r} at {path!r}. Nothing that was committed is "
        f"lost. {advice} Then run the same partitions again."
    )


def too_large(path: str, limit_bytes: int) -> IntegrityError:
    """The error for a document that this package cannot have written."""
    return IntegrityError(
        f"The document {path!r} is larger than {limit_bytes} bytes. It was not read. It was replaced: restore "
        "it from a backup, or run `dagster-beiwe verify --repair`."
    )
