"""Read a tree of files that mano 0.6 wrote: ``<folder>/<participant>/<stream>/[<survey>/]<name>.csv[.lock]``.

It gives the same view as the lake does (``files``, ``open``, ``read``, ``iter_frames``), with one difference: mano
keeps no hashes and its cipher does not authenticate, so **nothing here proves that a file is what the server sent.** A
wrong passphrase is noticed when a table is read, because its header is missing then; a changed byte is not.
"""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import BinaryIO, Final, cast

from dagster_beiwe.encryption import CrypteaseCipher, decrypting_reader
from dagster_beiwe.errors import (
    ConfigurationError,
    HostileArchiveError,
    LakeUnavailableError,
    PassphraseMissingError,
    WrongPassphraseError,
)
from dagster_beiwe.names import check_participant_id, is_participant_id, parse_member_name
from dagster_beiwe.private_files import FileTree
from dagster_beiwe.reading.raw_files import RawFile, RawFiles, TimeRange
from dagster_beiwe.streams import stream_named
from dagster_beiwe.windows import Granularity, check_granularity, window_of

_LOCK: Final = ".lock"
_BUFFER_BYTES: Final = 256 * 1024
_LONGEST_HEADER_BYTES: Final = 4096


class ManoTree(RawFiles):
    """A folder that mano's ``save`` or ``backfill`` wrote (their ``output_dir``), with locked and plain files.

    ``passphrase`` opens the locked ones. Windows, which mano does not know, are those of ``window``, in UTC. Where a
    file is there both plain and locked (``lock`` was changed between two runs of mano), the one written last counts.
    The tree is only read. Raises ``LakeUnavailableError`` if there is no such folder, and ``ConfigurationError`` for a
    participant that it does not hold.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        passphrase: str | None = None,
        participants: Iterable[str] | None = None,
        window: Granularity = "weekly",
        start: datetime | None = None,
        end: datetime | None = None,
    ) -> None:
        super().__init__(TimeRange(start, end))
        self.folder = Path(folder).expanduser()
        self._tree = FileTree(self.folder, links_in_root=True)
        self._passphrase = passphrase
        self._window = check_granularity(window)
        held = self._held()
        self._participants = held if participants is None else [check_participant_id(each) for each in participants]
        if absent := sorted(set(self._participants) - set(held)):
            raise ConfigurationError(
                f"Expected participants that the folder {self.folder} holds, got {', '.join(absent)}; nothing was "
                "read. Correct the ids, or the folder: it is mano's output_dir."
            )

    def __repr__(self) -> str:
        return f"<ManoTree {self.folder}: {len(self._participants)} participants>"

    @property
    def participants(self) -> list[str]:
        return list(self._participants)

    @property
    def unknown(self) -> list[str]:
        """Paths in the tree that are no files of Beiwe and so are not read; mano's own hidden files are left out."""
        paths = (path for participant in self._participants for path in self._walk(participant))
        return sorted(path.relative_to(self.folder).as_posix() for path in paths if self._file(path) is None)

    def by_window(self) -> Iterator[tuple[str, str, Iterable[RawFile]]]:
        for participant in self._participants:
            files = sorted(self._newest_files(participant), key=lambda file: (file.time, file.name))
            for window, group in groupby(files, key=lambda file: file.window):
                yield participant, window, group

    def open(self, file: RawFile) -> BinaryIO:
        """The plain content as a stream that can't seek; nothing checks it. Raises as the class and ``read`` do."""
        try:
            raw = self._tree.open(file.identity)
        except OSError as error:
            raise LakeUnavailableError(
                f"Expected to read {file.identity!r} in {self.folder}, got {error.strerror!r}; nothing was "
                "read. Check the folder and its permissions, and that mano is not running."
            ) from None
        if not file.identity.endswith(_LOCK):
            return raw
        if not self._passphrase:
            raw.close()
            raise PassphraseMissingError(
                f"Expected a passphrase to open {file.identity!r} with, got none; nothing was read. Give the one that "
                "mano locked the study with (SECRETS in its keyring)."
            )
        # A cipher for each file, as mano gives each a salt of its own: no lock is waited for while keys are derived.
        plain = decrypting_reader(raw, CrypteaseCipher(self._passphrase))
        return cast("BinaryIO", io.BufferedReader(plain, _BUFFER_BYTES))

    def content(self, file: RawFile) -> bytes:
        with self.open(file) as stream:
            data = stream.read()
        if file.identity.endswith(_LOCK) and not _has_header(data, file.stream):
            raise WrongPassphraseError(
                f"Expected {file.identity!r} to begin with the names of its columns, got something else; nothing of it "
                "was used. The passphrase is not the one that mano locked it with, or the file is damaged."
            )
        return data

    def _held(self) -> list[str]:
        try:
            return sorted(entry.name for entry in self.folder.iterdir() if is_participant_id(entry.name))
        except OSError as error:
            raise LakeUnavailableError(
                f"Expected a folder that mano wrote at {self.folder}, got {os.strerror(error.errno or 0)!r}; nothing "
                "was read. Correct the path: it is mano's output_dir."
            ) from None

    def _walk(self, participant: str) -> Iterator[Path]:
        paths = (self.folder / path for path in self._tree.walk(participant))
        return (path for path in paths if not path.name.startswith("."))

    def _newest_files(self, participant: str) -> list[RawFile]:
        newest: dict[str, tuple[int, RawFile]] = {}
        for path in self._walk(participant):
            if (file := self._file(path)) is not None:
                written = path.lstat().st_mtime_ns
                if file.name not in newest or written > newest[file.name][0]:
                    newest[file.name] = (written, file)
        return [file for _, file in newest.values()]

    def _file(self, path: Path) -> RawFile | None:
        """What a path says about its file; None if it does not have Beiwe's form, or is no regular file."""
        identity = path.relative_to(self.folder).as_posix()
        member = identity.removesuffix(_LOCK)
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode):
            return None
        try:
            known = parse_member_name(member)
        except HostileArchiveError:
            return None
        return RawFile(
            participant=known.participant,
            window=window_of(self._window, known.time).key,
            stream=known.stream,
            survey_id=known.survey_id,
            name=member.removeprefix(f"{known.participant}/"),
            time=known.time,
            size_bytes=None if member != identity else status.st_size,
            sha256=None,
            identity=identity,
        )


def _has_header(data: bytes, stream: str) -> bool:
    """Whether a table begins with a header of its stream; an empty file needs none, nor one without known columns."""
    line = data[:_LONGEST_HEADER_BYTES].partition(b"\n")[0].decode("utf-8", errors="replace")
    known = {name for header in stream_named(stream).known_headers for name in header}
    return not data or not known or not known.isdisjoint(name.strip() for name in line.split(","))
