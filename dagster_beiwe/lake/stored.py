"""Read one stored file back: decrypt, decompress, and prove that it is what was committed."""

from __future__ import annotations

import hashlib
import io
from typing import BinaryIO, cast

import zstandard

from dagster_beiwe.encryption import Bytes, KeyRing, decrypting_reader, wrong_key
from dagster_beiwe.errors import EncryptionError, IntegrityError
from dagster_beiwe.lake.frames import LARGEST_WINDOW_BYTES, decompressor
from dagster_beiwe.lake.manifest import FileRecord
from dagster_beiwe.lake.staging import SMALL_BYTES
from dagster_beiwe.lake.storage.base import Storage
from dagster_beiwe.text import error_in_words

_BUFFER_BYTES = 256 * 1024


def open_stored(storage: Storage, path: str, record: FileRecord, ring: KeyRing) -> BinaryIO:
    """The plain content of a stored file. Reading raises ``IntegrityError`` if it differs from the record.

    Raises ``FileNotFoundError``, and ``EncryptionError``: at once if no key for it was given, and while it is read if
    the key is a wrong one.
    """
    ring.reader(record.encryption, name=path)
    raw = storage.open(path, size_bytes=record.stored_size_bytes)
    return cast("BinaryIO", io.BufferedReader(StoredReader(raw, storage, path, record, ring), _BUFFER_BYTES))


def read_stored(storage: Storage, path: str, record: FileRecord, ring: KeyRing) -> bytes:
    """The whole plain content of a stored file, proven. Raises as ``open_stored`` and reading it do."""
    if (whole := _read_whole(storage, path, record, ring)) is not None:
        return bytes(whole[1])
    with open_stored(storage, path, record, ring) as reader:
        return reader.read()


def read_decrypted(storage: Storage, path: str, record: FileRecord, ring: KeyRing) -> Bytes:
    """The decrypted bytes of a small file, still compressed if it is stored so. Its content is proven on the way.

    Raises as ``open_stored`` and reading it do.
    """
    if (whole := _read_whole(storage, path, record, ring)) is not None:
        return whole[0]
    decrypted = bytearray()
    raw = storage.open(path, size_bytes=record.stored_size_bytes)
    with StoredReader(raw, storage, path, record, ring, decrypted=decrypted) as reader:
        while reader.read_verified(_BUFFER_BYTES):
            pass
    return decrypted


def prove_stored(storage: Storage, path: str, record: FileRecord, ring: KeyRing, *, decrypted_sha256: str = "") -> None:
    """Read a stored file to its end. Raises as ``open_stored`` and reading it do.

    ``decrypted_sha256`` is the hash of bytes, compressed as the file is, whose content is proven.
    """
    if decrypted_sha256:
        decrypted = _decrypt_whole(storage, path, record, ring)
        proven = decrypted is not None and hashlib.sha256(decrypted).hexdigest() == decrypted_sha256
    else:
        proven = _read_whole(storage, path, record, ring) is not None
    if not proven:
        with open_stored(storage, path, record, ring) as reader:
            while reader.read(_BUFFER_BYTES):
                pass


def missing_file(storage: Storage, path: str) -> IntegrityError:
    """The error for a file that was committed and is not there."""
    return IntegrityError(
        f"The committed file {path!r} is missing from the lake at {storage.describe()}; nothing was read. It was "
        "removed after it was committed: restore it from a backup, or run its partition again after "
        "`dagster-beiwe verify --repair`."
    )


def _read_whole(storage: Storage, path: str, record: FileRecord, ring: KeyRing) -> tuple[Bytes, Bytes] | None:
    """The decrypted bytes and the plain content of a small file, read at once: several times as fast as in chunks.

    None for a file that is large, or anything but what was committed: ``StoredReader`` says what is wrong with it.
    """
    decrypted = _decrypt_whole(storage, path, record, ring)
    plain = decrypted if decrypted is None or record.compression != "zstd" else _unpack(decrypted, record.size_bytes)
    if decrypted is None or plain is None or len(plain) != record.size_bytes:
        return None
    return (decrypted, plain) if hashlib.sha256(plain).hexdigest() == record.sha256 else None


