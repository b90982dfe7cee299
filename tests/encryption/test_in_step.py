"""Many small files are locked in step, and open as if each had been locked alone."""

from __future__ import annotations

import io
import os
from random import Random

import cryptease
from encryption_helpers import PASSPHRASE, oracle_warnings, pushed
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dagster_beiwe.encryption import CrypteaseCipher

SIZES = st.lists(st.one_of(st.integers(0, 40), st.integers(4080, 4112), st.integers(0, 6000)), max_size=30)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sizes=SIZES, copies=st.sampled_from([1, 5, 30]), seed=st.integers(0, 1000))
def test_files_locked_together_open_one_by_one(
    cipher: CrypteaseCipher, sizes: list[int], copies: int, seed: int
) -> None:
    """However many there are and whatever their sizes: in step or one after the other, the content is the same."""
    random = Random(seed)
    plain = [random.randbytes(size) for size in sizes * copies]
    locked = cipher.encrypt_all([bytearray(each) for each in plain])
    assert [pushed(cipher.decryptor(), b"".join(chunks)) for chunks in locked] == plain


@oracle_warnings
def test_cryptease_opens_what_is_locked_together(cipher: CrypteaseCipher) -> None:
    """Of many files, a short, a middling and the longest one."""
    plain = [os.urandom(29 * number) for number in range(150)]
    locked = cipher.encrypt_all([bytearray(each) for each in plain])
    for number in (1, 75, 149):
        stored = io.BytesIO(b"".join(locked[number]))
        key = cryptease.key_from_file(stored, PASSPHRASE)
        assert b"".join(cryptease.decrypt(stored, key)) == plain[number]
