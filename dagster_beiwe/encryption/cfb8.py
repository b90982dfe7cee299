"""AES in CFB8 mode, as cryptease uses it: each byte of the stored file depends on the 16 before it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import cached_property
from typing import Final

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher as _Primitive
from cryptography.hazmat.primitives.ciphers import CipherContext, algorithms, modes

from dagster_beiwe.encryption.cipher import Bytes

IV_BYTES: Final = 16

_FEWEST_LANES: Final = 96
"""With fewer files than this the primitive is as fast, and it can run in several threads at once."""

_TILE_BYTES: Final = 4096
"""How much of each file is worked on at a time: some hundred such rows fit a core's own cache."""

_STEP_BYTES: Final = 16 * 1024
"""How much is decrypted at a time. Both buffers, 16 times this size each, fit a core's own cache."""

_LITTLE_BYTES: Final = 4 * 1024
"""Up to this size, new buffers cost next to nothing."""


class _Thread(threading.local):
    @cached_property
    def buffers(self) -> tuple[np.ndarray, np.ndarray]:
        return _new_buffers(_STEP_BYTES)


_thread = _Thread()


def cfb8_encryptor(key: bytes, iv: bytes) -> CipherContext:
    """The primitive itself, which encrypts one byte after the other."""
    # cryptography 47 deprecated the mode's old place; older versions have no other.
    try:
        from cryptography.hazmat.decrepit.ciphers.modes import CFB8
    except ImportError:
        from cryptography.hazmat.primitives.ciphers.modes import CFB8
    return _Primitive(algorithms.AES(key), CFB8(iv)).encryptor()


class Cfb8Decryption:
    """Decrypts CFB8 several times faster than the primitive, which takes one byte after the other.

    Each plain byte depends on nothing but the 16 stored bytes before it, so one call of AES over every window of 16
    bytes gives the key stream of a whole step. Encryption has no such way within a file: see ``encrypt_in_step``.
    """

    def __init__(self, key: bytes, iv: bytes) -> None:
        self._aes = _Primitive(algorithms.AES(key), modes.ECB()).encryptor()  # noqa: S305  (CFB8's own building block)
        self._register = iv

    def update(self, data: Bytes) -> bytes:
        stored = self._register + data
        self._register = stored[-IV_BYTES:]
        windows = np.ndarray((len(data),), "V16", stored, strides=(1,))
        plain = np.frombuffer(bytearray(data), np.uint8)
        taken, stream = _buffers(len(data))
        for start in range(0, len(data), _STEP_BYTES):
            part = plain[start : start + _STEP_BYTES]
            now = taken[: len(part)]
            now[:] = windows[start : start + len(part)]
            self._aes.update_into(now.view(np.uint8).data, stream.data)
            np.bitwise_xor(part, stream[: IV_BYTES * len(part) : IV_BYTES], part)
        return plain.tobytes()


def _buffers(size_bytes: int) -> tuple[np.ndarray, np.ndarray]:
    """Buffers for one step. Allocating large ones takes longer than decrypting, so each thread keeps its own."""
    return _new_buffers(size_bytes) if size_bytes <= _LITTLE_BYTES else _thread.buffers


def _new_buffers(size_bytes: int) -> tuple[np.ndarray, np.ndarray]:
    return np.empty(size_bytes, "V16"), np.empty(IV_BYTES * (size_bytes + 1), np.uint8)


def encrypt_in_step(
    key: bytes, ivs: Sequence[bytes], files: Sequence[bytearray], *, fewest: int = _FEWEST_LANES
) -> int:
    """Encrypt the beginning of many files in place, several times faster than one after the other.

    A byte has to wait for the one before it in its own file, but not for those of others: so all files go forward in
    step, and one call of AES serves the next byte of each. Returns up to where that was worth it, with ``fewest``
    files or more: those that are longer have their rest encrypted by ``encrypt_rest``.
    """
    order = sorted(zip(ivs, files, strict=True), key=lambda each: len(each[1]), reverse=True)
    longest = len(order[0][1]) if order else 0
    for start in range(0, longest, _TILE_BYTES):
        order = [(iv, file) for iv, file in order if len(file) > start]
        if len(order) < fewest:
            return start
        _encrypt_tile(key, order, start)
    return longest


def encrypt_rest(key: bytes, iv: bytes, file: bytearray, start: int) -> bytes:
    """The stored bytes from ``start`` on of a file that is encrypted up to there."""
    return cfb8_encryptor(key, _register(iv, file, start)).update(bytes(file[start:]))


def _register(iv: bytes, file: bytearray, start: int) -> bytes:
    """The 16 stored bytes that the byte at ``start`` depends on."""
    return bytes(file[start - IV_BYTES : start]) if start else iv


def _encrypt_tile(key: bytes, order: Sequence[tuple[bytes, bytearray]], start: int) -> None:
    """The next bytes of every file; ``order`` has the longest first, so that those still going are the first rows."""
    lengths = [min(_TILE_BYTES, len(file) - start) for _, file in order]
    rows = np.zeros((len(order), IV_BYTES + _TILE_BYTES), np.uint8)
    chunks = [np.frombuffer(file, np.uint8, length, start) for length, (_, file) in zip(lengths, order, strict=True)]
    for row, length, chunk, (iv, file) in zip(rows, lengths, chunks, order, strict=True):
        row[:IV_BYTES] = np.frombuffer(_register(iv, file, start), np.uint8)
        row[IV_BYTES : IV_BYTES + length] = chunk
    windows = np.ndarray((_TILE_BYTES, len(order)), "V16", rows, strides=(1, rows.strides[0]))
    columns = rows.T[IV_BYTES:]
    aes = _Primitive(algorithms.AES(key), modes.ECB()).encryptor()  # noqa: S305  (CFB8's own building block)
    update_into, xor = aes.update_into, np.bitwise_xor
    taken = np.empty(len(order), "V16")
    stream = np.empty(IV_BYTES * (len(order) + 1), np.uint8)
    done, going = 0, len(order)
    while going:
        end = lengths[going - 1]
        now, pad = taken[:going], stream[: IV_BYTES * going : IV_BYTES]
        block, result = now.view(np.uint8).data, stream.data
        for window, column in zip(windows[done:end, :going], columns[done:end, :going], strict=True):
            now[:] = window
            update_into(block, result)
            xor(column, pad, column)
        done = end
        while going and lengths[going - 1] == end:
            going -= 1
    for row, length, chunk in zip(rows, lengths, chunks, strict=True):
        chunk[:] = row[IV_BYTES : IV_BYTES + length]
