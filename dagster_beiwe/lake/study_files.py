"""Where a study's files are, and the keys that open them: all that work on files needs, here or in another process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from dagster_beiwe.encryption import CIPHERS, CipherKeys, KeyRing
from dagster_beiwe.lake.storage.base import Storage

if TYPE_CHECKING:
    from typing_extensions import Self

_PACKAGE: Final = __name__.partition(".")[0]


class StudyFiles(NamedTuple):
    """The storage that holds files, and the keys that encrypt and decrypt them.

    ``guarded`` is a folder that exists while anybody writes to the lake; empty if there is none.
    """

    storage: Storage
    ring: KeyRing
    guarded: str = ""


@dataclass(frozen=True, kw_only=True, repr=False)
class FilesElsewhere:
    """How another process opens a study's files. It holds the keys, so that it goes through a pipe and nowhere else.

    Without a ``cipher``, nothing is encrypted.
    """

    storage: Callable[[], Storage]
    guarded: str
    cipher: str | None
    cipher_keys: CipherKeys
    keys: CipherKeys

    @classmethod
    def of(cls, files: StudyFiles) -> Self | None:
        """How to open these files; None if another process can't open them, or would not help.

        It knows neither a storage nor a cipher that the caller has brought along.
        """
        storage, ring, guarded = files
        own = ring.cipher
        keys = CipherKeys() if own is None else own.keys
        kinds = [*CIPHERS.values(), *([] if own is None else [type(own)])]
        known = all(kind.__module__.partition(".")[0] == _PACKAGE for kind in kinds)
        there = storage.elsewhere([guarded] if guarded else ())
        if there is None or keys is None or not known:
            return None
        return cls(
            storage=there,
            guarded=guarded,
            cipher=None if own is None else own.name,
            cipher_keys=keys,
            keys=ring.keys,
        )

    def opened(self) -> StudyFiles:
        """The files, in the process that this was passed to."""
        cipher = None if self.cipher is None else CIPHERS[self.cipher].from_keys(self.cipher_keys)
        return StudyFiles(self.storage(), KeyRing(cipher, self.keys), self.guarded)