def _decrypt_whole(storage: Storage, path: str, record: FileRecord, ring: KeyRing) -> Bytes | None:
    """The decrypted bytes of a small file, still compressed if it is stored so; None as for ``_read_whole``."""
    if record.size_bytes > SMALL_BYTES or record.stored_size_bytes > 2 * SMALL_BYTES:
        return None
    cipher = ring.reader(record.encryption, name=path)
    try:
        stored = storage.read(path, limit_bytes=record.stored_size_bytes)
    except IntegrityError:  # it has grown, or is no file
        return None
    if len(stored) != record.stored_size_bytes:
        return None
    if cipher is None:
        return stored
    decryptor = cipher.decryptor()
    try:
        return decryptor.update(stored) + decryptor.finish()
    except EncryptionError:
        return None


def _unpack(frame: Bytes, size_bytes: int) -> bytes | None:
    """The content of a frame that declares this size or none; None for anything else."""
    try:
        if zstandard.frame_content_size(frame) not in (-1, size_bytes):
            return None
        return decompressor().decompress(frame, max_output_size=max(1, size_bytes))  # 0 would mean any size
    except zstandard.ZstdError:
        return None


class StoredReader(io.RawIOBase):
    """Plain bytes of a stored file, hashed while they are read and compared at the end.

    What is decrypted is appended to ``decrypted`` too, before it is decompressed.
    """

    def __init__(
        self,
        raw: BinaryIO,
        storage: Storage,
        path: str,
        record: FileRecord,
        ring: KeyRing,
        *,
        decrypted: bytearray | None = None,
    ) -> None:
        self._storage, self._path, self._record = storage, path, record
        self._cipher = ring.reader(record.encryption, name=path)
        self._layers: list[BinaryIO] = [raw]
        self._hash = hashlib.sha256()
        self._left = record.size_bytes
        if self._cipher is not None:
            self._layers.append(cast("BinaryIO", decrypting_reader(raw, self._cipher)))
        if decrypted is not None:
            self._layers.append(cast("BinaryIO", _Copying(self._layers[-1], decrypted)))
        if record.compression == "zstd":
            limit = max(record.size_bytes, LARGEST_WINDOW_BYTES)
            unpacker = zstandard.ZstdDecompressor(max_window_size=limit)
            reader = unpacker.stream_reader(self._layers[-1], read_size=_BUFFER_BYTES, closefd=False)
            self._layers.append(cast("BinaryIO", reader))

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = self.read_verified(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def readall(self) -> bytes:
        """All that is left. The base class would take 8 kB at a time."""
        return b"".join(iter(lambda: self.read_verified(_BUFFER_BYTES), b""))

    def read_verified(self, size: int) -> bytes:
        """At most ``size`` of the next bytes; none at the end, if everything was right."""
        try:
            data = self._layers[-1].read(size)
        except (zstandard.ZstdError, EncryptionError) as error:
            raise self._differs(error_in_words(type(error).__name__)) from None
        self._left -= len(data)
        self._hash.update(data)
        if self._left < 0:
            raise self._differs("more bytes")
        if not data and (self._left or self._hash.hexdigest() != self._record.sha256):
            raise self._differs("fewer bytes" if self._left else "another SHA-256")
        return data

    def close(self) -> None:
        if not self.closed:
            for layer in reversed(self._layers):
                layer.close()
        super().close()

    def _differs(self, got: str) -> IntegrityError | EncryptionError:
        """The error for plain bytes that are not those of the record: a wrong key, if the stored ones are."""
        if self._cipher is not None and self._is_stored_as_committed():
            return wrong_key(self._cipher, self._path)
        return IntegrityError(
            f"The content of {self._path!r} is not what was committed: {got}. Do not use what was read. The file was "
            "changed or damaged after it was committed: restore it from a backup, or run "
            "`dagster-beiwe verify --repair`, and then materialize its partition."
        )

    def _is_stored_as_committed(self) -> bool:
        digest, left = hashlib.sha256(), self._record.stored_size_bytes + 1  # it may have grown beyond reason
        try:
            with self._storage.open(self._path) as file:
                while chunk := file.read(min(left, _BUFFER_BYTES)):
                    digest.update(chunk)
                    left -= len(chunk)
        except (FileNotFoundError, IntegrityError):  # replaced since it was opened
            return False
        return digest.hexdigest() == self._record.stored_sha256


class _Copying:
    """A stream whose bytes are also appended elsewhere."""

    def __init__(self, source: BinaryIO, copy: bytearray) -> None:
        self._source, self._copy = source, copy

    def read(self, size: int = -1) -> bytes:
        data = self._source.read(size)
        self._copy += data
        return data

    def close(self) -> None:
        self._source.close()
