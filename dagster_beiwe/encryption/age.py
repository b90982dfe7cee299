"""The cipher ``age``: public keys, so that a host can write what it cannot read."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

from dagster_beiwe.encryption.cipher import Bytes, Cipher, CipherKeys, Decryptor, Encryptor
from dagster_beiwe.encryption.push import Pusher, UnreadInputError
from dagster_beiwe.environment import BEIWE_AGE_IDENTITY
from dagster_beiwe.errors import ConfigurationError, EncryptionError
from dagster_beiwe.private_files import read_file

if TYPE_CHECKING:
    from typing_extensions import Self


_LONGEST_IDENTITY_BYTES = 64 * 1024


class AgeCipher(Cipher):
    """Public-key encryption with `age <https://age-encryption.org>`_; needs the extra ``age``.

    ``recipients`` are public keys (``age1...`` or ``ssh-ed25519 ...``), any of whose owners can read. ``identity`` is
    the content of a private key file of age or ssh. A host that only writes gets recipients and no identity; without
    recipients, files are for the identity itself. The file opens with ``age --decrypt``.

    Raises ``ConfigurationError`` if the extra is not installed, or a key cannot be read.
    """

    name = "age"
    key_name = "identity"
    where_keys_come_from = f"Let {BEIWE_AGE_IDENTITY} name the file with that private key; it may hold several"

    def __init__(self, *, recipients: Sequence[str] = (), identity: str | None = None) -> None:
        self._keys = CipherKeys(recipients=tuple(recipients), identity=identity)
        self._identities = _age_identities(identity) if identity else []
        if identity and not self._identities:
            raise ConfigurationError(
                "The given identity is neither one of age (AGE-SECRET-KEY-1...) nor an ssh private key without "
                "passphrase. Nothing was read or written. Give the content of the key file."
            )
        self._recipients = [_age_recipient(text, number) for number, text in enumerate(recipients, start=1)]
        if not self._recipients:
            self._recipients = [key.to_public() for key in self._identities if hasattr(key, "to_public")]
        if not self._recipients and not self._identities:
            raise ConfigurationError(
                "The cipher 'age' has neither recipients nor an identity; nothing was read or written. Create a key "
                "with `age-keygen`, and give its public part: `AgeCipher(recipients=['age1...'])` as the lake's "
                "cipher, or `recipients` in the study's configuration."
            )
        self.can_decrypt = bool(self._identities)

    @classmethod
    def from_keys(cls, keys: CipherKeys) -> Self:
        return cls(recipients=keys.recipients, identity=keys.identity)

    @property
    def keys(self) -> CipherKeys:
        return self._keys

    @classmethod
    def check_recipients(cls, recipients: Sequence[str]) -> None:
        if not recipients:
            raise ConfigurationError(
                f"`encryption: {cls.name}` needs `recipients`. Nothing was built. List the public keys (`age1...`, "
                "from `age-keygen`) of everyone who may read the study's data, your own included."
            )

    @classmethod
    def can_decrypt_with(cls, keys: CipherKeys) -> bool:
        return bool(keys.identity)

    @classmethod
    def recognizes(cls, head: bytes) -> bool:
        return head.startswith(b"age-encryption.org/")

    def encryptor(self) -> Encryptor:
        if not self._recipients:
            raise ConfigurationError(
                "The cipher 'age' has an ssh identity but no recipients. Nothing was encrypted. Add its public key to "
                "the recipients."
            )
        encrypt, recipients = _pyrage().encrypt_io, self._recipients
        return _AgeFile(lambda reader, writer: encrypt(reader, writer, recipients))

    def decryptor(self) -> Decryptor:
        if not self._identities:
            raise ConfigurationError(
                "The cipher 'age' has recipients but no identity, so it can write but not read. Nothing was decrypted. "
                "Do this on the host that has the private key."
            )
        decrypt, identities = _pyrage().decrypt_io, self._identities
        return _AgeFile(lambda reader, writer: decrypt(reader, writer, identities))


def read_identity(variable: str, environ: Mapping[str, str] | None = None) -> str | None:
    """The content of the private key file that the environment variable names; None if it is not set.

    Raises ``ConfigurationError`` if there is no such file, or no private key in it.
    """
    path = (os.environ if environ is None else environ).get(variable)
    if not path:
        return None
    text = ""
    with suppress(OSError, RuntimeError, ValueError):  # no home, no regular file, no text
        text = read_file(Path(path).expanduser(), limit_bytes=_LONGEST_IDENTITY_BYTES, follow=True).decode()
    if text and _age_identities(text):
        return text
    what = "a file without an age private key" if text else "a file that does not exist or cannot be read"
    raise ConfigurationError(
        f"{variable} names {what}. Nothing was read or written. Correct the path, write the key into the file "
        f"(AGE-SECRET-KEY-1..., or an ssh private key without passphrase), or unset {variable} on a host that only "
        "writes."
    )


class _AgeFile:
    """An encryptor or a decryptor; age's library wants files, so it runs behind a ``Pusher``."""

    def __init__(self, work: Callable[[object, object], object]) -> None:
        self._pusher = Pusher(work)

    def update(self, data: Bytes) -> bytes:
        with _age_errors():
            return self._pusher.push(bytes(data))

    def finish(self) -> bytes:
        with _age_errors():
            return self._pusher.finish()


@contextmanager
def _age_errors() -> Iterator[None]:
    pyrage = _pyrage()
    try:
        yield
    except (pyrage.DecryptError, pyrage.EncryptError, OSError, UnreadInputError) as error:
        raise EncryptionError(
            f"age cannot process the file: {error or 'data after the end'}. The rest of the file was not used. It was "
            "encrypted for another identity, cut or changed: compare it with its manifest."
        ) from error


def _pyrage() -> ModuleType:
    try:
        import pyrage
    except ImportError as error:
        raise ConfigurationError(
            "The library of the cipher age is not installed. Nothing was done. Install it with: "
            "pip install 'dagster-beiwe[age]'"
        ) from error
    return cast("ModuleType", pyrage)


def _age_recipient(text: str, number: int) -> Any:
    pyrage = _pyrage()
    kind = pyrage.ssh if text.startswith("ssh-") else pyrage.x25519
    with suppress(pyrage.RecipientError):
        return kind.Recipient.from_str(text.strip())
    raise ConfigurationError(
        f"Recipient {number} is not a public key (age1... or ssh-ed25519 ...). Nothing was done. Correct it. Private "
        "keys never belong among the recipients."
    )


def _age_identities(text: str) -> list[Any]:
    """The identities of a key file (an ssh key, or a line per age key with comments between); none for another text."""
    pyrage = _pyrage()
    with suppress(pyrage.IdentityError, pyrage.DecryptError):
        if "PRIVATE KEY-----" in text:
            return [pyrage.ssh.Identity.from_buffer(text.encode())]
        lines = (line.strip() for line in text.splitlines())
        return [pyrage.x25519.Identity.from_str(line) for line in lines if line and not line.startswith("#")]
    return []
