"""Take files' bytes as they arrive, check and hash them, encrypt them, and write them where they will stay.

The plain bytes of an encrypted file exist in memory only: of a large file a chunk at a time (``stage_file``); small
files are checked one by one (``examine``) and then encrypted together (``store_all``), which ciphers do several times
faster. A file that no manifest names does not count.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO, Literal

import zstandard

from dagster_beiwe.encryption import Bytes, Cipher, recorded_name
from dagster_beiwe.errors import DamagedMemberError
from dagster_beiwe.lake.frames import damaged, declared_size, decompressor, unpacked
from dagster_beiwe.lake.layout import stored_suffix
from dagster_beiwe.lake.storage.base import NewFile, Storage

Compression = Literal["zstd", "none"]

SMALL_BYTES = 1024 * 1024
"""Files that need no more memory than this are handled whole, hundreds at a time."""

_LEVEL = 3


@dataclass(frozen=True)
class FilePlace:
    """Where a new file goes: to ``path`` if that is free, else to ``otherwise``, a name that nobody else has."""

    path: str
    otherwise: str | None = None


@dataclass(frozen=True, kw_only=True)
class StagedFile:
    """A file that lies complete in its place in the lake, ``path``, not yet committed.

    Hashes are hexadecimal; ``md5`` is None if it was not asked for. ``doubtful`` says that it may lie there under
    another name too.
    """

    path: str
    size_bytes: int
    md5: str | None
    sha1: str
    sha256: str
    stored_size_bytes: int
    stored_sha256: str
    encryption: str
    compression: Compression
    doubtful: bool = False


@dataclass(frozen=True, kw_only=True)
class ContentHashes:
    """Size and hashes (hexadecimal) of plain content; ``md5`` is None if it is not known."""

    size_bytes: int
    md5: str | None
    sha1: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class FileForm:
    """How files are stored: encrypted with ``cipher`` (None: plain), and compressed or not."""

    cipher: Cipher | None
    compression: Compression

    @property
    def encryption(self) -> str:
        return recorded_name(self.cipher)

    @property
    def suffix(self) -> str:
        """What is appended to Beiwe's name."""
        return stored_suffix(compressed=self.compression == "zstd", encrypted=self.cipher is not None)


def stage_file(
    storage: Storage,
    place: FilePlace,
    body: Iterable[bytes],
    *,
    name: str,
    compressed: bool,
    form: FileForm,
    md5: bool = False,
) -> StagedFile:
    """Store ``body`` in its place.

    ``compressed`` says that the bytes are one zstd frame, which is kept as it is when the form is
    compressed. ``md5`` asks for the MD5 too. Raises ``DamagedMemberError`` if the frame can't be decompressed,
    ``FrameTooLargeError`` if that would need much memory, and whatever ``body`` raises; the file is removed then.
    """
    body = _source(body)
    with _new_file(storage, place) as file:
        sink = EncryptedFile(file, form.cipher)
        plain = _PlainHashes(md5=md5)
        if compressed:
            _take_frame(body, plain, sink, name=name, keep=form.compression == "zstd")
        else:
            _take_plain(body, plain, sink, compress=form.compression == "zstd")
        sink.finish()
    return _staged(file, plain.found(), sink.size_bytes, sink.sha256.hexdigest(), form)


def keep_file(
    storage: Storage,
    place: FilePlace,
    stored: Iterable[bytes],
    *,
    name: str,
    form: FileForm,
    cipher: Cipher,
    md5: bool = False,
) -> StagedFile:
    """Store a file that is encrypted in this form already, byte for byte; its plain content is hashed on the way.

    ``cipher`` decrypts it. Raises as ``stage_file`` does, and ``EncryptionError`` for a file of another format.
    """
    with _new_file(storage, place) as file:
        sink = EncryptedFile(file, None)
        plain = _PlainHashes(md5=md5)
        content = _decrypted(_passing(_source(stored), sink), cipher)
        for chunk in unpacked(content, name, sized=False) if form.compression == "zstd" else content:
            plain.write(chunk)
    return _staged(file, plain.found(), sink.size_bytes, sink.sha256.hexdigest(), form)


class _SourceError(Exception):
    """An error of what a file is read from, on its way past the explanations of the lake's errors."""

    def __init__(self, error: OSError) -> None:
        super().__init__()
        self.error = error


