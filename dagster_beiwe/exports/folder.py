"""The folder that an export writes to: a file appears under its name when it is complete, and what is complete is kept.

While an export is unfinished, a journal in its folder says what was asked for, which state of the lake is read, and
which files are complete. The same export continues there; the journal goes with the last file.
"""

from __future__ import annotations

import errno
import hashlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Final, Literal

import msgspec

from dagster_beiwe.errors import ConfigurationError
from dagster_beiwe.file_tree import FileTree
from dagster_beiwe.lake.catalog.records import Head
from dagster_beiwe.memory_folders import remove_folder
from dagster_beiwe.private_files import PART_SUFFIX, close_to_others, lock_folder, make_folder, part_name

_JOURNAL: Final = ".dagster-beiwe-export"
_LARGEST_JOURNAL: Final = 2**32
_CHUNK_BYTES: Final = 1024 * 1024

Outcome = Literal["written", "rewritten", "left out", "empty"]


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is to be exported. An unfinished export is continued by an equal request only."""

    study_id: str
    form: str
    participants: tuple[str, ...] = ()
    streams: tuple[str, ...] = ()
    table: str = ""
    start: datetime | None = None
    end: datetime | None = None
    as_of: str = ""


class Notes(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What became of the content of a file. One that was left out, or has no rows, is not written."""

    outcome: Outcome = "written"
    rows: int = 0
    repaired_rows: int = 0
    set_aside_rows: int = 0


