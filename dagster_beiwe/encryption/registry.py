"""The ciphers by name. Where a name is written in a configuration, it is looked up here, and an unknown one raises.

No name means "store plain": that is ``None`` in place of a cipher, and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from dagster_beiwe.encryption.age import AgeCipher
from dagster_beiwe.encryption.cipher import Cipher, CipherKeys
from dagster_beiwe.encryption.cryptease import CrypteaseCipher
from dagster_beiwe.errors import ConfigurationError

CIPHERS: Final[Mapping[str, type[Cipher]]] = {each.name: each for each in (CrypteaseCipher, AgeCipher)}
"""A new cipher is one class, listed here."""


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


def check_cipher(cipher: object) -> Cipher | None:
    """What a lake encrypts with: a cipher, or ``None`` for unencrypted files. Anything else raises."""
    if cipher is None or (isinstance(cipher, Cipher) and cipher.name not in ("", "none")):
        return cipher
    what = f"a cipher named {cipher.name!r}" if isinstance(cipher, Cipher) else f"a {type(cipher).__name__}"
    raise ConfigurationError(
        f"{what.capitalize()} cannot encrypt a study; nothing was read or written. Pass a `Cipher` with a name of its "
        "own (manifests call unencrypted files 'none'), the name of one, or `None` to store data unencrypted."
    )
