"""Ask a store in the ways that the catalog needs: what came of a request, and what is there."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from dagster_beiwe.errors import IntegrityError, LakeUnavailableError, OutcomeUnknownError
from dagster_beiwe.lake.layout import Home
from dagster_beiwe.lake.storage.base import Store
from dagster_beiwe.retries import CREATE_ATTEMPTS


def create(store: Store, path: str, data: bytes, *, staging: str) -> bool:
    """Create a file: True if these bytes are there now, durable, and False if others are.

    What lies there afterwards decides, not the answer: clients repeat requests whose answer was lost, and then say that
    their own file is in the way. Raises ``OutcomeUnknownError`` if nobody can know; then it may still appear.
    """
    failure: Exception | None = None
    absent = False
    for _ in range(CREATE_ATTEMPTS):
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


def clear(store: Store, path: str) -> None:
    """Remove whatever lies in a file's place, be it a folder with all that is in it."""
    store.delete_all([file.path for file in store.scan(path)])
    store.delete_folder(path)
    store.delete(path)


def files_of(store: Store, homes: Iterable[Home]) -> list[str]:
    """The files of subjects, or a link in the place of one's folder. Tables share folders: each is listed once."""
    prefixes = defaultdict[str, list[str]](list)
    for home in homes:
        prefixes[home.folder].append(home.prefix)
    return [
        file.path
        for folder, own in prefixes.items()
        for file in store.scan(folder)
        if f"{file.path}/".startswith(tuple(own))
    ]


def remove_empty_folder(store: Store, folder: str, *, top: str) -> None:
    """Remove a folder that holds no file, and empty ones above it below ``top``: their names may identify somebody."""
    while folder.startswith(f"{top}/") and not any(True for _ in store.scan(folder)):
        store.delete_folder(folder)
        folder = folder.rpartition("/")[0]


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


def readable(store: Store, path: str) -> bytes | None:
    """A file; None if it is not there, or is none: a link, or below a file that stands in a folder's place."""
    try:
        return store.read(path)
    except (FileNotFoundError, IntegrityError):
        return None


def all_readable(store: Store, paths: Sequence[str]) -> list[bytes | None]:
    """Several files, each as ``readable`` has it."""
    try:
        return store.read_all(paths)
    except IntegrityError:  # one of them is none: find out which
        return [readable(store, path) for path in paths]
