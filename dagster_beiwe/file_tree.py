"""The files below a folder. No link is followed on the way to them, even one that appears meanwhile.

Files and folders are private, as ``private_files`` makes them.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any, BinaryIO, Final, Generic, TypeVar

from dagster_beiwe.private_files import (
    DurableFile,
    hash_file,
    make_folder,
    open_file,
    open_folder,
    open_new_file,
    open_new_folder,
    read_file,
)

_T = TypeVar("_T")

_KEPT_FOLDERS: Final = 16
_HASHED_BYTES: Final = 256 * 1024
"""At a time: they are still in the processor's cache when they are hashed."""


class NotAFolderError(NotADirectoryError):
    """A part of a path in a tree is no folder, but a link or something else."""

    def __init__(self, name: str) -> None:
        super().__init__(errno.ENOTDIR, "a link, or something else, where a folder belongs", name)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.filename,)


class OutsideTreeError(ValueError):
    """The path leads out of its tree."""

    def __init__(self, path: str) -> None:
        super().__init__("a path that does not stay below its folder")
        self.path = path


def is_below(path: str) -> bool:
    """Whether a relative path stays below its start; the empty path does."""
    return "\0" not in path and (not path or {"", ".", ".."}.isdisjoint(path.split("/")))


class FileTree:
    """The files below a folder. Paths are relative to it, with ``/``.

    The root may be reached through links, and with ``links_in_root`` so may its direct children. Every other link is
    an error (``NotAFolderError`` in place of a folder), even one that appears meanwhile: each folder is opened from the
    one above. ``before_making`` is called before a missing folder is created. Not for Windows.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        links_in_root: bool = False,
        before_making: Callable[[], None] = lambda: None,
    ) -> None:
        self.root = Path(root).expanduser().absolute()
        self._links_in_root, self._before_making = links_in_root, before_making

    @contextmanager
    def folder_by_folder(self) -> Iterator[FileTree]:
        """The tree for one thread that takes file after file: the last folders stay open.

        Small files take a fraction of the time. Use it only where nobody else moves or removes folders.
        """
        tree = _TreeByFolder(self)
        try:
            yield tree
        finally:
            tree.close()

    def open(self, path: str) -> BinaryIO:
        """A regular file for reading."""
        with self._above(path) as (folder, name):
            return open_file(name, folder=folder)

    def read(self, path: str, *, limit_bytes: int) -> bytes:
        """A whole small file."""
        with self._above(path) as (folder, name):
            return read_file(name, limit_bytes=limit_bytes, folder=folder)

    def read_all(self, paths: Sequence[str], *, limit_bytes: int) -> Iterator[bytes | None]:
        """Whole small files, None for a missing one."""
        return self._read_each(paths, partial(read_file, limit_bytes=limit_bytes))

    def hash_all(self, paths: Sequence[str]) -> Iterator[tuple[int, str] | None]:
        """Size and SHA-256 of files, None for a missing one."""
        return self._read_each(paths, partial(hash_file, buffer=bytearray(_HASHED_BYTES)))

    def _read_each(self, paths: Sequence[str], read: Callable[..., _T]) -> Iterator[_T | None]:
        """What ``read`` returns for each file, None for a missing one.

        A folder of several in a row is opened once for them.
        """
        for above, group in groupby(paths, key=lambda path: path.rpartition("/")[0]):
            with ExitStack() as opened:
                folder: int | None = None
                for path in group:
                    if not path or not is_below(path):
                        raise OutsideTreeError(path)
                    try:
                        folder = opened.enter_context(self.folder(above)) if folder is None else folder
                        found = read(path.rpartition("/")[2], folder=folder)
                    except FileNotFoundError:
                        yield None
                    else:
                        yield found

    def create(self, path: str, *, durable: bool = True) -> BinaryIO:
        """A new file for writing, durable when it is closed. Raises ``FileExistsError`` if anything is there."""
        descriptor = self.open_new(path)
        return DurableFile(descriptor) if durable else os.fdopen(descriptor, "wb")

    def open_new(self, path: str) -> int:
        """A descriptor of a new file, for writing. Raises ``FileExistsError`` if anything is there."""
        with self._above(path, make=True) as (folder, name):
            return open_new_file(name, folder=folder)

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
        for folder, names in self._walk(path):
            yield from (f"{folder}/{name}" for name in names) if folder else names

    def scan(self, path: str) -> Iterator[tuple[str, os.stat_result]]:
        """What ``walk`` yields, with the status of each; what is removed meanwhile is left out."""
        for above, names in self._walk(path):
            if not names:
                continue
            below = f"{above}/" if above else ""
            with suppress(FileNotFoundError, NotAFolderError), self.folder(above) as folder:
                for name in names:
                    try:
                        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
                    except FileNotFoundError:
                        continue
                    yield f"{below}{name}", status

    def _walk(self, path: str) -> Iterator[tuple[str, list[str]]]:
        """Each folder that ``walk`` comes to, and the names of what is no folder in it."""
        waiting = [path]
        while waiting:
            here = waiting.pop()
            try:
                inside = self._entries(here)
            except FileNotFoundError:
                continue
            except NotAFolderError:
                above, _, name = here.rpartition("/")
                yield above, [name]
                continue
            yield here, [name for name, is_folder in inside if not is_folder]
            waiting += [f"{here}/{name}".lstrip("/") for name, is_folder in reversed(inside) if is_folder]

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

    def folder(self, path: str, *, make: bool = False) -> AbstractContextManager[int]:
        """A descriptor of a folder while the block runs; ``make`` creates it if it is missing."""
        descriptor = self._open_folder(path, make=make)
        return _Opened(descriptor, descriptor)

    def _above(self, path: str, *, make: bool = False) -> AbstractContextManager[tuple[int, str]]:
        """A descriptor of the folder above a path's last name, and that name."""
        above, _, name = path.rpartition("/")
        if not path or not is_below(path):
            raise OutsideTreeError(path)
        descriptor = self._open_folder(above, make=make)
        return _Opened((descriptor, name), descriptor)

    def _open_folder(self, path: str, *, make: bool) -> int:
        if not is_below(path):
            raise OutsideTreeError(path)
        descriptor = self._open_root(make=make)
        for number, name in enumerate(path.split("/") if path else ()):
            above = descriptor
            try:
                descriptor = self._open_below(above, name, follow=self._links_in_root and number == 0, make=make)
            finally:
                os.close(above)
        return descriptor

    def _open_root(self, *, make: bool) -> int:
        try:
            return open_folder(self.root, follow=True)
        except FileNotFoundError:
            if not make:
                raise
        self._before_making()
        make_folder(self.root)
        return open_folder(self.root, follow=True)

    def _open_below(self, above: int, name: str, *, follow: bool, make: bool) -> int:
        try:
            try:
                return open_folder(name, follow=follow, folder=above)
            except FileNotFoundError:
                if not make:
                    raise
            self._before_making()
            return open_new_folder(name, follow=follow, folder=above)
        except OSError as error:
            if error.errno in (errno.ENOTDIR, errno.ELOOP):  # what a link is called depends on the system
                raise NotAFolderError(name) from None
            raise

    def _entries(self, path: str) -> list[tuple[str, bool]]:
        """Names in a folder, sorted, and whether each is a folder itself."""
        with self.folder(path) as folder, os.scandir(folder) as entries:
            return sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries)


