"""zstd frames. A compressed member, as servers send it, is one: it is unpacked in bounded memory, whatever it holds."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from itertools import chain

import zstandard

from dagster_beiwe.errors import DamagedMemberError, FrameTooLargeError

LARGEST_FRAME_BYTES = 64 * 1024 * 1024
"""A server's zstd frame needs as much memory as its content: larger ones must be asked for uncompressed."""

_STEP_BYTES = 1024
"""Of a frame at once: at worst it unpacks to 32 MiB, whatever the frame declares."""

LARGEST_WINDOW_BYTES = 8 * 1024 * 1024
"""What unpacking a frame may look back on, unless the frame's content is known to be larger."""
_FRAME_HEADER_BYTES = 18


class _Thread(threading.local):
    def __init__(self) -> None:
        self.decompressor = zstandard.ZstdDecompressor()


_thread = _Thread()


def decompressor() -> zstandard.ZstdDecompressor:
    """The thread's own: it takes as long to make one as to use it. A frame's declared size is taken as memory."""
    return _thread.decompressor


def unpacked(body: Iterable[bytes], name: str, *, sized: bool = True) -> Iterator[bytes]:
    """The content of one zstd frame. If it is not ``sized``, it need not declare its size, as the lake's own do not."""
    chunks = iter(body)
    head = b""
    for chunk in chunks:
        head += chunk
        if len(head) >= _FRAME_HEADER_BYTES:
            break
    frame = _Frame(head, name, sized=sized)
    for chunk in chain([head], chunks):
        yield from frame.unpack(chunk)
    frame.finish()


class _Frame:
    """Unpacks exactly one zstd frame, in bounded memory, no matter what it holds."""

    def __init__(self, head: bytes, name: str, *, sized: bool) -> None:
        self._name = name
        self._left = declared_size(head, name) if sized or _declares(head) else None
        limit = max(self._left or 0, LARGEST_WINDOW_BYTES)
        self._unpacker = zstandard.ZstdDecompressor(max_window_size=limit).decompressobj()

    def unpack(self, chunk: bytes) -> Iterator[bytes]:
        for start in range(0, len(chunk), _STEP_BYTES):
            if self._unpacker.eof:
                raise self._damaged("bytes after the end of the frame")
            try:
                content = self._unpacker.decompress(chunk[start : start + _STEP_BYTES])
            except zstandard.ZstdError:
                raise self._damaged("bytes that zstd cannot read") from None
            if self._left is not None:
                self._left -= len(content)
                if self._left < 0:
                    raise self._damaged("more content than its frame declares")
            yield content

    def finish(self) -> None:
        if not self._unpacker.eof or self._unpacker.unused_data or self._left:
            raise self._damaged("a frame that does not end where it should")

    def _damaged(self, what: str) -> DamagedMemberError:
        return DamagedMemberError(damaged(what), member=self._name)


def _declares(head: bytes) -> bool:
    try:
        return zstandard.get_frame_parameters(head).content_size != zstandard.CONTENTSIZE_UNKNOWN
    except zstandard.ZstdError:
        return True  # not a zstd frame; `declared_size` raises the error


def declared_size(head: bytes, name: str) -> int:
    if not head.startswith(zstandard.FRAME_HEADER):  # zstd would skip frames of another kind before it
        raise DamagedMemberError(damaged("bytes that are no zstd frame"), member=name)
    try:
        parameters = zstandard.get_frame_parameters(head)
    except zstandard.ZstdError:
        raise DamagedMemberError(damaged("bytes that are no zstd frame"), member=name) from None
    if parameters.content_size == zstandard.CONTENTSIZE_UNKNOWN:
        raise DamagedMemberError(damaged("a frame without its content's size"), member=name)
    if parameters.content_size > LARGEST_FRAME_BYTES:
        raise FrameTooLargeError(
            f"A zstd frame declares {parameters.content_size} bytes of content, more than the limit of "
            f"{LARGEST_FRAME_BYTES}. It was not decompressed. It is requested again without compression.",
            member=name,
        )
    return parameters.content_size


def damaged(what: str) -> str:
    return (
        f"A compressed member is not one zstd frame: {what}. It was not stored. The object is damaged on the server, "
        "which delivers it as it is. Tell its operators; the next run tries again."
    )
