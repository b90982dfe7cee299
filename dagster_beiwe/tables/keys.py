"""The data keys of tables: each Parquet file has one of its own, and the study's cipher wraps it.

Parquet's modular encryption (AES-GCM for each page and the footer, with their place in the file) lets readers prove
parts of a file. It binds every part to a name as well, the path that the file was first written to: that tells study,
table, partition, and version, so a file cannot stand in for another one. Neither key nor name are in the file; the
table's manifest has both.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, field
from typing import Any, Final

from pyarrow.parquet import encryption

from dagster_beiwe.encryption import Cipher, KeyRing
from dagster_beiwe.lake.manifest import ModularEncryption

_KEY_BYTES: Final = 32


@dataclass(frozen=True)
class FileKey:
    """The key of one Parquet file, and the name that the file is bound to."""

    name: str
    _secret: bytes = field(repr=False)

    @classmethod
    def new(cls, name: str) -> FileKey:
        """A random key. Never encrypt two files with it."""
        return cls(name, secrets.token_bytes(_KEY_BYTES))

    @classmethod
    def unwrap(cls, modular: ModularEncryption, ring: KeyRing, wrapped_by: str, *, path: str) -> FileKey:
        """The key of the file at ``path``. Raises ``EncryptionError`` if the cipher's key is missing or wrong."""
        secret = ring.decrypt(modular.wrapped_key, wrapped_by, sha256=modular.key_sha256, name=path)
        return cls(modular.bound_to, secret)

    def for_manifest(self, cipher: Cipher, footer: bytes) -> ModularEncryption:
        """What a manifest says of a file with this key: who has no more than the cipher's public part can't open it."""
        encryptor = cipher.encryptor()
        return ModularEncryption(
            bound_to=self.name,
            wrapped_key=encryptor.update(self._secret) + encryptor.finish(),
            key_sha256=hashlib.sha256(self._secret).hexdigest(),
            footer_size_bytes=len(footer),
            footer_sha256=hashlib.sha256(footer).hexdigest(),
        )

    def encryption(self) -> Any:
        """What Arrow's writer encrypts the file with: pages and footer, and nothing readable but that it is Parquet."""
        return encryption.create_encryption_properties(
            self._secret, aad_prefix=self.name.encode(), store_aad_prefix=False
        )

    def decryption(self) -> Any:
        """What Arrow's readers open the file with. They refuse an unencrypted one."""
        return encryption.create_decryption_properties(self._secret, aad_prefix=self.name.encode())
