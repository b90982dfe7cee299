"""Ciphers for data at rest: ``cryptease`` (a passphrase) and ``age`` (public keys).

Both are push style, so that plain bytes go from the network through a cipher to the disk without a temporary file::

    encryptor = CrypteaseCipher(passphrase).encryptor()
    stored = encryptor.update(b"plain ") + encryptor.update(b"bytes") + encryptor.finish()

A file of cryptease is a 4-byte native unsigned length, a JSON header of that length (cipher, key derivation with its
salt, IV), the 16 bytes of the IV again, and the data under AES-256 in CFB8 mode. That mode hides but does not
authenticate: **a wrong passphrase or a changed file gives wrong bytes, not an error.** Whoever reads must compare
hashes, as the lake does with its manifests. age authenticates each 64 KiB and the end of the file.
"""

from __future__ import annotations

import base64
import binascii
import io
import json
import os
import struct
import threading
from collections import OrderedDict
from typing import BinaryIO, Final

import cryptease
import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher as _Primitive
from cryptography.hazmat.primitives.ciphers import CipherContext, algorithms, modes

from dagster_beiwe.age import AgeCipher
from dagster_beiwe.ciphers import PIECE_BYTES, Bytes, Cipher, Decryptor, Encryptor
from dagster_beiwe.errors import ConfigurationError, EncryptionError, PassphraseMissingError

__all__ = [
    "PIECE_BYTES",
    "AgeCipher",
    "Bytes",
    "Cipher",
    "CrypteaseCipher",
    "Decryptor",
    "Encryptor",
    "decrypt_bytes",
    "decrypting_reader",
    "encrypt_bytes",
]

_LENGTH: Final = struct.Struct("I")
_LONGEST_HEADER_BYTES: Final = 16 * 1024
_IV_BYTES: Final = 16
_KEY_BYTES: Final = 32
_ITERATIONS: Final = 100_000
_SALT_BYTES: Final = range(8, 129)
_KEPT_KEYS: Final = 64
_AES_CFB8: Final = {"function": "AES", "params": {"bits": 256, "mode": "CFB8"}}


class CrypteaseCipher(Cipher):
    """The file format of ``cryptease``, which ``crypt.py`` and mano open with the same passphrase.

    One instance derives one key for all that it writes (with a random salt of its own, at the first file) and gives
    each file a random IV; keys for reading are derived once per salt and kept. Use one instance per run, from as many
    threads as you like. Raises ``PassphraseMissingError`` for an empty passphrase.
    """

    name = "cryptease"

    def __init__(self, passphrase: str) -> None:
        if not passphrase:
            raise PassphraseMissingError(
                "Expected a passphrase to lock or unlock files with, got an empty one; nothing was done. "
                "Set BEIWE_LAKE_PASSPHRASE, or the study's entry in the SECRETS of the keyring."
            )
        if any("\ud800" <= character <= "\udfff" for character in passphrase):
            raise ConfigurationError(
                "Expected a passphrase in UTF-8, got one with undecodable bytes; nothing was done. "
                "Set it in a UTF-8 terminal or file."
            )
        self._passphrase = passphrase
        self._lock = threading.Lock()
        self._write_salt: bytes | None = None
        self._keys: OrderedDict[bytes, cryptease.Key] = OrderedDict()

    def encryptor(self) -> Encryptor:
        return _CrypteaseEncryptor(self._write_key())

    def decryptor(self) -> Decryptor:
        return _CrypteaseDecryptor(self)

    def read_key(self, salt: bytes) -> bytes:
        """The key of files with this salt, derived at most once as long as it is among the last used ones."""
        with self._lock:
            return bytes(self._derived(salt).key)

    def _write_key(self) -> cryptease.Key:
        with self._lock:
            if self._write_salt is None:
                self._write_salt = os.urandom(32)
            return self._derived(self._write_salt)

    def _derived(self, salt: bytes) -> cryptease.Key:
        key = self._keys.pop(salt, None) or cryptease.kdf(self._passphrase, salt=salt)
        self._keys[salt] = key
        if len(self._keys) > _KEPT_KEYS:
            self._keys.popitem(last=False)
        return key


class _CrypteaseEncryptor:
    def __init__(self, key: cryptease.Key) -> None:
        iv = os.urandom(_IV_BYTES)
        self._head: bytes = cryptease.create_header(_AES_CFB8, key.metadata, iv).read() + iv
        self._context = _cfb8_encryptor(key.key, iv)

    def update(self, data: Bytes) -> bytes:
        head, self._head = self._head, b""
        stored = self._context.update(data)
        return head + stored if head else stored

    def finish(self) -> bytes:
        head, self._head = self._head, b""
        return head + self._context.finalize()


class _CrypteaseDecryptor:
    def __init__(self, cipher: CrypteaseCipher) -> None:
        self._cipher = cipher
        self._head = bytearray()
        self._payload: _Cfb8Decryption | None = None

    def update(self, data: Bytes) -> bytes:
        if self._payload is not None:
            return self._payload.update(data)
        self._head += data
        length = _header_length(self._head)
        if length is None or len(self._head) < _LENGTH.size + length + _IV_BYTES:
            return b""
        header_end = _LENGTH.size + length
        iv_end = header_end + _IV_BYTES
        iv = bytes(self._head[header_end:iv_end])
        salt = _checked_salt(bytes(self._head[_LENGTH.size : header_end]), iv)
        self._payload = _Cfb8Decryption(self._cipher.read_key(salt), iv)
        rest = bytes(self._head[iv_end:])
        self._head.clear()
        return self._payload.update(rest)

    def finish(self) -> bytes:
        if self._payload is None:
            raise _not_cryptease(f"it ends after {len(self._head)} bytes, inside its header")
        return b""


