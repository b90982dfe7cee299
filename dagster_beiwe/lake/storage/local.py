"""A lake in a local folder. ``file_tree`` opens and creates its files."""

from __future__ import annotations

import errno
import io
import os
import stat
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import Any, BinaryIO, TypeVar, cast

from dagster_beiwe.environment import BEIWE_LAKE
from dagster_beiwe.errors import CommitConflictError, IntegrityError, LakeUnavailableError
from dagster_beiwe.file_tree import FileTree, NotAFolderError, OutsideTreeError
from dagster_beiwe.lake.storage.base import (
    LARGEST_DOCUMENT_BYTES,
    MAY_BE_ABSENT,
    NewFile,
    Storage,
    StoredFile,
    outside,
    too_large,
    unavailable,
)
from dagster_beiwe.private_files import DurableFile, FileTooLargeError, NotRegularFileError, part_name

_T = TypeVar("_T")

_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK})


class LocalStorage(Storage):
    """A lake in a local (or mounted) folder. The root and a study's folder may be links; nothing below may."""

    locks = True

    def __init__(self, root: str | os.PathLike[str], *, guarded: Sequence[str] = ()) -> None:
        self._shared_tree = FileTree(root, links_in_root=True, before_making=self._check_root)
        self._own = threading.local()
        """The tree of a thread that takes file after file."""
        self.root = self._shared_tree.root
        self._guarded = [*guarded]
        """Folders that exist as long as the lake does."""
        self._named: set[str] = set()
        """Folders whose names this process made durable."""

    def elsewhere(self, guarded: Sequence[str] = ()) -> Callable[[], Storage] | None:
        return partial(LocalStorage, self.root, guarded=guarded) if type(self) is LocalStorage else None

    def describe(self) -> str:
        return str(self.root)

    def read(self, path: str, *, limit_bytes: int = LARGEST_DOCUMENT_BYTES) -> bytes:
        with self.explained("read", path):
            try:
                return self._tree.read(path, limit_bytes=limit_bytes)
            except FileTooLargeError:
                raise too_large(path, limit_bytes) from None

    def read_all(self, paths: Sequence[str]) -> list[bytes | None]:
        return self._explained_each(paths, self._tree.read_all(paths, limit_bytes=LARGEST_DOCUMENT_BYTES))

    def hash_all(self, paths: Sequence[str]) -> list[tuple[int, str] | None]:
        return self._explained_each(paths, self._tree.hash_all(paths))

    def _explained_each(self, paths: Sequence[str], read: Iterator[_T]) -> list[_T]:
        """What is read of each file; an error is explained by the file that was not."""
        found: list[_T] = []
        try:
            for each in read:
                found.append(each)  # noqa: PERF402 - it tells how far this came
        except FileTooLargeError:
            raise too_large(paths[len(found)], LARGEST_DOCUMENT_BYTES) from None
        except (OSError, OutsideTreeError):
            with self.explained("read", paths[min(len(found), len(paths) - 1)]):
                raise
        return found

    @contextmanager
    def folder_by_folder(self) -> Iterator[None]:
        before = self._tree
        with before.folder_by_folder() as tree:
            self._own.tree = tree
            try:
                yield
            finally:
                self._own.tree = before

    @property
    def _tree(self) -> FileTree:
        return getattr(self._own, "tree", self._shared_tree)

    def exists(self, path: str) -> bool:
        with self.explained("read", path):
            status = self._tree.status(path)
            return status is not None and stat.S_ISREG(status.st_mode)

    def open(self, path: str, *, size_bytes: int | None = None) -> BinaryIO:  # noqa: ARG002
        with self.explained("read", path):
            return self._tree.open(path)

    def create(self, path: str, *, otherwise: str | None = None) -> NewFile:
        try:
            with self.explained("written", path):
                return cast("NewFile", _NewLocalFile(self, path, self._tree.open_new(path)))
        except FileExistsError:
            if otherwise is None:
                raise
        return self.create(otherwise)

    def create_new(self, path: str, data: bytes, *, staging: str | None = None) -> None:
        folder, _, name = path.rpartition("/")
        part = f"{folder if staging is None else staging}/{part_name(name)}".lstrip("/")
        with self.explained("written", path):
            try:
                with self._tree.create(part) as file:
                    file.write(data)
                self._link(part, path)
            finally:
                with suppress(OSError):  # whatever failed before is the error to raise
                    self._tree.delete(part)
        self.sync_folder(folder)

    def _link(self, part: str, path: str) -> None:
        try:
            self._tree.link(part, path)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            raise LakeUnavailableError(
                f"The file system of the lake at {self.describe()} has no hard links, and nothing else creates a file "
                "whole and only once. Nothing was committed. Put the lake on another file system."
            ) from None

    def scan(self, path: str) -> Iterator[StoredFile]:
        with self.explained("listed", path):
            for each, status in self._tree.scan(path):
                size_bytes = status.st_size if stat.S_ISREG(status.st_mode) else -1
                yield StoredFile(each, size_bytes, status.st_ctime)  # which nobody can set

    def delete_all(self, paths: Sequence[str]) -> None:
        for path in paths:
            self.delete(path)
        for folder in sorted({path.rpartition("/")[0] for path in paths}):
            with suppress(FileNotFoundError), self.explained("listed", folder), self._tree.folder(folder) as descriptor:
                os.fsync(descriptor)

    @contextmanager
    def guard(self, path: str, *, exclusive: bool) -> Iterator[None]:
        import fcntl

        with ExitStack() as stack:
            with self.explained("locked", path):
                descriptor = stack.enter_context(self._shared_tree.folder(path, make=True))
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB if exclusive else fcntl.LOCK_SH)
                except BlockingIOError:
                    raise CommitConflictError(
                        f"A run is writing to {path!r} in the lake at {self.describe()}. Nothing was done. Stop the "
                        "study's schedules and sensors, let the run end, and try again."
                    ) from None
            self._guarded.append(path)
            try:
                yield
            finally:
                self._guarded.remove(path)

    def delete(self, path: str) -> None:
        with self.explained("removed", path):
            self._tree.delete(path)

    def delete_folder(self, path: str) -> None:
        self._named = {each for each in self._named if not f"{each}/".startswith(f"{path}/")}
        with self.explained("removed", path):
            self._tree.delete_folders(path)

    def list(self, path: str) -> list[str]:
        with self.explained("listed", path):
            try:
                return self._tree.names(path)
            except (FileNotFoundError, NotADirectoryError):  # also if the lake is no folder: reading on says so
                return []

    def sync_folder(self, path: str) -> None:
        with self.explained("written", path):
            with self._tree.folder(path) as folder:
                os.fsync(folder)
            # Another run may have created a folder without making its name durable; this process does so once.
            while path and path not in self._named:
                above = path.rpartition("/")[0]
                with self._tree.folder(above) as folder:
                    os.fsync(folder)
                self._named.add(path)
                path = above

    def _check_root(self) -> None:
        """Before a folder is created: if the lake was unmounted, no empty lake may begin in its place."""
        if any(self._shared_tree.status(path) is None for path in tuple(self._guarded)):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))

    @contextmanager
    def explained(self, done: str, path: str) -> Iterator[None]:
        try:
            yield
        except OutsideTreeError as error:
            raise outside(error.path) from None
        except OSError as error:
            if done == "read" and isinstance(error, (NotRegularFileError, NotAFolderError)):
                raise _no_file(path) from None
            if isinstance(error, FileExistsError) or (isinstance(error, FileNotFoundError) and done in MAY_BE_ABSENT):
                raise
            got = error.strerror or type(error).__name__
            raise unavailable(self, done, path, got, _advice(error.errno)) from None


