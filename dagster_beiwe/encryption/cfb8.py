"""AES in CFB8 mode, as cryptease uses it: each byte of the stored file depends on the 16 before it."""

from __future__ import annotations

from typing import Final

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher as _Primitive
from cryptography.hazmat.primitives.ciphers import CipherContext, algorithms, modes

from dagster_beiwe.encryption.cipher import Bytes

IV_BYTES: Final = 16


def cfb8_encryptor(key: bytes, iv: bytes) -> CipherContext:
    """The primitive itself, which locks one byte after the other."""
    # cryptography 47 deprecated the mode's old place; older versions have no other.
    try:
        from cryptography.hazmat.decrepit.ciphers.modes import CFB8
    except ImportError:
        from cryptography.hazmat.primitives.ciphers.modes import CFB8
    return _Primitive(algorithms.AES(key), CFB8(iv)).encryptor()


class Cfb8Decryption:
    """Decrypts CFB8 several times faster than the primitive, which takes one byte after the other.

    Each plain byte depends on nothing but the 16 stored bytes before it, so one call of AES over every window of 16
    bytes gives the key stream of a whole step. Encryption has no such way: there a byte needs the one before it.
    """

    _STEP_BYTES = 16 * 1024  # times 16 windows: fits a core's own cache

    def __init__(self, key: bytes, iv: bytes) -> None:
        self._aes = _Primitive(algorithms.AES(key), modes.ECB()).encryptor()  # noqa: S305  (CFB8's own building block)
        self._register = iv

    def update(self, data: Bytes) -> bytes:
        steps = range(0, len(data), self._STEP_BYTES)
        return b"".join(self._step(bytes(data[start : start + self._STEP_BYTES])) for start in steps)

    def _step(self, piece: bytes) -> bytes:
        stored = self._register + piece
        self._register = stored[-IV_BYTES:]
        windows = np.ndarray((len(piece),), "V16", stored, strides=(1,)).copy()
        key_stream = np.frombuffer(self._aes.update(windows.view(np.uint8).data), np.uint8)[::IV_BYTES]
        return (key_stream ^ np.frombuffer(stored, np.uint8)[IV_BYTES:]).tobytes()
