"""A stored file is read back at once or in chunks: both give its content, and refuse everything else alike."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from core_helpers import PASSPHRASE, PERSON, STUDY, commit

from dagster_beiwe.encryption import CrypteaseCipher, decrypt_bytes
from dagster_beiwe.errors import BeiweError, EncryptionError, IntegrityError
from dagster_beiwe.lake import BeiweLake, FileRecord, StudyLake
from dagster_beiwe.lake.staging import SMALL_BYTES

CONTENT = b"timestamp,UTC time,latitude\n" * 40


def in_chunks(lake: StudyLake, record: FileRecord) -> bytes:
    with lake.open(PERSON, record) as file:
        return b"".join(iter(lambda: file.read(100), b""))


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
    decrypted = bytes(lake.read_decrypted(PERSON, record))
    unpacked = (
        zstandard.ZstdDecompressor().decompressobj().decompress(decrypted) if compression == "zstd" else decrypted
    )
    assert unpacked == content
    lake.prove(PERSON, record)


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
        refusal(lambda: lake.read_decrypted(PERSON, record)),
        refusal(lambda: lake.prove(PERSON, record)),
    }
    assert len(refusals) == 1, refusals
    assert refusals.pop()[0] is IntegrityError
