"""Ciphers for data at rest: ``cryptease`` (a passphrase) and ``age`` (public keys).

Both are push style, so that plain bytes go from the network through a cipher to the disk without a temporary file::

    encryptor = CrypteaseCipher(passphrase).encryptor()
    stored = encryptor.update(b"plain ") + encryptor.update(b"bytes") + encryptor.finish()

A file of cryptease is a 4-byte native unsigned length, a JSON header of that length (cipher, key derivation with its
salt, IV), the 16 bytes of the IV again, and the data under AES-256 in CFB8 mode. That mode hides but does not
authenticate: **a wrong passphrase or a changed file gives wrong bytes, not an error.** Whoever reads must compare
hashes, as the lake does with its manifests. age authenticates each 64 KiB and the end of the file.
"""

from dagster_beiwe.encryption.age import AgeCipher, read_identity
from dagster_beiwe.encryption.cipher import (
    CHUNK_BYTES,
    Bytes,
    Cipher,
    CipherKeys,
    Decryptor,
    Encryptor,
    decrypting_reader,
)
from dagster_beiwe.encryption.cryptease import CrypteaseCipher, decrypt_bytes, encrypt_bytes, plain_size
from dagster_beiwe.encryption.registry import (
    CIPHERS,
    DEFAULT_CIPHER,
    UNENCRYPTED,
    check_cipher,
    cipher_by_name,
    configured_cipher,
    recorded_name,
)
from dagster_beiwe.encryption.ring import KeyRing, wrong_key

__all__ = [
    "CHUNK_BYTES",
    "CIPHERS",
    "DEFAULT_CIPHER",
    "UNENCRYPTED",
    "AgeCipher",
    "Bytes",
    "Cipher",
    "CipherKeys",
    "CrypteaseCipher",
    "Decryptor",
    "Encryptor",
    "KeyRing",
    "check_cipher",
    "cipher_by_name",
    "configured_cipher",
    "decrypt_bytes",
    "decrypting_reader",
    "encrypt_bytes",
    "plain_size",
    "read_identity",
    "recorded_name",
    "wrong_key",
]