def _source(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The chunks, not closed with this iterator: an archive skips the rest of a member that was refused."""
    try:
        for chunk in chunks:  # noqa: UP028 - `yield from` would close them
            yield chunk
    except OSError as error:
        raise _SourceError(error) from None


@contextmanager
def _new_file(storage: Storage, place: FilePlace) -> Iterator[NewFile]:
    """A file in its place, removed after an error. Those of ``_source`` stay what they are."""
    try:
        with storage.explained("written", place.path), storage.create(place.path, otherwise=place.otherwise) as file:
            yield file
    except _SourceError as failure:
        raise failure.error from None


@dataclass(frozen=True, kw_only=True)
class Examined:
    """A small file that was checked: its hashes, and what is to be stored of it, which is encrypted later."""

    plain: ContentHashes
    content: bytearray


def small_size(head: bytes, size_bytes: int, *, compressed: bool, form: FileForm) -> int | None:
    """How many bytes of a file are held once it is examined, by the first bytes and the size of what arrives.

    None for a file that is not small, or if that is not known: ``stage_file`` takes those.
    """
    content_bytes = size_bytes
    if compressed:
        try:
            content_bytes = zstandard.get_frame_parameters(head).content_size
        except zstandard.ZstdError:
            return None
    if max(size_bytes, content_bytes) > SMALL_BYTES:
        return None
    return content_bytes if form.compression == "none" else size_bytes


def examine(body: bytes, *, name: str, compressed: bool, form: FileForm, md5: bool = False) -> Examined:
    """Check and hash a small file. Raises ``DamagedMemberError`` if its frame can't be decompressed."""
    plain = _PlainHashes(md5=md5)
    keep = form.compression == "zstd"
    if not compressed:
        kept = io.BytesIO()
        _take_plain([body], plain, kept, compress=keep)
        return Examined(plain=plain.found(), content=bytearray(kept.getbuffer()))
    declared_size(body, name)
    try:
        content = decompressor().decompress(body, allow_extra_data=False)
    except zstandard.ZstdError:
        raise DamagedMemberError(damaged("bytes that zstd cannot read as one frame"), member=name) from None
    plain.write(content)
    return Examined(plain=plain.found(), content=bytearray(body if keep else content))


def store_all(
    storage: Storage, files: Sequence[tuple[FilePlace, Examined]], *, form: FileForm, pool: Executor
) -> list[StagedFile]:
    """Encrypt examined files together and store each in its place, several at a time in threads of ``pool``.

    If one cannot be written, the error is raised when all threads are done, and the others are removed.
    """
    contents: list[Iterator[Bytes]] = [iter([file.content]) for _, file in files]
    if form.cipher is not None:
        contents = form.cipher.encrypt_all([file.content for _, file in files])
    jobs = [(*each, chunks) for each, chunks in zip(files, contents, strict=True)]
    stored: dict[int, StagedFile] = {}

    def store(number: int) -> None:
        stored[number] = _store_examined(storage, *jobs[number], form=form)

    try:
        storage.each(pool, store, range(len(jobs)))
    except BaseException:
        storage.delete_all([file.path for file in stored.values()])
        raise
    return [stored[number] for number in range(len(jobs))]


def _store_examined(
    storage: Storage, place: FilePlace, file: Examined, chunks: Iterable[Bytes], *, form: FileForm
) -> StagedFile:
    sha256, size_bytes = hashlib.sha256(), 0
    with _new_file(storage, place) as target:
        for chunk in chunks:
            sha256.update(chunk)
            size_bytes += target.write(chunk)
    return _staged(target, file.plain, size_bytes, sha256.hexdigest(), form)


def _staged(
    file: NewFile, plain: ContentHashes, stored_size_bytes: int, stored_sha256: str, form: FileForm
) -> StagedFile:
    return StagedFile(
        path=file.path,
        doubtful=file.doubtful,
        size_bytes=plain.size_bytes,
        md5=plain.md5,
        sha1=plain.sha1,
        sha256=plain.sha256,
        stored_size_bytes=stored_size_bytes,
        stored_sha256=stored_sha256,
        encryption=form.encryption,
        compression=form.compression,
    )


class _PlainHashes:
    """Counts and hashes the plain bytes."""

    def __init__(self, *, md5: bool) -> None:
        self.size_bytes = 0
        self.md5 = hashlib.md5(usedforsecurity=False) if md5 else None
        self.sha1 = hashlib.sha1(usedforsecurity=False)
        self.sha256 = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.size_bytes += len(data)
        if self.md5:
            self.md5.update(data)
        self.sha1.update(data)
        self.sha256.update(data)
        return len(data)

    def found(self) -> ContentHashes:
        return ContentHashes(
            size_bytes=self.size_bytes,
            md5=self.md5.hexdigest() if self.md5 else None,
            sha1=self.sha1.hexdigest(),
            sha256=self.sha256.hexdigest(),
        )


class EncryptedFile:
    """Encrypts, counts, hashes and writes what is to be stored; unchanged without a cipher."""

    def __init__(self, file: BinaryIO, cipher: Cipher | None) -> None:
        self._file = file
        self._encryptor = None if cipher is None else cipher.encryptor()
        self.size_bytes = 0
        self.sha256 = hashlib.sha256()

    def write(self, data: Bytes) -> int:
        self._store(self._encryptor.update(data) if self._encryptor else data)
        return len(data)

    def finish(self) -> None:
        if self._encryptor:
            self._store(self._encryptor.finish())

    def _store(self, data: Bytes) -> None:
        self.size_bytes += len(data)
        self.sha256.update(data)
        self._file.write(data)


def _take_plain(
    body: Iterable[bytes], plain: _PlainHashes, sink: EncryptedFile | io.BytesIO, *, compress: bool
) -> None:
    # The frame's window is bounded, unlike the server's, so that it can be read back in little memory.
    packer = zstandard.ZstdCompressor(level=_LEVEL, write_content_size=False).compressobj() if compress else None
    for chunk in body:
        plain.write(chunk)
        if packer is None:
            sink.write(chunk)
        elif packed := packer.compress(chunk):
            sink.write(packed)
    if packer is not None:
        sink.write(packer.flush())


def _take_frame(body: Iterable[bytes], plain: _PlainHashes, sink: EncryptedFile, *, name: str, keep: bool) -> None:
    for content in unpacked(_passing(body, sink) if keep else body, name):
        plain.write(content)
        if not keep:
            sink.write(content)


def _passing(chunks: Iterable[bytes], sink: EncryptedFile) -> Iterator[bytes]:
    """The chunks, written as they pass by."""
    for chunk in chunks:
        sink.write(chunk)
        yield chunk


def _decrypted(chunks: Iterable[bytes], cipher: Cipher) -> Iterator[bytes]:
    decryptor = cipher.decryptor()
    for chunk in chunks:
        yield decryptor.update(chunk)
    yield decryptor.finish()
