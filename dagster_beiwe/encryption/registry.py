"""The ciphers by name. A configured name is looked up here, and an unknown one raises.

No name of a cipher means "store plain": ``None`` in place of a cipher does, and nothing else.
"""

from __future__ import annotations

from typing import Final

from dagster_beiwe.encryption.age import AgeCipher
from dagster_beiwe.encryption.cipher import Cipher, CipherKeys
from dagster_beiwe.encryption.cryptease import CrypteaseCipher
from dagster_beiwe.errors import ConfigurationError

CIPHERS: Final[dict[str, type[Cipher]]] = {each.name: each for each in (CrypteaseCipher, AgeCipher)}
"""A new cipher is one class, listed here."""

DEFAULT_CIPHER: Final = CrypteaseCipher.name

UNENCRYPTED: Final = "none"
"""How manifests record that a file is not encrypted, and how a study is configured to be stored so."""


def configured_cipher(name: str, keys: CipherKeys) -> Cipher | None:
    """The cipher that a study is configured with. Only here does a word become ``None``, which encrypts nothing.

    Raises ``ConfigurationError`` as ``cipher_by_name`` does.
    """
    return None if name == UNENCRYPTED else cipher_by_name(name, keys)


def cipher_by_name(name: str, keys: CipherKeys) -> Cipher:
    """The cipher of a name. Raises ``ConfigurationError`` for an unknown one, or for keys that do not suffice."""
    kind = CIPHERS.get(name)
    if kind is None:
        raise ConfigurationError(
            f"There is no cipher named {name[:40]!r}; nothing was read or written. The ciphers are "
            f"{', '.join(CIPHERS)}. To store data unencrypted on purpose, pass `cipher=None`, or write "
            "`encryption: none` in the study's configuration."
        )
    return kind.from_keys(keys)


def recorded_name(cipher: Cipher | None) -> str:
    """What manifests record as the encryption of a file."""
    return UNENCRYPTED if cipher is None else cipher.name


def check_cipher(cipher: object) -> Cipher | None:
    """What a lake encrypts with: a cipher, or ``None`` for unencrypted files. Anything else raises."""
    if cipher is None or (isinstance(cipher, Cipher) and cipher.name not in ("", UNENCRYPTED)):
        return cipher
    what = f"a cipher named {cipher.name!r}" if isinstance(cipher, Cipher) else f"a {type(cipher).__name__}"
    raise ConfigurationError(
        f"{what.capitalize()} cannot encrypt a study; nothing was read or written. Pass a `Cipher` with a name of its "
        f"own (manifests call unencrypted files {UNENCRYPTED!r}), the name of one, or `None` to store data unencrypted."
    )
