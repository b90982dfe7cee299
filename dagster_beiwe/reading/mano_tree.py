"""Read a tree of files that mano wrote: ``<folder>/<participant>/<stream>/[<survey>/]<name>.csv[.zst][.lock]``.

Names may lack ``+00_00``, as those of servers before mid 2018 do.

It offers the same view as the lake (``files``, ``open``, ``read``, ``iter_frames``), with one difference: mano keeps no
hashes and its cipher does not authenticate, so **nothing here proves that a file is what the server sent.** A wrong
passphrase is noticed when a table is read, because its header is missing; a changed byte is not.
"""

from __future__ import annotations

import io
import logging
import os
import stat
from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import BinaryIO, Final, cast

import pandas as pd
import zstandard

from dagster_beiwe.arguments import check_list
from dagster_beiwe.encryption import CrypteaseCipher, decrypting_reader
from dagster_beiwe.errors import (
    ConfigurationError,
    EncryptionError,
    HostileArchiveError,
    IntegrityError,
    LakeUnavailableError,
    PassphraseMissingError,
    WrongPassphraseError,
)
from dagster_beiwe.file_tree import FileTree
from dagster_beiwe.ids import check_participant_id, is_participant_id
from dagster_beiwe.lake.layout import ENCRYPTED_SUFFIX
from dagster_beiwe.member_names import COMPRESSED_SUFFIX, parse_member_name
from dagster_beiwe.reading.raw_files import RawFile, RawFiles, TimeRange
from dagster_beiwe.streams import STREAMS, has_header
from dagster_beiwe.text import counted, first_sentence
from dagster_beiwe.windows import Granularity, check_granularity, window_of

logger = logging.getLogger("dagster_beiwe")

_ZONE: Final = "+00_00"
_BUFFER_BYTES: Final = 256 * 1024
_STORED_BYTES: Final = 4096
"""Compressed bytes that are decompressed at once: what they may become fits into memory."""


class ManoTree(RawFiles):
    """A folder that mano's ``save`` or ``backfill`` wrote (their ``output_dir``), with encrypted and plain files.

    ``passphrase`` decrypts the encrypted ones. mano knows no windows: files are grouped by ``window``, in UTC. If a
    file is there twice (plain and encrypted, or under an old and a new name), the one written last counts. The tree is
    only read. Raises ``LakeUnavailableError`` if the folder does not exist, and ``ConfigurationError`` if it holds no
    participant's folder or lacks a requested participant.
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
        held = [name for name in self._folders(self.folder) if is_participant_id(name) and self._has_streams(name)]
        if not held:
            raise ConfigurationError(
                f"{self.folder} holds no Beiwe data. Nothing was read. Give mano's output_dir: a folder with one "
                "folder per participant, and in each one folder per stream."
            )
        self._participants = (
            held if participants is None else [*map(check_participant_id, check_list("participants", participants))]
        )
        if absent := sorted(set(self._participants) - set(held)):
            raise ConfigurationError(
                f"{self.folder} holds no data of {', '.join(absent)}. Nothing was read. Correct the ids, or the "
                "folder: it is mano's output_dir."
            )

    def __repr__(self) -> str:
        return f"<ManoTree {self.folder}: {len(self._participants)} participants>"

    @property
    def participants(self) -> list[str]:
        return list(self._participants)

    @property
    def unknown(self) -> list[str]:
        """Paths in the tree that are not Beiwe files and so are not read; mano's own hidden files are left out."""
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
                f"{file.identity!r} in {self.folder} can't be read ({error.strerror}). Nothing was read. Check the "
                "folder and its permissions, and that mano is not running."
            ) from None
        if not file.identity.endswith(ENCRYPTED_SUFFIX):
            return _decompressed(cast("io.BufferedReader", raw), file)
        if not self._passphrase:
            raw.close()
            raise PassphraseMissingError(
                f"No passphrase for the encrypted file {file.identity!r}. Nothing was read. Give the one that mano "
                "encrypted the study with (SECRETS in its keyring)."
            )
        # A cipher for each file, because mano gives each its own salt: threads derive keys at the same time.
        plain: io.BufferedReader = io.BufferedReader(
            decrypting_reader(raw, CrypteaseCipher(self._passphrase)), _BUFFER_BYTES
        )
        try:
            plain.peek(1)
        except BaseException as error:
            plain.close()
            if not isinstance(error, EncryptionError):
                raise
            raise EncryptionError(
                f"{file.identity!r} in {self.folder} is damaged. {first_sentence(error)}. Nothing of it was used. "
                "Download it again, or move it out of the folder."
            ) from None
        return _decompressed(plain, file)

    def content(self, file: RawFile) -> bytes:
        with self.open(file) as stream:
            data = stream.read()
        if file.identity.endswith(ENCRYPTED_SUFFIX) and not has_header(data, file.stream):
            raise WrongPassphraseError(
                f"{file.identity!r} does not begin with the names of its columns. Nothing of it was used. The "
                "passphrase is not the one that mano encrypted it with, or the file is damaged."
            )
        return data

    def _has_streams(self, participant: str) -> bool:
        """Whether a folder is a participant's: it has a folder of a known stream, or a file with Beiwe's name."""
        known = any(name in STREAMS for name in self._folders(self.folder / participant))
        return known or any(self._file(path) is not None for path in self._walk(participant))

    def _folders(self, folder: Path) -> list[str]:
        try:
            return sorted(entry.name for entry in folder.iterdir() if entry.is_dir())
        except OSError as error:
            raise LakeUnavailableError(
                f"The folder {folder} can't be read ({os.strerror(error.errno or 0)}). Nothing was read. Correct the "
                "path: it is mano's output_dir."
            ) from None

    def _wanted(
        self, stream: str | None, start: datetime | None, end: datetime | None
    ) -> tuple[frozenset[str] | None, TimeRange | None]:
        """As in every view, but a stream whose files have other names never counts as one without data."""
        wanted = super()._wanted(stream, start, end)
        if stream is not None and (strange := self._not_understood(stream)):
            if not any(self._file(path) for path in self._files_of(stream)):
                raise ConfigurationError(
                    f"None of the {len(strange)} files of {stream} in {self.folder} has a Beiwe name, for "
                    f"instance {strange[0]!r}. Nothing was read. Rename them to <time>.csv, with the time written "
                    "'2024-03-01 05_00_00+00_00'."
                )
            logger.warning(
                "Not read, of %s in %s: %s without a Beiwe name. ManoTree.unknown lists them.",
                stream,
                self.folder,
                counted(len(strange), "file"),
            )
        return wanted

    def _noted(self, frame: pd.DataFrame, stream: str) -> pd.DataFrame:
        frame.attrs["beiwe"] |= {"unknown_files": len(self._not_understood(stream))}
        return frame

    def _not_understood(self, stream: str) -> list[str]:
        paths = self._files_of(stream)
        return sorted(path.relative_to(self.folder).as_posix() for path in paths if self._file(path) is None)

    def _files_of(self, stream: str) -> Iterator[Path]:
        return (path for participant in self._participants for path in self._walk(f"{participant}/{stream}"))

    def _walk(self, below: str) -> Iterator[Path]:
        paths = (self.folder / path for path in self._tree.walk(below))
        return (path for path in paths if not path.name.startswith("."))

    def _newest_files(self, participant: str) -> list[RawFile]:
        newest: dict[str, tuple[int, RawFile]] = {}
        for path in self._walk(participant):
            if (file := self._file(path)) is not None:
                written = path.lstat().st_mtime_ns
                name = file.name.replace(_ZONE, "")
                if name not in newest or written > newest[name][0]:
                    newest[name] = (written, file)
        return [file for _, file in newest.values()]

    def _file(self, path: Path) -> RawFile | None:
        """What a path says about its file; None if it is not a regular file with a Beiwe name."""
        identity = path.relative_to(self.folder).as_posix()
        member = identity.removesuffix(ENCRYPTED_SUFFIX).removesuffix(COMPRESSED_SUFFIX)
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