class _NewLocalFile(DurableFile):
    """A file with its final name from the beginning. It is deleted unless all of it reaches the disk."""

    doubtful = False

    def __init__(self, storage: LocalStorage, path: str, descriptor: int) -> None:
        super().__init__(descriptor)
        self._storage, self.path = storage, path

    def write(self, data: Any) -> int:
        with self._storage.explained("written", self.path):
            return super().write(data)

    def close(self) -> None:
        if self.closed:
            return
        try:
            with self._storage.explained("written", self.path):
                super().close()
        except BaseException:
            self._remove()
            raise

    def __exit__(self, kind: object, *rest: object) -> None:
        if kind is None:
            self.close()
        elif not self.closed:
            with suppress(OSError):
                io.BufferedWriter.close(self)  # it need not reach the disk
            self._remove()

    def _remove(self) -> None:
        with suppress(LakeUnavailableError):  # the failure before it is the error to raise
            self._storage.delete(self.path)


def _no_file(path: str) -> IntegrityError:
    return IntegrityError(
        f"{path!r} in the lake is no regular file, or is reached through a link. It was not opened. This package "
        "creates neither: check who can write to the lake, and run `dagster-beiwe verify --repair`."
    )


def _advice(number: int | None) -> str:
    if number in (errno.ENOSPC, errno.EDQUOT):
        return f"Free space on that disk, or move the lake ({BEIWE_LAKE}) to a larger one."
    if number in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "Let the user that runs Dagster own the folder, and check that it is not mounted read-only."
    return "Check the disk and its mount."
