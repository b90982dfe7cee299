"""Take one file's bytes as they arrive, check and hash them, lock them, and write them under a temporary name.

The plain bytes of a locked file exist in memory only, a piece at a time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import BinaryIO, Literal

import zstandard

from dagster_beiwe.encryption import Cipher
from dagster_beiwe.errors import DamagedMemberError
from dagster_beiwe.lake.storage import Storage

Compression = Literal["zstd", "none"]

LARGEST_FRAME_BYTES = 64 * 1024 * 1024
"""A server's zstd frame needs as much memory as its content: larger ones must be asked for uncompressed."""

_PIECE_BYTES = 256 * 1024
_LEVEL = 3
_LARGEST_WINDOW_BYTES = 8 * 1024 * 1024
_FRAME_HEADER_BYTES = 18


class FrameTooLargeError(DamagedMemberError):
    """A zstd frame can't be checked in bounded memory; the file has to be asked for uncompressed."""


@dataclass(frozen=True, kw_only=True)
class StagedFile:
    """A file that lies complete and locked under a temporary name, not yet committed. Hashes are hexadecimal."""

    part: str
    size_bytes: int
    md5: str
    sha1: str
    sha256: str
    stored_size_bytes: int
    stored_sha256: str
    encryption: str
    compression: Compression


@dataclass(frozen=True, kw_only=True)
class FileForm:
    """How files are stored: locked with ``cipher`` (None: plain), and compressed or not."""

    cipher: Cipher | None
    compression: Compression

    @property
    def encryption(self) -> str:
        return self.cipher.name if self.cipher else "none"

    @property
    def suffix(self) -> str:
        """What is appended to Beiwe's name: ``.zst`` if compressed, ``.lock`` if locked."""
        return (".zst" if self.compression == "zstd" else "") + (".lock" if self.cipher else "")


def stage_file(
    storage: Storage, part: str, body: Iterable[bytes], *, name: str, arrives_compressed: bool, form: FileForm
) -> StagedFile:
    """Store ``body`` under the temporary name ``part``.

    ``arrives_compressed`` says that the bytes are one zstd frame, which is kept as it is when the form is
    compressed. Raises ``DamagedMemberError`` if the frame can't be decompressed, ``FrameTooLargeError`` if that
    would need much memory, and whatever ``body`` raises; the temporary file is removed then.
    """
    try:
        with storage.explained("written", part), storage.create(part) as file:
            sink = _StoredFile(file, form.cipher)
            plain = _PlainHashes()
            if arrives_compressed:
                _take_frame(body, plain, sink, name=name, keep=form.compression == "zstd")
            else:
                _take_plain(body, plain, sink, compress=form.compression == "zstd")
            sink.finish()
    except BaseException:
        storage.delete(part)
        raise
    return StagedFile(
        part=part,
        size_bytes=plain.size_bytes,
        md5=plain.md5.hexdigest(),
        sha1=plain.sha1.hexdigest(),
        sha256=plain.sha256.hexdigest(),
        stored_size_bytes=sink.size_bytes,
        stored_sha256=sink.sha256.hexdigest(),
        encryption=form.encryption,
        compression=form.compression,
    )


class _PlainHashes:
    """Counts and hashes the plain bytes."""

    def __init__(self) -> None:
        self.size_bytes = 0
        self.md5 = hashlib.md5(usedforsecurity=False)
        self.sha1 = hashlib.sha1(usedforsecurity=False)
        self.sha256 = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.size_bytes += len(data)
        self.md5.update(data)
        self.sha1.update(data)
        self.sha256.update(data)
        return len(data)


class _StoredFile:
    """Locks, hashes and writes what is to be stored."""

    def __init__(self, file: BinaryIO, cipher: Cipher | None) -> None:
        self._file = file
        self._encryptor = cipher.encryptor() if cipher else None
        self.size_bytes = 0
        self.sha256 = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self._store(self._encryptor.update(data) if self._encryptor else data)
        return len(data)

    def finish(self) -> None:
        if self._encryptor:
            self._store(self._encryptor.finish())

    def _store(self, data: bytes) -> None:
        self.size_bytes += len(data)
        self.sha256.update(data)
        self._file.write(data)


class _Sink:
    """The file-like object that zstandard writes plain bytes to; refuses more than the frame declared."""

    def __init__(self, write: Callable[[bytes], int], limit: int, name: str) -> None:
        self._write, self._left, self._name = write, limit, name

    def write(self, data: bytes) -> int:
        self._left -= len(data)
        if self._left < 0:
            raise DamagedMemberError(_damaged("more content than its frame declares"), member=self._name)
        return self._write(data)


def _take_plain(body: Iterable[bytes], plain: _PlainHashes, sink: _StoredFile, *, compress: bool) -> None:
    # The frame's window is bounded, unlike the server's, so that it can be read back in little memory.
    packer = zstandard.ZstdCompressor(level=_LEVEL, write_content_size=False).compressobj() if compress else None
    for piece in body:
        plain.write(piece)
        if packer is None:
            sink.write(piece)
        elif packed := packer.compress(piece):
            sink.write(packed)
    if packer is not None:
        sink.write(packer.flush())


def _take_frame(body: Iterable[bytes], plain: _PlainHashes, sink: _StoredFile, *, name: str, keep: bool) -> None:
    pieces = iter(body)
    head = b""
    for piece in pieces:
        head += piece
        if len(head) >= _FRAME_HEADER_BYTES:
            break
    size = _declared_size(head, name)

    def take_plain(data: bytes) -> int:
        if not keep:
            sink.write(data)
        return plain.write(data)

    unpacker = zstandard.ZstdDecompressor(max_window_size=max(size, _LARGEST_WINDOW_BYTES))
    target = _Sink(take_plain, size, name)
    try:
        with unpacker.stream_writer(target, write_size=_PIECE_BYTES, closefd=False) as writer:  # type: ignore[arg-type]
            for piece in _and_then(head, pieces):
                if keep:
                    sink.write(piece)
                writer.write(piece)
    except zstandard.ZstdError:
        raise DamagedMemberError(_damaged("bytes that zstd cannot read"), member=name) from None
    if plain.size_bytes != size:
        raise DamagedMemberError(_damaged("less content than its frame declares"), member=name)


def _declared_size(head: bytes, name: str) -> int:
    try:
        parameters = zstandard.get_frame_parameters(head)
    except zstandard.ZstdError:
        raise DamagedMemberError(_damaged("bytes that are no zstd frame"), member=name) from None
    if parameters.content_size == zstandard.CONTENTSIZE_UNKNOWN:
        raise DamagedMemberError(_damaged("a frame without its content's size"), member=name)
    if parameters.content_size > LARGEST_FRAME_BYTES:
        raise FrameTooLargeError(
            f"Expected a zstd frame of at most {LARGEST_FRAME_BYTES} bytes of content, got one that declares "
            f"{parameters.content_size}; it was not decompressed. It is requested again without compression.",
            member=name,
        )
    return parameters.content_size


def _and_then(first: bytes, rest: Iterable[bytes]) -> Iterable[bytes]:
    yield first
    yield from rest


def _damaged(what: str) -> str:
    return (
        f"Expected one zstd frame in a compressed member, got {what}; it was not stored. The object is damaged on the "
        "server, which delivers it as it is: ask its operators; the next run tries again."
    )
