"""What a place for the lake's bytes can do, and how its failures are told.

Paths are relative to the lake's root, with ``/``; one that leads out of it is refused with ``IntegrityError``. A file
gets its name once: nothing is ever replaced. Failures become ``LakeUnavailableError``
with what to do about them; a file that is not there is ``FileNotFoundError``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from dagster_beiwe.errors import IntegrityError, LakeUnavailableError
from dagster_beiwe.private_files import (
    is_below,
)

if TYPE_CHECKING:
    from typing_extensions import Self

LARGEST_DOCUMENT_BYTES = 64 * 1024 * 1024
"""Of manifests and other documents, which are read whole; one of 100,000 files is smaller."""

MAY_BE_ABSENT = frozenset({"read", "listed"})
"""What was done where a file that is not there is no failure."""


class StoredFile(NamedTuple):
    """A file as a listing tells of it; ``written_at`` is in seconds, by the store's own clock.

    Links, pipes and whatever else is no file have the size -1.
    """

    path: str
    size_bytes: int
    written_at: float

    @property
    def is_regular(self) -> bool:
        return self.size_bytes >= 0


class NewFile(BinaryIO):
    """A file while it is written. A block that ends with an exception removes it."""

    path: str
    """Where it lies, once it is closed."""
    doubtful: bool
    """Whether it may lie under the other name too, because an answer of the store was lost."""

    @abstractmethod
    def __enter__(self) -> Self: ...


class Store(ABC):
    """What the log needs of the place where it lies.

    Failures are ``LakeUnavailableError``: then nobody knows whether the request was carried out or still will be.
    """

    locks: bool
    """Whether ``guard`` keeps others out, even those that were stopped."""

    @abstractmethod
    def describe(self) -> str:
        """Where this is, for messages: never with credentials."""

    @abstractmethod
    def read(self, path: str, *, limit_bytes: int = LARGEST_DOCUMENT_BYTES) -> bytes:
        """A whole small file. Raises ``FileNotFoundError``, and ``IntegrityError`` for a larger one."""

    @abstractmethod
    def read_all(self, paths: Sequence[str]) -> list[bytes | None]:
        """Several small files, at once where that is faster; None for those that are not there."""

    @abstractmethod
    def list(self, path: str) -> list[str]:
        """Names directly below a folder, sorted; empty if there is no such folder."""

    @abstractmethod
    def scan(self, path: str) -> Iterator[StoredFile]:
        """All files below a folder, as the store lists them."""

    @abstractmethod
    def create_new(self, path: str, data: bytes, *, staging: str | None = None) -> None:
        """Create a small file, whole and durable, that must not be there: else ``FileExistsError``.

        What has to be written before it shows lies in the folder ``staging``, by default its own.
        """

    @abstractmethod
    def delete(self, path: str) -> None:
        """Remove a file; nothing happens if it is gone already."""

    @abstractmethod
    def delete_all(self, paths: Sequence[str]) -> None:
        """Remove several files, so that no loss of power brings them back."""

    @abstractmethod
    def delete_folder(self, path: str) -> None:
        """Remove a folder in which there are no files any more; nothing to do on object stores."""

    @abstractmethod
    def sync_folder(self, path: str) -> None:
        """Make the names in a folder durable, and the folder's own name and those above it."""

    @abstractmethod
    def guard(self, path: str, *, exclusive: bool) -> AbstractContextManager[None]:
        """Share a folder with other writers, or have it alone, while the block runs. Released if the process dies.

        ``exclusive`` raises ``CommitConflictError`` at once while somebody writes. Does nothing where ``locks`` is not
        set: object stores know no locks.
        """


class Storage(Store):
    """The few operations that the lake needs of a file system or an object store."""

    @abstractmethod
    def exists(self, path: str) -> bool:
        """Whether there is a file."""

    @abstractmethod
    def open(self, path: str, *, size_bytes: int | None = None) -> BinaryIO:
        """A file for reading, seekable. Raises ``FileNotFoundError``.

        ``size_bytes`` is how large it should be, where that is known: it saves a request. Of a larger file the rest
        may be missing then.
        """

    @abstractmethod
    def create(self, path: str, *, otherwise: str | None = None) -> NewFile:
        """A new file for writing: when it is closed it is durable, and its name is after ``sync_folder``.

        It goes to ``otherwise``, a name that nobody else has, if ``path`` is taken, or if the store cannot tell; and
        raises ``FileExistsError``, now or when it is closed, if there is no other name.
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
        f"Expected a path inside the lake, got {path[:200]!a}; nothing was touched there. A document of the lake was "
        "forged, or damaged: run `dagster-beiwe verify`, and look who can write to the lake."
    )


def unavailable(store: Store, done: str, path: str, got: str, advice: str) -> LakeUnavailableError:
    """The error for a failure of the place where the lake lies."""
    return LakeUnavailableError(
        f"The lake at {store.describe()} could not be {done}: {got!r} at {path!r}. Nothing that was committed before "
        f"is lost. {advice} Then run the same partitions again."
    )


def too_large(path: str, limit_bytes: int) -> IntegrityError:
    """The error for a document that can't be one of this package's."""
    return IntegrityError(
        f"Expected a document of at most {limit_bytes} bytes at {path!r}, got a larger file; it was not read. It was "
        "replaced: restore it from a backup, or run `dagster-beiwe verify --repair`."
    )
