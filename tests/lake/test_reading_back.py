"""A stored file is read back at once or in chunks: both give its content, and refuse everything else alike."""

from __future__ import annotations

import hashlib
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import msgspec
import pytest
import zstandard
from core_helpers import PASSPHRASE, PERSON, STUDY, commit

from dagster_beiwe.encryption import Bytes, CrypteaseCipher, decrypt_bytes
from dagster_beiwe.errors import BeiweError, EncryptionError, IntegrityError
from dagster_beiwe.file_tree import FileTree
from dagster_beiwe.lake import BeiweLake, FileRecord, StudyLake
from dagster_beiwe.lake.staging import SMALL_BYTES
from dagster_beiwe.lake.stored import prove_stored, read_decrypted

CONTENT = b"timestamp,UTC time,latitude\n" * 40


def in_chunks(lake: StudyLake, record: FileRecord) -> bytes:
    with lake.open(PERSON, record) as file:
        return b"".join(iter(lambda: file.read(100), b""))


def decrypted_of(lake: StudyLake, record: FileRecord) -> Bytes:
    return read_decrypted(lake.storage, lake.folder(PERSON, record.path), record, lake.ring)


def prove(lake: StudyLake, record: FileRecord, *, decrypted_sha256: str = "") -> None:
    path = lake.folder(PERSON, record.path)
    prove_stored(lake.storage, path, record, lake.ring, decrypted_sha256=decrypted_sha256)


def encrypted(data: bytes) -> bytes:
    encryptor = CrypteaseCipher(PASSPHRASE).encryptor()
    return encryptor.update(data) + encryptor.finish()


def frame(data: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(data)


@pytest.mark.parametrize("compression", ["zstd", "none"])
@pytest.mark.parametrize("cipher", ["cryptease", None])
@pytest.mark.parametrize("content", [b"", b"x", CONTENT, os.urandom(SMALL_BYTES + 1)])
def test_every_way_to_read_gives_the_same_content(
    folder: Path, cipher: str | None, compression: str, content: bytes
) -> None:
    """Small and large, empty, compressed, encrypted, or neither."""
    lake = BeiweLake(folder).study(STUDY, passphrase=PASSPHRASE, cipher=cipher, compression=compression)  # type: ignore[arg-type]
    (record,) = commit(lake, {1: content}).files
    assert lake.read(PERSON, record) == in_chunks(lake, record) == content
    decrypted = bytes(decrypted_of(lake, record))
    unpacked = (
        zstandard.ZstdDecompressor().decompressobj().decompress(decrypted) if compression == "zstd" else decrypted
    )
    assert unpacked == content
    for proof in ("", hashlib.sha256(decrypted).hexdigest(), "of something else"):
        prove(lake, record, decrypted_sha256=proof)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda stored: stored[:-1], id="cut"),
        pytest.param(lambda stored: stored[:200] + bytes([stored[200] ^ 1]) + stored[201:], id="a bit"),
        pytest.param(lambda stored: b"", id="empty"),
        pytest.param(lambda stored: b"no file of cryptease", id="another format"),
        pytest.param(lambda stored: encrypted(frame(b"other" + CONTENT[5:])), id="other content"),
        pytest.param(lambda stored: encrypted(frame(CONTENT + b"more")), id="more content"),
        pytest.param(lambda stored: encrypted(frame(CONTENT[:-1])), id="less content"),
        pytest.param(lambda stored: encrypted(frame(b"\0" * 2**30)), id="a bomb"),
        pytest.param(lambda stored: encrypted(CONTENT), id="not compressed"),
    ],
)
def test_a_changed_file_is_refused_in_the_same_words_however_it_is_read(
    lake: StudyLake, folder: Path, change: Callable[[bytes], bytes]
) -> None:
    """None of it is returned."""
    (record,) = commit(lake, {1: CONTENT}).files
    path = folder / lake.folder(PERSON, record.path)
    assert decrypt_bytes(path.read_bytes(), PASSPHRASE)
    path.write_bytes(change(path.read_bytes()))

    def refusal(read: Callable[[], object]) -> tuple[type[BeiweError], str]:
        with pytest.raises((IntegrityError, EncryptionError)) as caught:
            read()
        return caught.type, str(caught.value)

    refusals = {
        refusal(lambda: lake.read(PERSON, record)),
        refusal(lambda: in_chunks(lake, record)),
        refusal(lambda: decrypted_of(lake, record)),
        refusal(lambda: prove(lake, record)),
        refusal(lambda: prove(lake, record, decrypted_sha256=hashlib.sha256(frame(CONTENT)).hexdigest())),
    }
    assert len(refusals) == 1, refusals
    assert refusals.pop()[0] is IntegrityError


def test_another_file_of_the_same_size_is_refused(folder: Path) -> None:
    """Nothing but a hash tells them apart."""
    lake = BeiweLake(folder).study(STUDY, passphrase=PASSPHRASE, compression="none")
    (record,) = commit(lake, {1: CONTENT}).files
    path = folder / lake.folder(PERSON, record.path)
    other = encrypted(CONTENT[::-1])
    assert len(other) == path.stat().st_size
    path.write_bytes(other)
    for read in (
        lambda: lake.read(PERSON, record),
        lambda: in_chunks(lake, record),
        lambda: decrypted_of(lake, record),
        lambda: prove(lake, record),
        lambda: prove(lake, record, decrypted_sha256=record.sha256),
    ):
        with pytest.raises(IntegrityError):
            read()


@pytest.mark.parametrize("size_bytes", [0, 1, 20_000, SMALL_BYTES])
def test_a_small_file_is_opened_once(lake: StudyLake, monkeypatch: pytest.MonkeyPatch, size_bytes: int) -> None:
    """In an object store, each time is a request."""
    (record,) = commit(lake, {1: os.urandom(size_bytes)}).files
    opened: list[str] = []
    real = FileTree.open, FileTree.read

    def opens(self: FileTree, path: str) -> BinaryIO:
        opened.append(path)
        return real[0](self, path)

    def reads(self: FileTree, path: str, *, limit_bytes: int) -> bytes:
        opened.append(path)
        return real[1](self, path, limit_bytes=limit_bytes)

    monkeypatch.setattr(FileTree, "open", opens)
    monkeypatch.setattr(FileTree, "read", reads)
    assert len(lake.read(PERSON, record)) == size_bytes
    decrypted_of(lake, record)
    prove(lake, record)
    assert len(opened) == 3


def test_a_size_that_a_frame_declares_is_not_believed(lake: StudyLake, folder: Path) -> None:
    """It would be taken as memory before a byte is unpacked."""
    (record,) = commit(lake, {1: CONTENT}).files
    bomb = frame(bytes(2**28))
    (folder / lake.folder(PERSON, record.path)).write_bytes(encrypted(bomb))
    forged = msgspec.structs.replace(record, stored_size_bytes=len(encrypted(bomb)))
    tracemalloc.start()
    try:
        with pytest.raises(IntegrityError):
            lake.read(PERSON, forged)
        assert tracemalloc.get_traced_memory()[1] < 2**26
    finally:
        tracemalloc.stop()
