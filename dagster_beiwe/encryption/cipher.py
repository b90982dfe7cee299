"""What a cipher for data at rest is. ``encryption`` has the ciphers themselves; import from there."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Final, NoReturn, Protocol, TypeAlias

Bytes: TypeAlias = bytes | bytearray | memoryview

PIECE_BYTES: Final = 256 * 1024
"""How much to pass to ``update`` at once: large enough for the ciphers to run in parallel threads."""


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
    """A way to lock files. Subclass it for a new one; keys stay out of ``repr`` and can't be pickled."""

    name: str
    """What manifests call this cipher."""

    can_decrypt: bool = True
    """False for a host that writes what it cannot read."""

    @abstractmethod
    def encryptor(self) -> Encryptor:
        """A fresh encryptor for one file."""

    @abstractmethod
    def decryptor(self) -> Decryptor:
        """A fresh decryptor for one file. Raises ``ConfigurationError`` where ``can_decrypt`` is False."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"Expected no pickling or copying of {type(self).__name__}, which holds keys; nothing was written. "
            "Build it again where it is needed."
        )
