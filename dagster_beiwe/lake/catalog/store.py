"""What the catalog needs of the place where a lake lies, and how it learns what came of a request."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from dagster_beiwe.errors import LakeUnavailableError, OutcomeUnknownError
from dagster_beiwe.lake.storage import StoredFile

_ATTEMPTS = 3


class Store(Protocol):
    """Failures are ``LakeUnavailableError``: then nobody knows whether the request was carried out or still will be."""

    @property
    def locks(self) -> bool:
        """Whether ``guard`` keeps others out, even those that were stopped."""

    def describe(self) -> str:
        """Where this is, for messages: never with credentials."""

    def read(self, path: str, *, limit_bytes: int = ...) -> bytes:
        """A whole small file. Raises ``FileNotFoundError``."""

    def read_all(self, paths: Sequence[str]) -> list[bytes | None]:
        """Several small files, at once where that is faster; None for those that are not there."""

    def list(self, path: str) -> list[str]:
        """Names directly below a folder, sorted; empty if there is no such folder."""

    def scan(self, path: str) -> Iterator[StoredFile]:
        """All files below a folder, as the store lists them."""

    def create_new(self, path: str, data: bytes, *, staging: str | None = None) -> None:
        """Create a file, whole and durable, that must not be there: else ``FileExistsError``.

        What has to be written before it shows lies in the folder ``staging``, by default its own.
        """

    def delete(self, path: str) -> None:
        """Remove a file; nothing happens if it is gone already."""

    def delete_all(self, paths: Sequence[str]) -> None:
        """Remove several files, so that no loss of power brings them back."""

    def delete_folder(self, path: str) -> None:
        """Remove a folder in which there are no files any more."""

    def sync_folder(self, path: str) -> None:
        """Make the names in a folder durable, and the folder's own name and those above it."""

    def guard(self, path: str, *, exclusive: bool) -> AbstractContextManager[None]:
        """Share a folder with other writers, or have it alone, while the block runs. Released if the process dies.

        ``exclusive`` raises ``CommitConflictError`` at once while somebody writes. Does nothing where ``locks`` is not
        set: object stores know no locks.
        """


def create(store: Store, path: str, data: bytes, *, staging: str) -> bool:
    """Create a file: True if these bytes are there now, durable, and False if others are.

    What lies there afterwards decides, not the answer: clients repeat requests whose answer was lost, and then say that
    their own file is in the way. Raises ``OutcomeUnknownError`` where nobody can know; then it may still appear.
    """
    failure: Exception | None = None
    absent = False
    for _ in range(_ATTEMPTS):
        try:
            store.create_new(path, data, staging=staging)
            return True
        except (FileExistsError, LakeUnavailableError) as error:
            failure = error
        try:
            if (found := read(store, path)) is not None:
                if found == data:
                    store.sync_folder(path.rpartition("/")[0])
                return found == data
            absent = True
        except LakeUnavailableError as error:
            failure, absent = error, False
    if absent and store.locks and failure is not None:  # no request is on its way to a disk
        raise failure
    raise OutcomeUnknownError(
        f"The lake at {store.describe()} did not say whether {path!r} was written. It may still appear, so what it "
        "names was left in place. Check the disk or the store, then run the same partitions again. What failed last: "
        f"{failure}"
    ) from failure


def read(store: Store, path: str) -> bytes | None:
    """A file, or None: a listing decides whether it is there, because some file systems remember that it was not."""
    try:
        return store.read(path)
    except FileNotFoundError:
        folder, _, name = path.rpartition("/")
        if name not in store.list(folder):
            return None
    try:
        return store.read(path)
    except FileNotFoundError:  # removed since it was listed
        return None
