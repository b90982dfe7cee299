"""Where the lake's bytes are: a local folder, or any object store that fsspec knows.

Paths are relative to the lake's root, with ``/``; one that leads out of it is refused with ``IntegrityError``. A file
is written under a temporary name and appears under its own name in one step. Files are 0600, folders 0700.
Failures become ``LakeUnavailableError`` with what to do about them;
a file that is not there is ``FileNotFoundError``.
"""

from __future__ import annotations

import errno
import io
import os
import stat
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from dagster_beiwe.errors import IntegrityError, LakeUnavailableError

FILE_MODE = 0o600
FOLDER_MODE = 0o700
PART_SUFFIX = ".part"
"""Ending of temporary names. They start with a dot and hold the token of the run that writes them."""


LARGEST_DOCUMENT_BYTES = 64 * 1024 * 1024
"""Of manifests and other documents, which are read whole; one of 100,000 files is smaller."""

# Whatever lies in a file's place: a link is not followed, and a pipe does not make anybody wait.
_READ = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
_MAY_BE_ABSENT = frozenset({"read", "listed"})
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)


class Storage(ABC):
    """The few operations that the lake needs of a file system or an object store."""

    @abstractmethod
    def for_run(self, token: str) -> Storage:
        """The same storage, whose temporary names start with ``.<token>-`` so that they can be told apart."""

    @abstractmethod
    def describe(self) -> str:
        """Where this is, for messages: never with credentials."""

    @abstractmethod
    def read(self, path: str, *, limit_bytes: int = LARGEST_DOCUMENT_BYTES) -> bytes:
        """A whole small file. Raises ``FileNotFoundError``, and ``IntegrityError`` for a larger one."""

    @abstractmethod
    def exists(self, path: str) -> bool:
        """Whether there is a file."""

    @abstractmethod
    def open(self, path: str) -> BinaryIO:
        """A file for reading, seekable. Raises ``FileNotFoundError``."""

    @abstractmethod
    def create(self, path: str) -> BinaryIO:
        """A new file for writing; on close it is durable. Meant for temporary names."""

    @abstractmethod
    def move(self, source: str, target: str) -> None:
        """Put ``source`` under the name ``target``, replacing what is there in one step."""

    def move_all(self, moves: Iterable[tuple[str, str]]) -> None:
        """Move each source to its target, in any order. A source that is gone was moved by an earlier try."""
        for source, target in moves:
            if self.exists(source):
                self.move(source, target)

    @abstractmethod
    def write(self, path: str, data: bytes, *, exclusive: bool = False) -> None:
        """Write a whole small file in one step. ``exclusive`` raises ``FileExistsError`` if it is there."""

    @abstractmethod
    def delete(self, path: str) -> None:
        """Remove a file; nothing happens if it is gone already."""

    @abstractmethod
    def delete_folder(self, path: str) -> None:
        """Remove a folder in which there are no files any more; nothing to do on object stores."""

    @abstractmethod
    def list(self, path: str) -> list[str]:
        """Names directly below a folder, sorted; empty if there is no such folder."""

    @abstractmethod
    def walk(self, path: str) -> Iterator[str]:
        """Paths of all files below a folder, and of links, which are not followed."""

    @abstractmethod
    def lock(self, path: str) -> AbstractContextManager[None]:
        """Hold a folder's lock while committing; waits for other holders. Released if the process dies."""

    @abstractmethod
    def sync_folder(self, path: str) -> None:
        """Make the names in a folder durable."""

    @abstractmethod
    def hold(self, path: str) -> AbstractContextManager[None]:
        """Keep the file ``path`` while the block runs, as a sign that its run is alive; see ``is_held``."""

    @abstractmethod
    def is_held(self, path: str) -> bool:
        """Whether the run that keeps the file ``path`` is still alive."""

    @abstractmethod
    def explained(self, done: str, path: str) -> AbstractContextManager[None]:
        """Turn the file system's errors inside the block into ``LakeUnavailableError``."""


