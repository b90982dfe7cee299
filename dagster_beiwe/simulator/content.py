"""The bytes of one file, made on demand, and the same each time.

Small files get rows of their own. Large ones (benchmarks ask for tens of thousands of rows) are stamped from a
template: since an hour is a whole number of 100-second steps, all but eight digits of a timestamp can be rendered
ahead, and a file costs two replacements per step instead of a formatting call per row.
"""

from __future__ import annotations

import random
import struct
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from threading import Lock
from typing import Final

from dagster_beiwe.simulator import rows as row_text
from dagster_beiwe.simulator.lives import Life, sitting_in
from dagster_beiwe.simulator.lives import rows as lived_rows
from dagster_beiwe.simulator.server_streams import server_stream

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
HOUR_MS = 3_600_000
CHUNK_BYTES = 256 * 1024

_STEP_MS = 100_000
_TEMPLATE_FROM_ROWS = 400
_KEPT_FILES, _KEPT_ROWS, _KEPT_BYTES = 10_000, 50, 4096
"""How many files with fewer rows or bytes are kept for the next world: tests make many worlds that are alike."""
_POOL_ROWS = 997
_MARK_MS = b"\x01" * 8
_MARK_HOUR = b"\x02" * 14
_DEFAULT_ROWS = {"accelerometer": 50, "gps": 18, "gyro": 5, "magnetometer": 5, "devicemotion": 5, "wifi": 8}


