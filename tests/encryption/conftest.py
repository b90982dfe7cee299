"""A cipher that need not be made for each test."""

from __future__ import annotations

import pytest
from encryption_helpers import PASSPHRASE

from dagster_beiwe.encryption import CrypteaseCipher


@pytest.fixture(scope="session")
def cipher() -> CrypteaseCipher:
    """One cipher for all: a key derivation takes a tenth of a second."""
    return CrypteaseCipher(PASSPHRASE)
