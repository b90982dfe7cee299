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
"""The retained versions of each window, newest last."""

_encoder = msgspec.msgpack.Encoder()
_subject: msgspec.msgpack.Decoder[Windows] = msgspec.msgpack.Decoder(Windows)
_by_window: msgspec.msgpack.Decoder[dict[str, msgspec.Raw]] = msgspec.msgpack.Decoder(dict[str, msgspec.Raw])
_window: msgspec.msgpack.Decoder[tuple[Version, ...]] = msgspec.msgpack.Decoder(tuple[Version, ...])


class Section:
    """The versions of one asset's subjects, or of all participants, by token.

    They stay packed, which takes a fifth of the memory: whole subjects, and each window of those that have changed.
    """

    def __init__(self, slices: Mapping[str, msgspec.Raw | dict[str, msgspec.Raw]] | None = None) -> None:
        self._slices = dict(slices or {})

    def __iter__(self) -> Iterator[str]:
        return iter(self._slices)

    def __len__(self) -> int:
        return len(self._slices)

    def __contains__(self, token: object) -> bool:
        return token in self._slices

    def windows(self, token: str) -> Windows:
        """A subject's versions."""
        found = self._slices.get(token, {})
        if isinstance(found, msgspec.Raw):
            return _subject.decode(found)
        return {window: _window.decode(versions) for window, versions in found.items()}

    def versions(self, token: str, window: str = "") -> tuple[Version, ...]:
        """The versions of one window or table, newest last."""
        found = self._by_window(token).get(window)
        return _window.decode(found) if found else ()

    def put(self, token: str, changed: Windows) -> None:
        """Replace the versions of some windows. A window without versions is gone, and so is a subject that has none
        left."""
        windows = dict(self._by_window(token))
        for window, versions in changed.items():
            if versions:
                windows[window] = msgspec.Raw(_encoder.encode(versions))
            else:
                windows.pop(window, None)
        if windows:
            self._slices[token] = windows
        else:
            self.remove(token)

    def remove(self, token: str) -> None:
        self._slices.pop(token, None)

    def copy(self) -> Section:
        return Section(self._slices)

    def packed(self) -> dict[str, msgspec.Raw]:
        return {
            token: found if isinstance(found, msgspec.Raw) else msgspec.Raw(_encoder.encode(found))
            for token, found in self._slices.items()
        }

    def _by_window(self, token: str) -> dict[str, msgspec.Raw]:
        found = self._slices.get(token, {})
        return _by_window.decode(found) if isinstance(found, msgspec.Raw) else found
