"""Private files: the one module that opens, creates and replaces them, and knows permissions.

Others may have put there what is opened. So only links that the user chose are followed, nothing blocks, and only
regular files are read: the check is on the open file, not on its name, which could be exchanged in between. New files
are 0600, new folders 0700, and a file appears under its name whole or not at all.

A path that the user names (a keyring, an identity, the root of a lake) may lead through links: whoever can change those
can change the setting too. Below such a root, ``FileTree`` follows no link in any part of a path.
"""

from __future__ import annotations

import errno
import io
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from itertools import groupby
from pathlib import Path
from typing import BinaryIO

FILE_MODE = 0o600
FOLDER_MODE = 0o700
PART_SUFFIX = ".part"
"""Ending of the names of unfinished files: see ``part_name``."""
OTHERS = 0o077
"""The permissions of everyone but the owner: nothing private has any of them."""

_AnyPath = str | os.PathLike[str]


def _flag(name: str) -> int:
    return getattr(os, name, 0)  # Windows lacks most


# A pipe does not block, a terminal does not become this process's own, and a link is an error.
_CAREFUL = _flag("O_NONBLOCK") | _flag("O_NOCTTY") | _flag("O_CLOEXEC") | _flag("O_BINARY")
_READ = os.O_RDONLY | _CAREFUL
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _flag("O_NOFOLLOW") | _CAREFUL
_FOLDER = os.O_RDONLY | _flag("O_DIRECTORY") | _CAREFUL
_NO_FILE = frozenset({errno.ELOOP, errno.ENXIO, errno.ENODEV})  # a link; a socket; a device that is not there
_KINDS = {
    stat.S_IFLNK: "a link",
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class NotRegularFileError(OSError):
    """The path is no regular file. ``strerror`` says what it is."""

    def __init__(self, what: str, path: _AnyPath) -> None:
        super().__init__(errno.EINVAL, f"{what} where a regular file belongs", os.fspath(path))
        self.what = what


class NotAFolderError(NotADirectoryError):
    """A part of a path in a tree is no folder, but a link or something else."""

    def __init__(self, name: str) -> None:
        super().__init__(errno.ENOTDIR, "a link, or something else, where a folder belongs", name)


class OutsideTreeError(ValueError):
    """The path leads out of its tree."""

    def __init__(self, path: str) -> None:
        super().__init__("a path that does not stay below its folder")
        self.path = path


class FileTooLargeError(OSError):
    """The file is larger than its limit, or grows while it is read."""

    def __init__(self, limit_bytes: int, path: _AnyPath) -> None:
        super().__init__(errno.EFBIG, f"a file of more than {limit_bytes} bytes", os.fspath(path))


def is_below(path: str) -> bool:
    """Whether a relative path stays below its start; the empty path does."""
    return "\0" not in path and (not path or {"", ".", ".."}.isdisjoint(path.split("/")))


def part_name(name: str) -> str:
    """A new hidden name for a file that will be called ``name`` once it is whole."""
    return f".{os.urandom(8).hex()}-{name}{PART_SUFFIX}"


def keep_private() -> None:
    """Make whatever this process and those it starts create private, also what other packages create."""
    os.umask(OTHERS)


def open_file(path: _AnyPath, *, follow: bool = False) -> BinaryIO:
    """A regular file for reading. ``follow`` allows a link, for a path that the user named.

    Raises ``NotRegularFileError`` and other ``OSError``; never blocks.
    """
    return _open(path, follow=follow)


def read_file(path: _AnyPath, *, limit_bytes: int, follow: bool = False, folder: int | None = None) -> bytes:
    """A whole small file, as ``open_file`` opens it, or by its name in an open folder. It may have grown since its size
    was checked. Raises ``FileTooLargeError`` beyond the limit."""
    descriptor, size_bytes = _descriptor(path, folder=folder, follow=follow)
    step, left, read = min(size_bytes, limit_bytes) + 1, limit_bytes, list[bytes]()
    try:
        while left >= 0 and (more := os.read(descriptor, step)):
            read.append(more)
            left -= len(more)
    finally:
        os.close(descriptor)
    if left < 0:
        raise FileTooLargeError(limit_bytes, path)
    return b"".join(read)


def write_file(path: _AnyPath, data: bytes, *, follow: bool = False, exclusive: bool = False) -> None:
    """Write a small private file atomically and durably. Its folder must exist.

    With ``follow`` a link stays, and its target is replaced. ``exclusive`` raises ``FileExistsError`` if the file
    exists. Raises ``NotRegularFileError`` for anything but a file: nobody means to replace a device.
    """
    target = os.path.realpath(path) if follow else os.fspath(path)
    with suppress(FileNotFoundError):
        if not stat.S_ISREG(os.lstat(target).st_mode):
            raise NotRegularFileError(_kind(target, None), target)
    folder, name = os.path.split(target)
    part = os.path.join(folder, part_name(name))
    try:
        with DurableFile(os.open(part, _CREATE, FILE_MODE)) as file:
            file.write(data)
        (os.link if exclusive else os.replace)(part, target)
    finally:
        with suppress(OSError):  # whatever failed before is the error to raise
            os.unlink(part)


def make_folder(folder: _AnyPath) -> None:
    """Create a private folder with its missing parents: ``os.makedirs`` leaves the parents to the umask."""
    missing, above = [], Path(folder)
    while not above.is_dir():
        missing.append(above)
        above = above.parent
    for each in reversed(missing):
        with suppress(FileExistsError):  # another process was faster; if it is no folder, its use fails
            each.mkdir(mode=FOLDER_MODE)


def close_to_others(folder: _AnyPath) -> None:
    """Take the permissions of everyone but the owner from a folder."""
    mode = os.stat(folder).st_mode
    if mode & OTHERS:
        os.chmod(folder, stat.S_IMODE(mode) & ~OTHERS)


def lock_folder(folder: _AnyPath, *, wait: bool) -> int | None:
    """A descriptor that holds the lock of a folder until it is closed; None if another process holds it."""
    import fcntl  # not on Windows, where there is no such place either

    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


class DurableFile(io.BufferedWriter):
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


class FileTree:
    """The files below a folder. Paths are relative to it, with ``/``.

    The root may be reached through links, and with ``links_in_root`` so may its direct children. Every other link is
    an error (``NotAFolderError`` in place of a folder), even one that appears meanwhile: each folder is opened from the
    one above. ``before_making`` is called before a missing folder is created. Not for Windows.
    """

    def __init__(
        self, root: _AnyPath, *, links_in_root: bool = False, before_making: Callable[[], None] = lambda: None
    ) -> None:
        self.root = Path(root).expanduser().absolute()
        self._links_in_root, self._before_making = links_in_root, before_making

    def open(self, path: str) -> BinaryIO:
        """A regular file for reading."""
        with self._above(path) as (folder, name):
            return _open(name, folder=folder)

    def read(self, path: str, *, limit_bytes: int) -> bytes:
        """A whole small file."""
        with self._above(path) as (folder, name):
            return read_file(name, limit_bytes=limit_bytes, folder=folder)

    def read_all(self, paths: Sequence[str], *, limit_bytes: int) -> Iterator[bytes | None]:
        """Whole small files, None for a missing one; a folder of several in a row is opened once for them."""
        for above, group in groupby(paths, key=lambda path: path.rpartition("/")[0]):
            with ExitStack() as opened:
                folder: int | None = None
                for path in group:
                    if not path or not is_below(path):
                        raise OutsideTreeError(path)
                    try:
                        folder = opened.enter_context(self.folder(above)) if folder is None else folder
                        data = read_file(path.rpartition("/")[2], limit_bytes=limit_bytes, folder=folder)
                    except FileNotFoundError:
                        yield None
                    else:
                        yield data

    def create(self, path: str, *, durable: bool = True) -> BinaryIO:
        """A new file for writing, durable when it is closed. Raises ``FileExistsError`` if anything is there."""
        descriptor = self.open_new(path)
        return DurableFile(descriptor) if durable else os.fdopen(descriptor, "wb")

    def open_new(self, path: str) -> int:
        """A descriptor of a new file, for writing. Raises ``FileExistsError`` if anything is there."""
        with self._above(path, make=True) as (folder, name):
            return os.open(name, _CREATE, FILE_MODE, dir_fd=folder)

    def move(self, source: str, target: str) -> None:
        """Give a file another name, in place of a file that has it."""
        with self._above(source) as (origin, old), self._above(target, make=True) as (folder, new):
            os.replace(old, new, src_dir_fd=origin, dst_dir_fd=folder)

    def link(self, source: str, target: str) -> None:
        """Give a file a second name. Raises ``FileExistsError`` if anything has it."""
        with self._above(source) as (origin, old), self._above(target, make=True) as (folder, new):
            os.link(old, new, src_dir_fd=origin, dst_dir_fd=folder, follow_symlinks=False)

    def delete(self, path: str) -> None:
        """Delete what is at a path, if anything; not a folder."""
        with suppress(FileNotFoundError, NotAFolderError), self._above(path) as (folder, name):
            os.unlink(name, dir_fd=folder)

    def status(self, path: str) -> os.stat_result | None:
        """The status of what is at a path, itself if it is a link; None if nothing is."""
        with suppress(FileNotFoundError, NotAFolderError), self._above(path) as (folder, name):
            return os.stat(name, dir_fd=folder, follow_symlinks=False)
        return None

    def names(self, path: str) -> list[str]:
        """Names in a folder, sorted. Raises ``FileNotFoundError`` and ``NotAFolderError``."""
        with self.folder(path) as folder:
            return sorted(os.listdir(folder))

    def walk(self, path: str) -> Iterator[str]:
        """Paths of everything but folders below a folder, without following links. Of a file or link: its own path."""
        waiting = [path]
        while waiting:
            here = waiting.pop()
            try:
                inside = self._entries(here)
            except FileNotFoundError:
                continue
            except NotAFolderError:
                yield here
                continue
            below = f"{here}/" if here else ""
            yield from (f"{below}{name}" for name, is_folder in inside if not is_folder)
            waiting += [f"{below}{name}" for name, is_folder in reversed(inside) if is_folder]

    def scan(self, path: str) -> Iterator[tuple[str, os.stat_result]]:
        """What ``walk`` yields, with the status of each; what is removed meanwhile is left out."""
        for above, paths in groupby(self.walk(path), key=lambda each: each.rpartition("/")[0]):
            with suppress(FileNotFoundError, NotAFolderError), self.folder(above) as folder:
                for each in paths:
                    with suppress(FileNotFoundError):
                        yield each, os.stat(each.rpartition("/")[2], dir_fd=folder, follow_symlinks=False)

    def delete_folders(self, path: str) -> None:
        """Delete a folder and those below it. Raises ``OSError`` if a file is left."""
        folders, waiting = [], [path]
        while waiting:
            here = waiting.pop()
            with suppress(FileNotFoundError):
                waiting += [f"{here}/{name}" for name, is_folder in self._entries(here) if is_folder]
                folders.append(here)
        for each in reversed(folders):
            with self._above(each) as (above, name):
                os.rmdir(name, dir_fd=above)

    @contextmanager
    def folder(self, path: str, *, make: bool = False) -> Iterator[int]:
        """A descriptor of a folder while the block runs; ``make`` creates it if it is missing."""
        if not is_below(path):
            raise OutsideTreeError(path)
        descriptor = self._open_folder(path.split("/") if path else [], make=make)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    @contextmanager
    def _above(self, path: str, *, make: bool = False) -> Iterator[tuple[int, str]]:
        """A descriptor of the folder above a path's last name, and that name."""
        if not path or not is_below(path):
            raise OutsideTreeError(path)
        *above, name = path.split("/")
        descriptor = self._open_folder(above, make=make)
        try:
            yield descriptor, name
        finally:
            os.close(descriptor)

    def _open_folder(self, names: list[str], *, make: bool) -> int:
        descriptor = self._open_root(make=make)
        for number, name in enumerate(names):
            above = descriptor
            try:
                descriptor = self._open_below(above, name, follow=self._links_in_root and number == 0, make=make)
            finally:
                os.close(above)
        return descriptor

    def _open_root(self, *, make: bool) -> int:
        try:
            return os.open(self.root, _FOLDER)
        except FileNotFoundError:
            if not make:
                raise
        self._before_making()
        make_folder(self.root)
        return os.open(self.root, _FOLDER)

    def _open_below(self, above: int, name: str, *, follow: bool, make: bool) -> int:
        flags = _FOLDER | (0 if follow else _flag("O_NOFOLLOW"))
        try:
            try:
                return os.open(name, flags, dir_fd=above)
            except FileNotFoundError:
                if not make:
                    raise
            self._before_making()
            try:
                os.mkdir(name, FOLDER_MODE, dir_fd=above)
            except FileExistsError:  # another process was faster, or a link that leads nowhere
                return os.open(name, flags, dir_fd=above)
            made = os.open(name, flags, dir_fd=above)
            os.fchmod(made, FOLDER_MODE)  # the umask may have narrowed the mode; some mounts ignore both
            return made
        except OSError as error:
            if error.errno in (errno.ENOTDIR, errno.ELOOP):  # what a link is called depends on the system
                raise NotAFolderError(name) from None
            raise

    def _entries(self, path: str) -> list[tuple[str, bool]]:
        """Names in a folder, sorted, and whether each is a folder itself."""
        with self.folder(path) as folder, os.scandir(folder) as entries:
            return sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries)


def _open(path: _AnyPath, *, folder: int | None = None, follow: bool = False) -> BinaryIO:
    return os.fdopen(_descriptor(path, folder=folder, follow=follow)[0], "rb")


def _descriptor(path: _AnyPath, *, folder: int | None, follow: bool) -> tuple[int, int]:
    """A descriptor of a regular file for reading, and its size."""
    flags = _READ | (0 if follow else _flag("O_NOFOLLOW"))
    try:
        descriptor = os.open(path, flags, dir_fd=folder)
    except OSError as error:
        if error.errno in _NO_FILE:
            raise NotRegularFileError(_kind(path, folder), path) from None
        raise
    except ValueError:  # a NUL, which no name contains
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)) from None
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise NotRegularFileError(_KINDS.get(stat.S_IFMT(status.st_mode), "something else"), path)
    return descriptor, status.st_size


def _kind(path: _AnyPath, folder: int | None) -> str:
    """What cannot be opened there, for a message."""
    with suppress(OSError):
        mode = os.stat(path, dir_fd=folder, follow_symlinks=False).st_mode
        return _KINDS.get(stat.S_IFMT(mode), "something else")
    return "something else"