class _Decompressor(io.RawIOBase):
    """The content of zstd frames, which mano keeps from version 2 of the server's answers."""

    def __init__(self, raw: io.BufferedReader, name: str) -> None:
        self._raw, self._name = raw, name
        self._frame = zstandard.ZstdDecompressor().decompressobj()
        self._plain = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        try:
            while not self._plain and (data := self._raw.read(_STORED_BYTES)):
                self._plain = memoryview(self._decompressed(data))
        except zstandard.ZstdError:
            raise self._damaged("is not a zstd frame") from None
        if not self._plain and not self._frame.eof:
            raise self._damaged("ends within a zstd frame")
        count = min(len(buffer), len(self._plain))
        buffer[:count], self._plain = self._plain[:count], self._plain[count:]
        return count

    def close(self) -> None:
        if not self.closed:
            self._raw.close()
        super().close()

    def _decompressed(self, data: bytes) -> bytes:
        plain = b""
        while data:
            if self._frame.eof:
                self._frame = zstandard.ZstdDecompressor().decompressobj()
            plain += self._frame.decompress(data)
            data = self._frame.unused_data
        return plain

    def _damaged(self, how: str) -> IntegrityError:
        return IntegrityError(
            f"{self._name!r} {how}. Do not use what was read of it. The file is damaged, or the passphrase is not the "
            "one that mano encrypted it with."
        )


def _decompressed(raw: io.BufferedReader, file: RawFile) -> BinaryIO:
    """The content, decompressed if the name says so, or the content: scripts drop the ending that version 2 appends."""
    named = file.identity.removesuffix(ENCRYPTED_SUFFIX).endswith(COMPRESSED_SUFFIX)
    if not named and not raw.peek(len(zstandard.FRAME_HEADER)).startswith(zstandard.FRAME_HEADER):
        return cast("BinaryIO", raw)
    return cast("BinaryIO", io.BufferedReader(_Decompressor(raw, file.identity), _BUFFER_BYTES))