class _TreeByFolder(FileTree):
    """See ``folder_by_folder``."""

    def __init__(self, tree: FileTree) -> None:
        vars(self).update(vars(tree))
        self._kept: dict[str, int] = {}
        """Open folders by path, the last used ones last."""

    def folder(self, path: str, *, make: bool = False) -> AbstractContextManager[int]:
        return _Opened(self._open_kept(path, make=make))

    def _above(self, path: str, *, make: bool = False) -> AbstractContextManager[tuple[int, str]]:
        above, _, name = path.rpartition("/")
        if not path or not is_below(path):
            raise OutsideTreeError(path)
        return _Opened((self._open_kept(above, make=make), name))

    def _open_kept(self, path: str, *, make: bool) -> int:
        descriptor = self._kept.pop(path, None)
        if descriptor is None:
            while len(self._kept) >= _KEPT_FOLDERS:
                os.close(self._kept.pop(next(iter(self._kept))))
            descriptor = self._open_folder(path, make=make)
        self._kept[path] = descriptor
        return descriptor

    def close(self) -> None:
        while self._kept:
            os.close(self._kept.popitem()[1])


class _Opened(Generic[_T]):
    """A value that belongs to an open folder, which is closed after the block; None for one that stays open."""

    __slots__ = ("_descriptor", "_value")

    def __init__(self, value: _T, descriptor: int | None = None) -> None:
        self._value, self._descriptor = value, descriptor

    def __enter__(self) -> _T:
        return self._value

    def __exit__(self, *_: object) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
