"""The versions of windows and tables that a log retains.

They come out of a checkpoint packed, a slice for each subject, and are unpacked when somebody asks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping

import msgspec


class Version(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """One version of a window or table: record ``at`` committed it at ``time`` (seconds). The rest is its change's.

    ``compared`` is also set by later comparisons. Without a nonce it says that the version before could not be read and
    was taken out.
    """

    at: int
    time: int
    base: int
    nonce: str
    sha256: bytes
    size_bytes: int
    complete: bool
    counts: str
    compared: int = 0
    offset: int = 0
    file_bytes: int = 0
    """The size of the manifest's file, if it has other windows' manifests too."""

    @property
    def readable(self) -> bool:
        return bool(self.nonce)

    def manifest(self, file: bytes) -> bytes | None:
        """The stored manifest in the bytes of its file; None if that was changed."""
        part = file[self.offset :][: self.size_bytes] if self.file_bytes else file
        whole = len(file) == self.file_bytes or not self.file_bytes
        return part if whole and hashlib.sha256(part).digest() == self.sha256 else None


Windows = dict[str, tuple[Version, ...]]
"""Of each window the versions that are retained, newest last."""

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Windows] = msgspec.msgpack.Decoder(Windows)


class Section:
    """The versions of one asset's subjects, or of all participants, by token."""

    def __init__(self, slices: Mapping[str, msgspec.Raw | Windows] | None = None) -> None:
        self._slices: dict[str, msgspec.Raw | Windows] = dict(slices or {})

    def __iter__(self) -> Iterator[str]:
        return iter(self._slices)

    def __len__(self) -> int:
        return len(self._slices)

    def __contains__(self, token: object) -> bool:
        return token in self._slices

    def windows(self, token: str) -> Windows:
        """A subject's versions; not to be changed."""
        found = self._slices.get(token)
        if found is None:
            return {}
        return _decoder.decode(found) if isinstance(found, msgspec.Raw) else found

    def packed(self) -> dict[str, msgspec.Raw]:
        return {
            token: found if isinstance(found, msgspec.Raw) else msgspec.Raw(_encoder.encode(found))
            for token, found in self._slices.items()
        }

    def copy(self) -> Section:
        return Section(self._slices)

    def put(self, token: str, windows: Windows) -> None:
        self._slices[token] = windows

    def remove(self, token: str) -> None:
        self._slices.pop(token, None)
