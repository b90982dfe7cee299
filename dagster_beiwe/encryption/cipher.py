"""What a cipher for data at rest is, and how an encrypted file is read."""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Final, NoReturn, Protocol, TypeAlias

if TYPE_CHECKING:
    from typing_extensions import Self

Bytes: TypeAlias = bytes | bytearray | memoryview

_ZSTD: Final = b"\x28\xb5\x2f\xfd"
_PARQUET: Final = b"PAR1"

CHUNK_BYTES: Final = 256 * 1024
"""How much to pass to ``update`` at once: large enough for the ciphers to run in parallel threads."""


@dataclass(frozen=True, kw_only=True, repr=False)
class CipherKeys:
    """What a configuration gives a cipher to work with; each cipher takes what it needs."""

    passphrase: str | None = None
    recipients: Sequence[str] = ()
    identity: str | None = None


class Encryptor(Protocol):
    """Encrypts one file, from its first byte to its last; not for use by several threads at once."""

    def update(self, data: Bytes) -> bytes:
        """The next bytes of the stored file, possibly none; the first come with the header."""

    def finish(self) -> bytes:
        """The last bytes of the stored file, also of an empty one. Afterwards the object is used up."""


class Decryptor(Protocol):
    """Decrypts one file, from its first byte to its last; not for use by several threads at once."""

    def update(self, data: Bytes) -> bytes:
        """The next plain bytes, possibly none. Raises ``EncryptionError`` for a file that is not of this cipher."""

    def finish(self) -> bytes:
        """The last plain bytes. Raises ``EncryptionError`` if the file ended too early, as far as that shows."""


class Cipher(ABC):
    """A way to encrypt files. Subclass it for a new one and list it in the registry. Keys stay out of ``repr`` and
    pickles."""

    name: str
    """What manifests call this cipher."""

    can_decrypt: bool = True
    """False for a host that writes what it cannot read."""

    key_name: str = "key"
    """What messages call the key that decrypts."""

    where_keys_come_from: str = "Give the lake the cipher with that key"
    """What messages advise if a key is missing or wrong."""

    @classmethod
    def from_keys(cls, keys: CipherKeys) -> Self:
        """The cipher for what a configuration gives. Raises ``ConfigurationError`` if something is missing."""
        raise NotImplementedError(f"{cls.__name__} cannot be made from a name")

    @property
    def keys(self) -> CipherKeys | None:
        """What ``from_keys`` makes this cipher of again, in another process; None if it can't."""
        return None

    @classmethod  # noqa: B027 - most ciphers have none
    def check_recipients(cls, recipients: Sequence[str]) -> None:
        """Raise ``ConfigurationError`` if a study cannot be configured with this cipher and these recipients."""

    @classmethod
    def can_decrypt_with(cls, keys: CipherKeys) -> bool:  # noqa: ARG003 - subclasses look
        """Whether a configuration's keys are enough for ``from_keys`` to make a cipher that decrypts."""
        return False

    @classmethod
    def recognizes(cls, head: bytes) -> bool:
        """Whether a file that begins with ``head`` (64 bytes, or all of it) can be one of this cipher.

        If a cipher does not say, a file passes that is neither text, nor compressed text, nor a table.
        """
        return not head.startswith((_ZSTD, _PARQUET)) and not _is_text(head)

    def prepare(self) -> None:  # noqa: B027 - most ciphers have nothing to prepare
        """Do ahead of time what the first file would have to wait for."""

    @abstractmethod
    def encryptor(self) -> Encryptor:
        """A fresh encryptor for one file."""

    def encrypt_all(self, files: Sequence[bytearray]) -> list[Iterator[Bytes]]:
        """The stored form of several small files, each in chunks, which may be taken in different threads.

        May use up the given bytes. Override it in a cipher that encrypts many files faster together than one by one.
        """
        return [self._encrypt(file) for file in files]

    def _encrypt(self, file: bytearray) -> Iterator[Bytes]:
        encryptor = self.encryptor()
        yield encryptor.update(file)
        yield encryptor.finish()

    @abstractmethod
    def decryptor(self) -> Decryptor:
        """A fresh decryptor for one file. Raises ``ConfigurationError`` if ``can_decrypt`` is False."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"{type(self).__name__} holds keys and cannot be pickled or copied. Nothing was written. Build it again "
            "where it is needed."
        )


def _is_text(head: bytes) -> bool:
    """Nearly all characters of a keyboard; random bytes are so in four of ten."""
    return sum(byte in b"\t\r\n" or 32 <= byte < 127 for byte in head) > 0.9 * len(head)


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
            stored = self._source.read(CHUNK_BYTES)
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

    Holds a chunk of the file at a time. Wrap it in ``io.BufferedReader`` to read lines. Raises ``EncryptionError``
    while reading if the file is not of this cipher.
    """
    return _DecryptingReader(source, cipher.decryptor())
