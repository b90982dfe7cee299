"""A file as the server stores it: its two names, its start, and its bytes on demand."""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from dagster_beiwe.simulator.content import (
    BlobCache,
    Recipe,
    moment_of,
    recording,
    render,
    size_of,
    zstd_frame,
    zstd_stored,
)
from dagster_beiwe.simulator.lives import Life
from dagster_beiwe.simulator.server_streams import server_stream


@dataclass(frozen=True, eq=False, kw_only=True)
class StoredFile:
    """One file of one participant. Never changed: new rows make a new ``StoredFile`` under the same ``key``.

    ``start_ms`` is Unix milliseconds UTC: the hour for chunked streams, the opening time on the phone for the
    others. ``has_sha1`` is whether the server's table of SHA-1 hashes knows the file; ``lost`` marks an object that
    is missing in storage. ``submitted_ms`` is when in its hour a survey was submitted, of timings. ``content`` replaces
    the generated rows. ``life`` is what the rows of a known life tell of.
    """

    study_id: str
    participant_id: str
    stream: str
    os: str
    start_ms: int
    rows: int
    seed: str
    survey_id: str = ""
    extension: str = "csv"
    suffix: str = ""
    extra: tuple[int, ...] = ()
    submitted_ms: int = 0
    life: Life | None = field(default=None, repr=False)
    audio_bytes: int = 0
    arrived: datetime
    has_sha1: bool = True
    lost: bool = False
    content: bytes | None = field(default=None, repr=False)
    cache: BlobCache = field(repr=False)
    _facts: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def chunked(self) -> bool:
        return server_stream(self.stream).chunked

    @property
    def bin_ms(self) -> int:
        return self.start_ms - self.start_ms % 1000

    @property
    def bin(self) -> datetime:
        """The moment compared with ``time_start`` and ``time_end``: the hour, or the second of an unchunked file."""
        return moment_of(self.bin_ms)

    @property
    def key(self) -> str:
        """The storage path, which is the key in ``registry``."""
        return str(self._fact("key", self._make_key))

    def _make_key(self) -> str:
        survey = f"{self.survey_id}/" if self.survey_id else ""
        if self.chunked:
            place = f"CHUNKED_DATA/{self.study_id}/{self.participant_id}/{self.stream}/{survey}"
            return f"{place}{self.bin:%Y-%m-%dT%H:%M:%S}.{self.extension}"
        folder = server_stream(self.stream).storage_folder
        return f"{self.study_id}/{self.participant_id}/{folder}/{survey}{self.start_ms}.{self.extension}{self.suffix}"

    @property
    def member_stem(self) -> str:
        """The name in the zip, up to the extension."""
        survey = f"{self.survey_id}/" if self.survey_id else ""
        return f"{self.participant_id}/{self.stream}/{survey}{self.bin:%Y-%m-%d %H_%M_%S}+00_00"

    @property
    def recipe(self) -> Recipe:
        return Recipe(
            seed=self.seed,
            stream=self.stream,
            os=self.os,
            participant_id=self.participant_id,
            survey_id=self.survey_id,
            start_ms=self.start_ms,
            rows=self.rows,
            extra=self.extra,
            submitted_ms=self.submitted_ms,
            life=self.life,
        )

    @property
    def size_bytes(self) -> int:
        if self.content is not None:
            return len(self.content)
        if self.audio_bytes:
            return self.audio_bytes
        return int(self._fact("size_bytes", lambda: size_of(self.recipe)))

    def read(self) -> bytes:
        """The plain content at once."""
        if self.content is not None:
            return self.content
        if self.audio_bytes:
            return b"".join(self.chunks())
        blob = self.cache.get(self._cache_key)
        if blob is None:
            blob = render(self.recipe)
            self._facts["size_bytes"] = len(blob)
            self.cache.put(self._cache_key, blob)
        return blob

    def chunks(self) -> Iterator[bytes]:
        """The plain content in chunks, so that recordings are never held as a whole."""
        if self.audio_bytes and self.content is None:
            yield from recording(self.seed, self.audio_bytes)
        else:
            yield self.read()

    def zstd_chunks(self) -> Iterator[bytes]:
        """The content as one zstd frame, as ``get-data/v2`` sends it."""
        if self.audio_bytes and self.content is None:
            yield from zstd_stored(self.chunks(), self.audio_bytes)
            return
        key = ("zstd", *self._cache_key)
        blob = self.cache.get(key)
        if blob is None:
            blob = zstd_frame(self.read())
            self.cache.put(key, blob)
        yield blob

    def checked(self, *, zstd: bool) -> tuple[int, int]:
        """Size in bytes and CRC-32 of what goes into the zip."""

        def measure() -> tuple[int, int]:
            size = crc = 0
            for chunk in self.zstd_chunks() if zstd else self.chunks():
                size, crc = size + len(chunk), zlib.crc32(chunk, crc)
            return size, crc

        result: tuple[int, int] = self._fact("zstd" if zstd else "plain", measure)
        return result

    @property
    def md5(self) -> str:
        """MD5 of the plain content, base64."""
        return str(self._fact("md5", lambda: self._digest("md5")))

    @property
    def sha1(self) -> str:
        """SHA-1 of the plain content, base64."""
        return str(self._fact("sha1", lambda: self._digest("sha1")))

    @property
    def _cache_key(self) -> tuple[object, ...]:
        return (self.seed, self.start_ms, self.rows, self.extra, self.content)

    def _digest(self, algorithm: str) -> str:
        digest = hashlib.new(algorithm, usedforsecurity=False)
        for chunk in self.chunks():
            digest.update(chunk)
        return base64.b64encode(digest.digest()).decode()

    def _fact(self, name: str, find: Callable[[], Any]) -> Any:
        if name not in self._facts:
            self._facts[name] = find()
        return self._facts[name]