class Written(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A complete file of an export; without a hash, one that was not to be written."""

    path: str
    size_bytes: int = 0
    sha256: str = ""
    notes: Notes


class _Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    request: Request
    state: Head


Writer = Callable[[BinaryIO], Notes]


@dataclass(repr=False, eq=False)
class ExportFolder:
    """A folder while an export writes to it, from several threads if you like. Use ``open``."""

    _tree: FileTree
    _journal: BinaryIO
    _entries: dict[str, Written]
    _now: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    @contextmanager
    def open(cls, folder: Path, request: Request, state: Head, *, temporary: bool) -> Iterator[ExportFolder]:
        """The folder, made private, for this process alone. If nothing was written, it is left as it was before.

        A ``temporary`` one is removed at the end with all that is in it. Raises ``ConfigurationError`` as
        ``unfinished`` does, and while another export writes there.
        """
        folder = _real(folder)
        before = {path for path, _, _ in os.walk(folder)}
        make_folder(folder)
        lock = lock_folder(folder, wait=False)
        if lock is None:
            raise ConfigurationError(
                f"Another export writes to {folder} at the moment. Nothing was written. Wait for it, or choose another "
                "folder."
            )
        try:
            header, entries = _read(folder)
            close_to_others(folder)
            tree = FileTree(folder)
            for path in [each for each in tree.walk("") if each.endswith(PART_SUFFIX)]:
                tree.delete(path)
            with _journal(tree, header or _Header(request, state), entries) as journal:
                opened = cls(tree, journal, entries)
                try:
                    yield opened
                finally:
                    if not opened._entries:
                        opened.finish()
                    if temporary:
                        remove_folder(folder)
        finally:
            _remove_empty_folders(folder, before)
            os.close(lock)

    @contextmanager
    def for_thread(self) -> Iterator[ExportFolder]:
        """The same folder for one thread that writes file after file."""
        with self._tree.folder_by_folder() as tree:
            yield replace(self, _tree=tree)

    @property
    def root(self) -> Path:
        """Where it is."""
        return self._tree.root

    def kept(self, path: str) -> Written | None:
        """A file that an interrupted export has completed, if it is still what it was then."""
        entry = self._entries.get(path)
        if entry is None or not entry.sha256:
            return entry
        status = self._tree.status(path)
        same = status is not None and status.st_size == entry.size_bytes
        return entry if same and self._sha256(path) == entry.sha256 else None

    def write(self, path: str, writer: Writer, *, sha256: str | None = None) -> Written:
        """Write a file; under its name it is complete. Raises ``FileExistsError`` if this export wrote it before.

        ``sha256`` is the expected hash if ``writer`` verifies it; otherwise the file is read back and hashed.
        """
        part = self._begin(path)
        try:
            with self._tree.create(part, durable=False) as sink:
                notes = writer(sink)
                size_bytes = sink.tell()
            entry = Written(path=path, notes=notes)
            if notes.outcome in ("written", "rewritten"):
                entry = Written(path=path, size_bytes=size_bytes, sha256=sha256 or self._sha256(part), notes=notes)
            self._complete({part: entry})
            return entry
        except BaseException:
            self._tree.delete(part)
            raise

    def write_together(self, files: Sequence[Written], write: Callable[[Sequence[str]], None]) -> None:
        """Write files whose content is known. ``write`` gets the paths in the folder that it has to write them to.

        Raises ``FileExistsError`` if this export wrote one of them before.
        """
        parts: dict[str, Written] = {}
        try:
            for file in files:
                parts[self._begin(file.path)] = file
            write([*parts])
            self._complete(parts)
        except BaseException:
            for part in parts:
                self._tree.delete(part)
            raise

    def _begin(self, path: str) -> str:
        """The name of a file until it is complete."""
        with self._lock:
            if path in self._now:
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
            self._now.add(path)
        above, _, name = path.rpartition("/")
        return f"{above}/{part_name(name)}" if above else part_name(name)

    def _complete(self, parts: Mapping[str, Written]) -> None:
        # First the journal: what has its name without an entry there is somebody else's.
        with self._lock:
            self._journal.writelines(msgspec.json.encode(entry) + b"\n" for entry in parts.values())
            self._journal.flush()
        for part, entry in parts.items():
            if not entry.sha256:
                self._tree.delete(part)
            else:
                self._tree.move(part, entry.path)
            self._entries[entry.path] = entry

    def finish(self) -> None:
        """Nothing is missing: only the exported files stay."""
        self._tree.delete(_JOURNAL)

    def _sha256(self, path: str) -> str:
        digest = hashlib.sha256()
        with self._tree.open(path) as file:
            while chunk := file.read(_CHUNK_BYTES):
                digest.update(chunk)
        return digest.hexdigest()


def unfinished(folder: Path, request: Request) -> Head | None:
    """The state of the lake that an interrupted export of this request has read; None if the folder is new or empty.

    Raises ``ConfigurationError`` for a folder with anything else in it.
    """
    folder = _real(folder)
    if not folder.exists():
        return None
    if not folder.is_dir():
        raise ConfigurationError(
            f"{folder} is a file, not a new or empty folder. Nothing was written. Choose another place."
        )
    header, _ = _read(folder)
    if header is None:
        return None
    if header.request != request:
        raise ConfigurationError(
            f"{folder} holds a part of another export. Nothing was written. Repeat the command that began it, or "
            "remove the folder."
        )
    return header.state


def _real(folder: Path) -> Path:
    """Where a link leads that somebody named: below it, no link is followed."""
    return Path(os.path.realpath(folder))


def _read(folder: Path) -> tuple[_Header | None, dict[str, Written]]:
    """The journal of a folder, None if it is empty. Raises ``ConfigurationError`` if it holds files of others."""
    tree = FileTree(folder)
    try:
        lines = tree.read(_JOURNAL, limit_bytes=_LARGEST_JOURNAL).splitlines(keepends=True)
        complete = [line for line in lines if line.endswith(b"\n")]  # a killed export may leave a part of the last one
        header = msgspec.json.decode(complete[0], type=_Header) if complete else None
        entries = {entry.path: entry for line in complete[1:] for entry in [msgspec.json.decode(line, type=Written)]}
    except FileNotFoundError:
        header, entries = None, {}
    except (OSError, msgspec.MsgspecError):
        raise _foreign(folder, _JOURNAL) from None
    for path in tree.walk(""):
        if path != _JOURNAL and not path.endswith(PART_SUFFIX) and path not in entries:
            raise _foreign(folder, path)
    return header, entries


def _foreign(folder: Path, path: str) -> ConfigurationError:
    return ConfigurationError(
        f"{folder} is not a new or empty folder, nor one of an interrupted export: {path[:200]!r} is there. Nothing "
        "was written. Choose another folder."
    )


@contextmanager
def _journal(tree: FileTree, header: _Header, entries: dict[str, Written]) -> Iterator[BinaryIO]:
    """A new journal with what is complete, for more entries."""
    part = part_name(_JOURNAL)
    with tree.create(part, durable=False) as journal:
        journal.writelines(msgspec.json.encode(each) + b"\n" for each in (header, *entries.values()))
        journal.flush()
        tree.move(part, _JOURNAL)
        yield journal


def _remove_empty_folders(folder: Path, kept: set[str]) -> None:
    for path, _, _ in os.walk(folder, topdown=False):
        if path not in kept:
            with suppress(OSError):  # it is not empty
                Path(path).rmdir()