def _cfb8_encryptor(key: bytes, iv: bytes) -> CipherContext:
    # cryptography 47 deprecated the mode's old place; older versions have no other.
    try:
        from cryptography.hazmat.decrepit.ciphers.modes import CFB8
    except ImportError:
        from cryptography.hazmat.primitives.ciphers.modes import CFB8
    return _Primitive(algorithms.AES(key), CFB8(iv)).encryptor()


class _Cfb8Decryption:
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
        self._register = stored[-_IV_BYTES:]
        windows = np.ndarray((len(piece),), "V16", stored, strides=(1,)).copy()
        key_stream = np.frombuffer(self._aes.update(windows.view(np.uint8).data), np.uint8)[::_IV_BYTES]
        return (key_stream ^ np.frombuffer(stored, np.uint8)[_IV_BYTES:]).tobytes()


def _not_cryptease(reason: str) -> EncryptionError:
    return EncryptionError(
        f"Expected a file locked by cryptease, got something else: {reason}. Nothing was decrypted. The file is cut, "
        "damaged or of another cipher: compare it with its manifest, or download it again."
    )


def _header_length(head: bytearray) -> int | None:
    """Length of the JSON header in bytes, or None while its four bytes are not all there."""
    if len(head) < _LENGTH.size:
        return None
    length = int(_LENGTH.unpack_from(head)[0])
    if not 2 <= length <= _LONGEST_HEADER_BYTES:
        raise _not_cryptease(f"its header claims {length} bytes")
    return length


def _checked_salt(header: bytes, iv: bytes) -> bytes:
    """The salt of a header that describes exactly what cryptease writes.

    cryptease itself takes only the salt from the header and assumes the rest, so a header that says otherwise would
    be decrypted into garbage. The IV beside the header is the one that counts.
    """
    try:
        fields = json.loads(header)
        derivation = fields["kdf"]
        parameters = derivation["params"]
        described = (
            fields["cipher"] == _AES_CFB8,
            derivation["function"] == "PBKDF2HMAC",
            parameters["algorithm"] == "sha256",
            parameters["iterations"] == _ITERATIONS,
            parameters["length"] == _KEY_BYTES,
            base64.b64decode(fields["iv"], validate=True) == iv,
        )
        salt = base64.b64decode(parameters["salt"], validate=True)
    except (ValueError, RecursionError, LookupError, TypeError, binascii.Error) as error:
        raise _not_cryptease(f"its header can't be read ({type(error).__name__})") from None
    if not all(described):
        names = ("cipher", "key derivation", "hash", "iterations", "key length", "IV")
        wrong = ", ".join(name for name, right in zip(names, described, strict=True) if not right)
        raise _not_cryptease(f"its header has another {wrong} than cryptease uses")
    if len(salt) not in _SALT_BYTES:
        raise _not_cryptease(f"its salt has {len(salt)} bytes")
    return salt


class _DecryptingReader(io.RawIOBase):
    def __init__(self, source: BinaryIO, decryptor: Decryptor) -> None:
        super().__init__()
        self._source = source
        self._decryptor = decryptor
        self._plain = memoryview(b"")
        self._ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        while not self._plain and not self._ended:
            stored = self._source.read(PIECE_BYTES)
            self._ended = not stored
            self._plain = memoryview(self._decryptor.update(stored) if stored else self._decryptor.finish())
        target = memoryview(buffer).cast("B")  # type: ignore[arg-type]  # typeshed's Buffer needs Python 3.12
        count = min(len(target), len(self._plain))
        target[:count] = self._plain[:count]
        self._plain = self._plain[count:]
        return count

    def close(self) -> None:
        if not self.closed:
            self._source.close()
        super().close()


def decrypting_reader(source: BinaryIO, cipher: Cipher) -> io.RawIOBase:
    """A readable raw stream of the plain bytes of ``source``, which it closes when it is closed.

    Holds a piece of the file at a time. Wrap it in ``io.BufferedReader`` to read lines. Raises ``EncryptionError``
    while reading if the file is not of this cipher.
    """
    return _DecryptingReader(source, cipher.decryptor())


def encrypt_bytes(data: bytes, passphrase: str) -> bytes:
    """Something small (a keyring) in cryptease's format, as ``crypt.py --decrypt`` opens it."""
    encryptor = CrypteaseCipher(passphrase).encryptor()
    return encryptor.update(data) + encryptor.finish()


def decrypt_bytes(data: bytes, passphrase: str) -> bytes:
    """The plain bytes of something small in cryptease's format.

    Raises ``EncryptionError`` for what is not in that format. A wrong passphrase gives garbage, not an error.
    """
    decryptor = CrypteaseCipher(passphrase).decryptor()
    return decryptor.update(data) + decryptor.finish()
