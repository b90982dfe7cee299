"""Open the files of an old tree: decrypt what mano encrypted, and notice a wrong passphrase as far as that shows.

The cipher does not authenticate, so that a wrong passphrase gives random bytes. A table has to begin with its header, a
frame with zstd's mark, and a recording as such files do.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO, Final

import zstandard

from dagster_beiwe.adoption.old_tree import OldFile
from dagster_beiwe.encryption import CHUNK_BYTES, Cipher, CrypteaseCipher, plain_size
from dagster_beiwe.errors import (
    BeiweError,
    DamagedMemberError,
    EncryptionError,
    PassphraseMissingError,
    WrongPassphraseError,
)
from dagster_beiwe.file_tree import FileTree
from dagster_beiwe.lake.staging import SMALL_BYTES
from dagster_beiwe.streams import has_header
from dagster_beiwe.text import error_in_words, first_sentence

_HEAD_BYTES: Final = 64

UNREADABLE: Final = (EncryptionError, PassphraseMissingError, DamagedMemberError, zstandard.ZstdError, OSError)
"""What stops one file of an old tree from being read."""


def why_unreadable(error: BaseException) -> str:
    """Why a file could not be read, in words."""
    if isinstance(error, BeiweError):
        return first_sentence(error)
    said = error.strerror if isinstance(error, OSError) else None
    return said or error_in_words(type(error).__name__)


@dataclass(frozen=True)
class OpenFile:
    """An open file: its first bytes and the rest, as they lie there; ``cipher`` decrypts them, None if nothing need.

    ``passphrase`` is the one that fits. ``recognized`` tells whether that shows: not every recording has a known mark,
    and an empty or cut file has nothing.
    """

    head: bytes
    rest: BinaryIO
    cipher: Cipher | None = None
    passphrase: str | None = field(default=None, repr=False)
    recognized: bool = True

    def stored(self) -> Iterator[bytes]:
        """The bytes as they lie there."""
        with self.rest:
            yield self.head
            while chunk := self.rest.read(CHUNK_BYTES):
                yield chunk

    def plain(self) -> Iterator[bytes]:
        """The decrypted bytes, still compressed if the file is. Raises ``EncryptionError`` for another format."""
        if self.cipher is None:
            yield from self.stored()
            return
        decryptor = self.cipher.decryptor()
        for chunk in self.stored():
            yield decryptor.update(chunk)
        yield decryptor.finish()

    def content(self) -> bytes:
        """The whole content, decrypted and decompressed; for small files."""
        data = b"".join(self.plain())
        if not data.startswith(zstandard.FRAME_HEADER):
            return data
        with zstandard.ZstdDecompressor().stream_reader(data) as reader:
            return reader.read()


class OldFiles:
    """Opens files of the tree in a folder with the first of some ``passphrases`` that fits each.

    Usable from several threads.
    """

    def __init__(self, folder: Path, passphrases: Iterable[str]) -> None:
        self._tree = FileTree(folder, links_in_root=True)
        self._passphrases = list(dict.fromkeys(passphrases))

    def open(self, file: OldFile) -> OpenFile:
        """A file, once its beginning is known to be readable.

        Raises ``WrongPassphraseError`` if no passphrase fits, ``PassphraseMissingError`` if none was given,
        ``EncryptionError`` for a file that cryptease did not write, and ``OSError``.
        """
        raw = self._tree.open(file.path)
        try:
            if not file.encrypted:
                return OpenFile(raw.read(SMALL_BYTES), raw)
            return self._decrypted(file, raw.read(CHUNK_BYTES), raw)
        except BaseException:
            raw.close()
            raise

    def size(self, file: OldFile) -> int | None:
        """The size of its content, without reading it; None if a compressed file does not tell.

        Raises as ``open`` does if it is encrypted and compressed.
        """
        if not (file.encrypted or file.compressed):
            return file.size_bytes
        if file.encrypted and file.compressed:
            opened = self.open(file)
            opened.rest.close()
            assert opened.cipher is not None, "it is encrypted"
            return _content_size(opened.cipher.decryptor().update(opened.head))
        with self._tree.open(file.path) as raw:
            head = raw.read(_HEAD_BYTES)
        return _content_size(head) if file.compressed else plain_size(head, file.size_bytes)

    def _decrypted(self, file: OldFile, head: bytes, raw: BinaryIO) -> OpenFile:
        if not self._passphrases:
            raise PassphraseMissingError("no passphrase was given")
        fallback: OpenFile | None = None
        for passphrase in self._passphrases:
            # A cipher for each file, because mano gives each its own salt: threads derive keys at the same time.
            cipher = CrypteaseCipher(passphrase)
            plain = cipher.decryptor().update(head)
            opened = OpenFile(head, raw, cipher, passphrase)
            if not plain:
                return replace(opened, recognized=False)
            if _is_readable(plain, file):
                # Most files have the passphrase of the one before, and each try derives a key.
                self._passphrases = list(dict.fromkeys([passphrase, *self._passphrases]))
                return opened
            fallback = fallback or opened
        if fallback and not file.compressed and file.is_recording:
            return replace(fallback, recognized=False)  # its hash will tell
        raise WrongPassphraseError("no passphrase that was given decrypts it")


def _content_size(head: bytes) -> int | None:
    size_bytes = zstandard.get_frame_parameters(head).content_size if head else 0
    return None if size_bytes == zstandard.CONTENTSIZE_UNKNOWN else size_bytes


def _is_readable(plain: bytes, file: OldFile) -> bool:
    """Whether decrypted bytes are the beginning of such a file, as far as that shows."""
    if file.compressed:
        return plain.startswith(zstandard.FRAME_HEADER)
    if file.is_recording:
        return plain[4:8] == b"ftyp" or plain.startswith(b"RIFF")
    return has_header(plain, file.member.stream)
