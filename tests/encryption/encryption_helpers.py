"""What the tests of ciphers share."""

from __future__ import annotations

import pytest

from dagster_beiwe.encryption import CHUNK_BYTES, Decryptor, Encryptor

PASSPHRASE = "correct horse ünïcode"

# cryptease itself still asks for the mode in its old place.
oracle_warnings = pytest.mark.filterwarnings("ignore:CFB8 has been moved")


def pushed(machine: Encryptor | Decryptor, data: bytes, chunk_bytes: int = CHUNK_BYTES) -> bytes:
    chunks = [data[start : start + chunk_bytes] for start in range(0, len(data), chunk_bytes)]
    return b"".join([*map(machine.update, chunks), machine.finish()])