@dataclass(frozen=True, kw_only=True)
class ContentPlan:
    """How much a file holds.

    ``rows`` is rows per hour and file for every chunked stream (default: 3 to 50, by stream); ``rows_by_stream``
    wins over it. ``audio_bytes`` is the size of one recording. With ``shared``, files of the same stream and hour are
    equal for all participants, which lets a benchmark serve many gigabytes from a small cache.
    """

    rows: int | None = None
    rows_by_stream: Mapping[str, int] = field(default_factory=dict)
    audio_bytes: int = 20_000
    shared: bool = False

    def rows_of(self, stream: str) -> int:
        if stream in self.rows_by_stream:
            return self.rows_by_stream[stream]
        return self.rows if self.rows is not None else _DEFAULT_ROWS.get(stream, 3)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything on which the bytes of a file depend. ``extra`` lists rows that arrived late, one number per batch.

    ``submitted_ms`` is when a survey was submitted, in milliseconds since ``start_ms``, for the timings of it.
    ``life`` is what the rows tell of, in files of a known life.
    """

    seed: str
    stream: str
    os: str
    participant_id: str
    survey_id: str
    start_ms: int
    rows: int
    extra: tuple[int, ...] = ()
    submitted_ms: int = 0
    life: Life | None = None


def moment_of(ms: int) -> datetime:
    return EPOCH + timedelta(milliseconds=ms)


def ms_of(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(milliseconds=1)


def header_of(stream: str, os: str) -> str:
    entry = server_stream(stream)
    columns = entry.ios_columns if os == "IOS" and entry.ios_columns else entry.columns
    return ",".join(columns)


def render(recipe: Recipe) -> bytes:
    """The CSV of a file: header, rows in order of time, no newline after the last one."""
    small = recipe.rows + sum(recipe.extra) < _KEPT_ROWS and recipe.life is None
    return _rendered_once(recipe) if small else _rendered(recipe)


def _rendered(recipe: Recipe) -> bytes:
    rng = random.Random(recipe.seed)
    header = header_of(recipe.stream, recipe.os)
    if recipe.stream in row_text.SUBMITTED:
        return "\n".join([header, *row_text.SUBMITTED[recipe.stream](recipe.os, rng)]).encode()
    if recipe.life is not None and recipe.stream != "survey_timings":
        hour = lived_rows(recipe.life, recipe.stream, moment_of(recipe.start_ms))
        base = "\n".join(_line(ms, tail) for ms, tail in hour).encode()
    elif recipe.rows >= _TEMPLATE_FROM_ROWS and _is_plain_series(recipe):
        base = _stamp(recipe, rng)
    else:
        base = "\n".join(_lines(recipe, rng, recipe.rows)).encode()
    if recipe.extra:
        lines = base.decode().split("\n")
        for number, count in enumerate(recipe.extra):
            lines += _lines(recipe, random.Random(f"{recipe.seed}/late{number}"), count)
        base = "\n".join(sorted(set(lines), key=_by_time)).encode()
    return header.encode() + b"\n" + base


_rendered_once = lru_cache(maxsize=_KEPT_FILES)(_rendered)


def zstd_frame(plain: bytes) -> bytes:
    """A file as one zstd frame, as ``get-data/v2`` sends it."""
    return _compressed_once(plain) if len(plain) < _KEPT_BYTES else _compressed(plain)


def _compressed(plain: bytes) -> bytes:
    import zstandard  # only v2 needs it

    return zstandard.ZstdCompressor(level=2, write_content_size=True).compress(plain)


_compressed_once = lru_cache(maxsize=_KEPT_FILES)(_compressed)


def size_of(recipe: Recipe) -> int:
    """The size of what ``render`` returns. Stamped files are not rendered for it."""
    if recipe.rows < _TEMPLATE_FROM_ROWS or recipe.extra or not _is_plain_series(recipe):
        return len(render(recipe))
    own, template = _stamp_parts(recipe, random.Random(recipe.seed))
    parts = [*own, *(step for step in template if step)]
    return len(header_of(recipe.stream, recipe.os)) + sum(map(len, parts)) + len(parts)


def _by_time(line: str) -> tuple[int, str]:
    return int(line.partition(",")[0]), line


def _is_plain_series(recipe: Recipe) -> bool:
    return (
        recipe.life is None
        and recipe.start_ms > 10**12
        and recipe.stream not in ("texts", "wifi", "survey_timings", "identifiers")
    )


def _line(ms: int, tail: str) -> str:
    moment = moment_of(ms)
    return f"{ms},{moment:%Y-%m-%dT%H:%M:%S}.{ms % 1000:03d},{tail}"


def _lines(recipe: Recipe, rng: random.Random, count: int) -> list[str]:
    start, stream = recipe.start_ms, recipe.stream
    if stream == "identifiers":
        tail = row_text.identifiers_tail(recipe.participant_id, recipe.os)
        return [_line(start + rng.randrange(HOUR_MS), tail)]
    if stream == "survey_timings":
        session = row_text.survey_timings(recipe.survey_id, recipe.os, rng)
        longest = session[-1][0]
        lasts = longest
        if recipe.life is not None:
            sitting = sitting_in(recipe.life, moment_of(start))
            lasts = ms_of(sitting.submitted) - ms_of(sitting.opened)
        begin = start + recipe.submitted_ms - lasts
        return [_line(begin + ms * lasts // longest, tail) for ms, tail in session]
    offsets = sorted(rng.sample(range(HOUR_MS), min(count, HOUR_MS)))
    if stream == "wifi":  # the rows of one scan share the time of the scan
        offsets = [offsets[i - i % 4] for i in range(len(offsets))]
    pool = _pool(stream, recipe.os)
    hour_text = f"{moment_of(start):%Y-%m-%dT%H:}"
    lines = []
    for offset in offsets:
        seconds, ms = divmod(offset, 1000)
        tail = pool[rng.randrange(_POOL_ROWS)]
        if stream == "texts":
            tail = f"{tail},{start + offset - 1500}"
        time_text = f"{hour_text}{seconds // 60:02d}:{seconds % 60:02d}.{ms:03d}"
        lines.append(f"{start + offset},{time_text},{tail}")
    return lines


@lru_cache(maxsize=64)
def _pool(stream: str, os: str) -> tuple[str, ...]:
    rng, tail = random.Random(f"{stream}/{os}"), row_text.tail_of(stream, os)
    return tuple(tail(rng) for _ in range(_POOL_ROWS))


@lru_cache(maxsize=64)
def _template(stream: str, os: str, count: int, variant: int) -> tuple[bytes, ...]:
    """The rows of an hour in 36 steps of 100 s, with marks where the hour's own digits go."""
    # Every row has numbers of its own: repeated ones would compress better than real data does.
    rng, tail_of = random.Random(f"{stream}/{os}/{count}/{variant}"), row_text.tail_of(stream, os)
    steps: list[list[bytes]] = [[] for _ in range(HOUR_MS // _STEP_MS)]
    for number in range(count):
        offset = 10 + number * (HOUR_MS - 10) // count
        seconds, ms = divmod(offset, 1000)
        time_text = f"{seconds // 60:02d}:{seconds % 60:02d}.{ms:03d}"
        tail = tail_of(rng)
        row = _MARK_MS + f"{offset % _STEP_MS:05d},".encode() + _MARK_HOUR + f"{time_text},{tail}".encode()
        steps[offset // _STEP_MS].append(row)
    return tuple(b"\n".join(step) for step in steps)


def _stamp_parts(recipe: Recipe, rng: random.Random) -> tuple[list[bytes], tuple[bytes, ...]]:
    """A few rows of the file's own, which make it differ from other files of its hour, and its template."""
    pool = _pool(recipe.stream, recipe.os)
    own = [_line(recipe.start_ms + ms, pool[rng.randrange(_POOL_ROWS)]).encode() for ms in range(8)]
    return own, _template(recipe.stream, recipe.os, recipe.rows - len(own), rng.randrange(4))


def _stamp(recipe: Recipe, rng: random.Random) -> bytes:
    own, template = _stamp_parts(recipe, rng)
    hour_text = f"{moment_of(recipe.start_ms):%Y-%m-%dT%H:}".encode()
    first = recipe.start_ms // _STEP_MS
    steps = [
        step.replace(_MARK_MS, b"%d" % (first + number)).replace(_MARK_HOUR, hour_text)
        for number, step in enumerate(template)
        if step
    ]
    return b"\n".join([*own, *steps])


@lru_cache(maxsize=8)
def _noise_block(seed: str) -> bytes:
    return random.Random(seed).randbytes(CHUNK_BYTES)


_MP4: Final = b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom"
"""What phones' recordings begin with."""


def recording(seed: str, size_bytes: int) -> Iterator[bytes]:
    """The beginning of an MP4 file, and pseudo-random bytes, in chunks: one block is in memory at a time."""
    block = _noise_block(seed)
    for start in range(0, size_bytes, CHUNK_BYTES):
        chunk = block if start else _MP4 + block[len(_MP4) :]
        yield chunk[: size_bytes - start]


_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_ZSTD_BLOCK = 128 * 1024


def zstd_header(content_bytes: int) -> bytes:
    """A frame header with the content size in it: one segment up to 2 MiB, a window of 2 MiB beyond."""
    if content_bytes <= 2 * 1024 * 1024:
        return _ZSTD_MAGIC + b"\xa0" + struct.pack("<I", content_bytes)
    return _ZSTD_MAGIC + b"\xc0\x58" + struct.pack("<Q", content_bytes)


def zstd_stored(chunks: Iterator[bytes], content_bytes: int) -> Iterator[bytes]:
    """A zstd frame around incompressible bytes, without compressing: raw blocks only."""
    yield zstd_header(content_bytes)
    left = content_bytes
    if not left:
        yield b"\x01\x00\x00"
    for chunk in chunks:
        for start in range(0, len(chunk), _ZSTD_BLOCK):
            block = chunk[start : start + _ZSTD_BLOCK]
            left -= len(block)
            yield ((len(block) << 3) | (not left)).to_bytes(3, "little") + block


def zstd_bomb(content_bytes: int, *, declared: bool = True) -> bytes:
    """A small zstd frame that expands to ``content_bytes`` zeros, with or without saying so in its header."""
    header = zstd_header(content_bytes) if declared else _ZSTD_MAGIC + b"\x00\x58"
    full, rest = divmod(content_bytes, _ZSTD_BLOCK)
    blocks = ((_ZSTD_BLOCK << 3) | 2).to_bytes(3, "little") + b"\x00"
    return header + blocks * full + ((rest << 3) | 3).to_bytes(3, "little") + b"\x00"


class BlobCache:
    """The most recently used blobs, up to a number of bytes."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._held_bytes = 0
        self._blobs: OrderedDict[object, bytes] = OrderedDict()
        self._lock = Lock()

    def get(self, key: object) -> bytes | None:
        with self._lock:
            blob = self._blobs.get(key)
            if blob is not None:
                self._blobs.move_to_end(key)
            return blob

    def put(self, key: object, blob: bytes) -> None:
        with self._lock:
            if key in self._blobs or len(blob) > self._max_bytes:
                return
            self._blobs[key] = blob
            self._held_bytes += len(blob)
            while self._held_bytes > self._max_bytes:
                self._held_bytes -= len(self._blobs.popitem(last=False)[1])
