"""What the tests of ciphers share."""

from __future__ import annotations

import pytest

from dagster_beiwe.encryption import PIECE_BYTES, Decryptor, Encryptor

PASSPHRASE = "correct horse ünïcode"

# cryptease itself still asks for the mode in its old place.
oracle_warnings = pytest.mark.filterwarnings("ignore:CFB8 has been moved")


def pushed(machine: Encryptor | Decryptor, data: bytes, piece_bytes: int = PIECE_BYTES) -> bytes:
    pieces = [data[start : start + piece_bytes] for start in range(0, len(data), piece_bytes)]
    return b"".join([*map(machine.update, pieces), machine.finish()])
