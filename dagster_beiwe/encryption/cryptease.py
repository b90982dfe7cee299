"""The file format of ``cryptease``.

A file is a 4-byte native unsigned length, a JSON header of that length (cipher, key derivation with its salt, IV), the
16 bytes of the IV again, and the data under AES-256 in CFB8 mode.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import struct
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import cryptease

from dagster_beiwe.encryption.cfb8 import IV_BYTES, Cfb8Decryption, cfb8_encryptor, encrypt_in_step, encrypt_rest
from dagster_beiwe.encryption.cipher import Bytes, Cipher, CipherKeys, Decryptor, Encryptor
from dagster_beiwe.environment import BEIWE_LAKE_PASSPHRASE
from dagster_beiwe.errors import ConfigurationError, EncryptionError, PassphraseMissingError
from dagster_beiwe.text import error_in_words

if TYPE_CHECKING:
    from typing_extensions import Self

_LENGTH: Final = struct.Struct("I")
_LONGEST_HEADER_BYTES: Final = 16 * 1024
_KEY_BYTES: Final = 32
_ITERATIONS: Final = 100_000
_SALT_BYTES: Final = range(8, 129)
_KEPT_KEYS: Final = 64
_BLANK_IV: Final = bytes(IV_BYTES)
_AES_CFB8: Final = {"function": "AES", "params": {"bits": 256, "mode": "CFB8"}}


class CrypteaseCipher(Cipher):
    """The file format of ``cryptease``, which ``crypt.py`` and mano open with the same passphrase.

    One instance derives one key for all that it writes (with a random salt of its own, at the first file) and gives
    each file a random IV; keys for reading are derived once per salt and kept. Use one instance per run, from as many
    threads as you like. Raises ``PassphraseMissingError`` for an empty passphrase.
    """

    name = "cryptease"
    key_name = "passphrase"
    where_keys_come_from = f"Set {BEIWE_LAKE_PASSPHRASE}, or the study's entry in the keyring's SECRETS"

    def __init__(self, passphrase: str) -> None:
        if not passphrase:
            raise PassphraseMissingError(
                "No passphrase to encrypt or decrypt files with; nothing was downloaded, read or written. Set "
                f"{BEIWE_LAKE_PASSPHRASE} or the study's entry in the keyring's SECRETS, or turn encryption off by "
                "name (`encryption: none` in the study's configuration, `cipher=None` in Python)."
            )
        if any("\ud800" <= character <= "\udfff" for character in passphrase):
            raise ConfigurationError(
                "The passphrase is not UTF-8. Nothing was done. Set it in a UTF-8 terminal or file."
            )
        self._passphrase = passphrase
        self._lock = threading.Lock()
        self._write_salt: bytes | None = None
        self._keys: OrderedDict[bytes, cryptease.Key] = OrderedDict()

    @classmethod
    def from_keys(cls, keys: CipherKeys) -> Self:
        return cls(keys.passphrase or "")

    @property
    def keys(self) -> CipherKeys:
        return CipherKeys(passphrase=self._passphrase)

    @classmethod
    def can_decrypt_with(cls, keys: CipherKeys) -> bool:
        return bool(keys.passphrase)

    @classmethod
    def recognizes(cls, head: bytes) -> bool:
        length = _LENGTH.unpack(head[: _LENGTH.size])[0] if len(head) > _LENGTH.size else 0
        return 0 < length <= _LONGEST_HEADER_BYTES and head[_LENGTH.size :].startswith(b"{")

    def prepare(self) -> None:
        self._write_key()

    def encryptor(self) -> Encryptor:
        return _CrypteaseEncryptor(self._write_key())

    def encrypt_all(self, files: Sequence[bytearray]) -> list[Iterator[Bytes]]:
        key = self._write_key()
        drawn = os.urandom(IV_BYTES * len(files))
        ivs = [drawn[start : start + IV_BYTES] for start in range(0, len(drawn), IV_BYTES)]
        done = encrypt_in_step(key.key, ivs, files)
        # Making a header takes as long as encrypting a small file: they differ in the IV only.
        before, after = _header(key, _BLANK_IV).split(base64.b64encode(_BLANK_IV))
        heads = (before + base64.b64encode(iv) + after + iv for iv in ivs)
        return [_chunks(head, key, iv, file, done) for head, iv, file in zip(heads, ivs, files, strict=True)]

    def decryptor(self) -> Decryptor:
        return _CrypteaseDecryptor(self)

    def read_key(self, salt: bytes) -> bytes:
        """The key of files with this salt, derived at most once as long as it is among the last used ones."""
        with self._lock:
            return bytes(self._derived(salt).key)

    def _write_key(self) -> cryptease.Key:
        with self._lock:
            if self._write_salt is None:
                self._write_salt = new_salt()
            return self._derived(self._write_salt)

    def _derived(self, salt: bytes) -> cryptease.Key:
        key = self._keys.pop(salt, None) or cryptease.kdf(self._passphrase, salt=salt)
        self._keys[salt] = key
        if len(self._keys) > _KEPT_KEYS:
            self._keys.popitem(last=False)
        return key


def new_salt() -> bytes:
    """The random salt of a key to write with."""
    return os.urandom(_KEY_BYTES)


def _header(key: cryptease.Key, iv: bytes) -> bytes:
    """What a file begins with, up to its IV."""
    header: bytes = cryptease.create_header(_AES_CFB8, key.metadata, iv).read()
    return header


def _chunks(head: bytes, key: cryptease.Key, iv: bytes, file: bytearray, done: int) -> Iterator[Bytes]:
    """The stored form of a file whose first ``done`` bytes are encrypted already."""
    yield head
    if len(file) <= done:
        yield file
    else:
        yield file[:done]
        yield encrypt_rest(key.key, iv, file, done)


class _CrypteaseEncryptor:
    def __init__(self, key: cryptease.Key) -> None:
        iv = os.urandom(IV_BYTES)
        self._head = _header(key, iv) + iv
        self._context = cfb8_encryptor(key.key, iv)

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
        self._payload: Cfb8Decryption | None = None

    def update(self, data: Bytes) -> bytes:
        if self._payload is not None:
            return self._payload.update(data)
        self._head += data
        length = _header_length(self._head)
        if length is None or len(self._head) < _LENGTH.size + length + IV_BYTES:
            return b""
        header_end = _LENGTH.size + length
        iv_end = header_end + IV_BYTES
        iv = bytes(self._head[header_end:iv_end])
        salt = _checked_salt(bytes(self._head[_LENGTH.size : header_end]), iv)
        self._payload = Cfb8Decryption(self._cipher.read_key(salt), iv)
        rest = bytes(self._head[iv_end:])
        self._head.clear()
        return self._payload.update(rest)

    def finish(self) -> bytes:
        if self._payload is None:
            raise _not_cryptease(f"it ends after {len(self._head)} bytes, inside its header")
        return b""


def plain_size(head: bytes, size_bytes: int) -> int:
    """The size of what a file of ``size_bytes`` holds, by its first bytes; needs no passphrase.

    Raises ``EncryptionError`` for a file that is not in cryptease's format.
    """
    length = _header_length(bytearray(head))
    if length is None or (size := size_bytes - _LENGTH.size - length - IV_BYTES) < 0:
        raise _not_cryptease(f"it ends after {size_bytes} bytes, inside its header")
    return size


def _not_cryptease(reason: str) -> EncryptionError:
    return EncryptionError(
        f"The file was not written by cryptease: {reason}. Nothing was decrypted. It is cut, damaged or of another "
        "cipher: compare it with its manifest, or download it again."
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
    blank, encoded = base64.b64encode(_BLANK_IV), base64.b64encode(iv)
    if encoded in header and blank not in header:
        header, iv = header.replace(encoded, blank), _BLANK_IV
    return _salt_of(header, iv)


@lru_cache(maxsize=_KEPT_KEYS)
def _salt_of(header: bytes, iv: bytes) -> bytes:
    """See ``_checked_salt``. The headers of one key differ in the IV only, so they are the same with a blank one."""
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
        raise _not_cryptease(f"its header cannot be read ({error_in_words(type(error).__name__)})") from None
    if not all(described):
        names = ("cipher", "key derivation", "hash", "iterations", "key length", "IV")
        wrong = ", ".join(name for name, right in zip(names, described, strict=True) if not right)
        raise _not_cryptease(f"its header has another {wrong} than cryptease uses")
    if len(salt) not in _SALT_BYTES:
        raise _not_cryptease(f"its salt has {len(salt)} bytes")
    return salt


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