class LocalStorage(Storage):
    """A lake in a local (or mounted) folder."""

    def __init__(self, root: str | os.PathLike[str], *, run: str = "0") -> None:
        self.root = Path(root).expanduser().absolute()
        self._run = run
        self._sign: Path | None = None
        self._depth = len(self.root.parts)
        self._folders: set[str] = set()

    def for_run(self, token: str) -> LocalStorage:
        return LocalStorage(self.root, run=token)

    def describe(self) -> str:
        return str(self.root)

    def read(self, path: str, *, limit_bytes: int = LARGEST_DOCUMENT_BYTES) -> bytes:
        with self.open(path) as file, self.explained("read", path):
            if os.fstat(file.fileno()).st_size > limit_bytes:
                raise too_large(path, limit_bytes)
            return file.read()

    def exists(self, path: str) -> bool:
        try:
            with self.explained("read", path):
                return stat.S_ISREG(self._full(path).lstat().st_mode)
        except FileNotFoundError:
            return False

    def open(self, path: str) -> BinaryIO:
        with self.explained("read", path):
            try:
                descriptor = os.open(self._full(path), _READ)
            except OSError as error:
                if error.errno == errno.ELOOP:
                    raise _no_file(path) from None
                raise
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                os.close(descriptor)
                raise _no_file(path)
            return os.fdopen(descriptor, "rb")

    def create(self, path: str) -> BinaryIO:
        with self.explained("written", path):
            target = self._prepared(path)
            try:
                descriptor = os.open(target, _CREATE, FILE_MODE)
            except FileNotFoundError:  # the folder was removed since
                self._make_folder(Path(target).parent)
                descriptor = os.open(target, _CREATE, FILE_MODE)
            return _DurableFile(descriptor)

    def move(self, source: str, target: str) -> None:
        with self.explained("written", target):
            self._make_folder(self._full(target).parent)
            self._full(source).replace(self._full(target))

    def move_all(self, moves: Iterable[tuple[str, str]]) -> None:
        for source, target in moves:
            try:
                os.replace(self._full(source), self._prepared(target))
            except OSError:  # it was moved already, or can't be
                super().move_all([(source, target)])

    def write(self, path: str, data: bytes, *, exclusive: bool = False) -> None:
        folder, slash, name = path.rpartition("/")
        part = f"{folder}{slash}.{self._run}-{os.urandom(8).hex()}-{name}{PART_SUFFIX}"
        try:
            with self.explained("written", path), self.create(part) as file:
                file.write(data)
            with self.explained("written", path):
                if exclusive:
                    os.link(self._full(part), self._full(path))
                else:
                    self._full(part).replace(self._full(path))
            self.sync_folder(folder)
        finally:
            with suppress(OSError):  # there is nothing to remove but after a failure, which is the error to tell
                self._full(part).unlink(missing_ok=True)

    def delete(self, path: str) -> None:
        with self.explained("removed", path):
            self._full(path).unlink(missing_ok=True)

    def delete_folder(self, path: str) -> None:
        with self.explained("removed", path):
            for folder, _, _ in os.walk(self._full(path), topdown=False):
                Path(folder).rmdir()

    def list(self, path: str) -> list[str]:
        with self.explained("listed", path):
            try:
                return sorted(os.listdir(self._full(path)))
            except (FileNotFoundError, NotADirectoryError):
                return []

    def walk(self, path: str) -> Iterator[str]:
        top = self._full(path)
        if "/" in path and top.is_symlink():  # a whole study may lie on another disk
            yield path
            return
        for folder, folders, names in os.walk(top):
            for name in (*names, *(each for each in folders if os.path.islink(os.path.join(folder, each)))):
                yield (Path(folder) / name).relative_to(self.root).as_posix()

    @contextmanager
    def lock(self, path: str) -> Iterator[None]:
        import fcntl  # not on Windows, where a lake on an object store still works

        with self.explained("locked", path):
            self._make_folder(self._full(path))
            descriptor = os.open(self._full(path), os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    @contextmanager
    def hold(self, path: str) -> Iterator[None]:
        import fcntl

        # Under the folder's lock: others would take the run for dead before it has locked its own file.
        with self.lock(path.rpartition("/")[0]), self.explained("locked", path):
            descriptor = os.open(self._full(path), os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        self._sign = self._full(path)
        try:
            yield
        finally:
            self._sign = None
            try:
                self.delete(path)
            finally:
                os.close(descriptor)

    def is_held(self, path: str) -> bool:
        import fcntl

        with self.lock(path.rpartition("/")[0]):
            try:
                with self.explained("read", path):
                    descriptor = os.open(self._full(path), os.O_RDONLY)
            except FileNotFoundError:
                return False
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            finally:
                os.close(descriptor)
        return False

    def sync_folder(self, path: str) -> None:
        with self.explained("written", path):
            descriptor = os.open(self._full(path), os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def _full(self, path: str) -> Path:
        check_inside(path)
        return self.root / path

    def _prepared(self, path: str) -> str:
        """The full path of a file that is to be written; what its folder is, is looked at once."""
        check_inside(path)
        target = os.path.join(self.root, path)
        folder = os.path.dirname(target)
        if folder not in self._folders:
            self._make_folder(Path(folder))
            self._folders.add(folder)
        return target

    def _is_folder(self, folder: Path) -> bool:
        """Whether there is a folder. The lake's and a study's may be a link to another disk, those below may not."""
        below = max(0, len(folder.parts) - self._depth - 1)
        try:
            own = all(stat.S_ISDIR(each.lstat().st_mode) for each in (folder, *folder.parents)[:below])
            return own and folder.is_dir()
        except (FileNotFoundError, NotADirectoryError):
            return False

    def _make_folder(self, folder: Path) -> None:
        missing = []
        while not self._is_folder(folder):
            missing.append(folder)
            folder = folder.parent
        if missing and self._sign and not self._sign.exists():
            # The lake itself went away: making its folders anew would start an empty one in its place.
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        for folder in reversed(missing):
            try:
                folder.mkdir(mode=FOLDER_MODE)
            except FileExistsError:
                if not self._is_folder(folder):
                    raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)) from None
            else:
                folder.chmod(FOLDER_MODE)  # mkdir's mode is narrowed by the umask, never widened; some mounts ignore it

    @contextmanager
    def explained(self, done: str, path: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if isinstance(error, FileExistsError) or (isinstance(error, FileNotFoundError) and done in _MAY_BE_ABSENT):
                raise
            raise LakeUnavailableError(
                f"Expected that the lake at {self.describe()} can be {done}, got "
                f"{os.strerror(error.errno or 0)!r} at {path!r}; nothing that was committed before is lost. "
                f"{_advice(error.errno)} Then run the same partitions again."
            ) from None


class _DurableFile(io.BufferedWriter):
    """A file that reaches the disk before it counts as closed."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(io.FileIO(descriptor, "wb"), buffer_size=64 * 1024)

    def close(self) -> None:
        try:
            if not self.closed:
                self.flush()
                os.fsync(self.fileno())
        finally:
            super().close()


def check_inside(path: str) -> None:
    """Raise ``IntegrityError`` for a path that leads out of the lake."""
    if path.startswith("/") or "\0" in path or ".." in path.split("/"):
        raise IntegrityError(
            f"Expected a path inside the lake, got {path[:200]!a}; nothing was touched there. A document of the lake "
            "was forged, or damaged: run `dagster-beiwe verify`, and look who can write to the lake."
        )


def too_large(path: str, limit_bytes: int) -> IntegrityError:
    """The error for a document that can't be one of this package's."""
    return IntegrityError(
        f"Expected a document of at most {limit_bytes} bytes at {path!r}, got a larger file; it was not read. It was "
        "replaced: restore it from a backup, or run `dagster-beiwe verify --repair`."
    )


def _no_file(path: str) -> IntegrityError:
    return IntegrityError(
        f"Expected a file at {path!r}, got a link, a folder or a device; it was not opened. Nothing of this package "
        "makes such: look who can write to the lake, and run `dagster-beiwe verify --repair`."
    )


def _advice(number: int | None) -> str:
    if number in (errno.ENOSPC, errno.EDQUOT):
        return "Free space on that disk, or move the lake (BEIWE_LAKE) to a larger one."
    if number in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "Let the user that runs Dagster own the folder, and check that it is not mounted read-only."
    return "Check the disk and its mount."
