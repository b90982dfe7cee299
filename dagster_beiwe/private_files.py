"""Private files: how they are opened, created and replaced, and their permissions.

Others may have put there what is opened. So only links that the user chose are followed, nothing blocks, and only
regular files are read: the check is on the open file, not on its name, which could be exchanged in between. New files
are 0600, new folders 0700, and a file appears under its name whole or not at all.

A path that the user names (a keyring, an identity, the root of a lake) may lead through links: whoever can change those
can change the setting too. Below such a root, ``file_tree`` follows no link in any part of a path.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

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

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.what, self.filename)


class FileTooLargeError(OSError):
    """The file is larger than its limit, or grows while it is read."""

    def __init__(self, limit_bytes: int, path: _AnyPath) -> None:
        super().__init__(errno.EFBIG, f"a file of more than {limit_bytes} bytes", os.fspath(path))
        self.limit_bytes = limit_bytes

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.limit_bytes, self.filename)


def part_name(name: str) -> str:
    """A new hidden name for a file that will be called ``name`` once it is whole."""
    return f".{os.urandom(8).hex()}-{name}{PART_SUFFIX}"


def keep_private() -> None:
    """Make whatever this process and those it starts create private, also what other packages create."""
    os.umask(OTHERS)


def open_file(path: _AnyPath, *, follow: bool = False, folder: int | None = None) -> BinaryIO:
    """A regular file for reading; with ``folder``, by its name in that open folder.

    ``follow`` allows a link, for a path that the user named. Raises ``NotRegularFileError`` and other ``OSError``;
    never blocks.
    """
    return os.fdopen(_descriptor(path, folder=folder, follow=follow)[0], "rb")


def open_new_file(path: _AnyPath, *, folder: int | None = None) -> int:
    """A descriptor of a new private file, for writing. Raises ``FileExistsError`` if anything is there."""
    return os.open(path, _CREATE, FILE_MODE, dir_fd=folder)


def open_folder(path: _AnyPath, *, follow: bool = False, folder: int | None = None) -> int:
    """A descriptor of a folder. A link is an error unless ``follow``, of which class depends on the system."""
    flags = os.O_RDONLY | _flag("O_DIRECTORY") | _CAREFUL | (0 if follow else _flag("O_NOFOLLOW"))
    return os.open(path, flags, dir_fd=folder)


def open_new_folder(name: str, *, follow: bool = False, folder: int) -> int:
    """A descriptor of a private folder in an open one, created unless another process is faster."""
    try:
        os.mkdir(name, FOLDER_MODE, dir_fd=folder)
    except FileExistsError:  # or a link that leads nowhere
        return open_folder(name, follow=follow, folder=folder)
    made = open_folder(name, follow=follow, folder=folder)
    with _closed_if_that_fails(made):
        os.fchmod(made, FOLDER_MODE)  # the umask may have narrowed the mode; some mounts ignore both
    return made


def read_file(path: _AnyPath, *, limit_bytes: int, follow: bool = False, folder: int | None = None) -> bytes:
    """A whole small file, as ``open_file`` opens it, or by its name in an open folder. It may have grown since its size
    was checked. Raises ``FileTooLargeError`` beyond the limit."""
    descriptor, size_bytes = _descriptor(path, folder=folder, follow=follow)
    step, left, read = min(size_bytes, limit_bytes) + 1, limit_bytes, list[bytes]()
    try:
        while left >= 0 and (more := os.read(descriptor, step)):
            read.append(more)
            left -= len(more)
            if len(more) == size_bytes:  # one byte more was asked for
                break
    finally:
        os.close(descriptor)
    if left < 0:
        raise FileTooLargeError(limit_bytes, path)
    return b"".join(read)


def hash_file(path: _AnyPath, *, buffer: bytearray, folder: int | None = None) -> tuple[int, str]:
    """Size and SHA-256 of a file, as ``open_file`` opens it, or by its name in an open folder.

    Pass the same buffer for many files: new memory is slower.
    """
    descriptor, size_bytes = _descriptor(path, folder=folder, follow=False)
    found, count, view = hashlib.sha256(), 0, memoryview(buffer)
    try:
        while count <= size_bytes and (more := os.readv(descriptor, [buffer])):  # it may grow on and on
            found.update(view[:more])
            count += more
    finally:
        os.close(descriptor)
    return count, found.hexdigest()


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
        with DurableFile(open_new_file(part)) as file:
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


def others_can_write(folder: _AnyPath) -> bool:
    """Whether a folder belongs to another user than this one and root, or anybody can write to it."""
    status = os.stat(folder)
    return os.name != "nt" and (status.st_uid not in (0, os.geteuid()) or bool(status.st_mode & stat.S_IWOTH))


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
    with _closed_if_that_fails(descriptor):
        status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise NotRegularFileError(_KINDS.get(stat.S_IFMT(status.st_mode), "something else"), path)
    return descriptor, status.st_size


@contextmanager
def _closed_if_that_fails(descriptor: int) -> Iterator[None]:
    try:
        yield
    except BaseException:
        os.close(descriptor)
        raise


def _kind(path: _AnyPath, folder: int | None) -> str:
    """What cannot be opened there, for a message."""
    with suppress(OSError):
        mode = os.stat(path, dir_fd=folder, follow_symlinks=False).st_mode
        return _KINDS.get(stat.S_IFMT(mode), "something else")
    return "something else"
