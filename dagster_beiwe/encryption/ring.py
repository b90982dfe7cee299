"""The keys that were given: what they encrypt with, and which of them decrypts a file."""

from __future__ import annotations

import hashlib

from dagster_beiwe.encryption.cipher import Cipher, CipherKeys
from dagster_beiwe.encryption.registry import CIPHERS, UNENCRYPTED, check_cipher
from dagster_beiwe.errors import EncryptionError, IntegrityError


class KeyRing:
    """Encrypts with one cipher, and decrypts what any cipher encrypted whose key was given.

    A lake holds files of several ciphers: a study may change its cipher, and what was encrypted before stays as it is.
    So each file is decrypted by the cipher that its record names, with the key of ``cipher`` itself or one of ``keys``.
    ``cipher`` encrypts; None encrypts nothing. Raises ``ConfigurationError`` for an invalid cipher or key.
    """

    def __init__(self, cipher: Cipher | None, keys: CipherKeys) -> None:
        self.cipher = check_cipher(cipher)
        self.keys = keys
        readers = [kind.from_keys(keys) for kind in CIPHERS.values() if kind.can_decrypt_with(keys)]
        if self.cipher is not None and self.cipher.can_decrypt:
            readers.append(self.cipher)
        self._readers = {each.name: each for each in readers}

    def __repr__(self) -> str:
        return f"<KeyRing for {', '.join(self._readers) or 'nothing'}>"

    def can_decrypt(self, encryption: str) -> bool:
        """Whether there is a key for files of a cipher, as manifests name it."""
        return encryption == UNENCRYPTED or encryption in self._readers

    def reader(self, encryption: str, *, name: str) -> Cipher | None:
        """The cipher that decrypts the file ``name``; None for one that is not encrypted.

        Raises ``EncryptionError`` if no key for it was given.
        """
        if not self.can_decrypt(encryption):
            kind = CIPHERS.get(encryption, Cipher)
            raise EncryptionError(
                f"{name!r} is encrypted with {encryption}, but its {kind.key_name} was not given. "
                f"It was not read. {kind.where_keys_come_from}, or read it on a "
                "host that can decrypt it."
            )
        return self._readers.get(encryption)

    def decrypt(self, stored: bytes, encryption: str, *, sha256: str, name: str) -> bytes:
        """The plain bytes of a small file that is stored as it was written: ``sha256`` is the hash of its plain bytes.

        Raises ``EncryptionError`` if its key is missing or wrong.
        """
        cipher = self.reader(encryption, name=name)
        if cipher is None:
            data = stored
        else:
            try:
                decryptor = cipher.decryptor()
                data = decryptor.update(stored) + decryptor.finish()
            except EncryptionError:
                raise wrong_key(cipher, name) from None
        if hashlib.sha256(data).hexdigest() != sha256:
            if cipher is not None:
                raise wrong_key(cipher, name)
            raise IntegrityError(
                f"{name!r} does not have the SHA-256 that was recorded for it. It was not used. Restore it from a "
                "backup, or make it again."
            )
        return data

    def is_encrypted(self, head: bytes) -> bool:
        """Whether a file that begins with ``head`` (64 bytes, or all of it) can be one of any known cipher.

        An empty file has nothing to read.
        """
        kinds = {*CIPHERS.values(), *([type(self.cipher)] if self.cipher is not None else [])}
        return not head or any(kind.recognizes(head) for kind in kinds)


def wrong_key(cipher: Cipher, name: str) -> EncryptionError:
    """The error for a file that is stored as it was written, but that a cipher's key does not decrypt."""
    return EncryptionError(
        f"{name!r} is stored as it was written, but the {cipher.key_name} that was given does not decrypt it. What was "
        f"read must not be used. Another {cipher.key_name} encrypted it. {cipher.where_keys_come_from}."
    )
