"""The manifest of one version of a participant's window, or of a table: which files it has, and what is known of each.

Files exist if the manifest of the newest version lists them. The log's record names a manifest by its hash,
so a manifest needs no proof of its own. Stored as JSON, compressed with zstd, under a name that never comes twice.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Iterator
from datetime import datetime
from functools import lru_cache
from typing import Annotated, Final, Literal, TypeVar

import msgspec
import zstandard
from msgspec import Meta, Struct
from msgspec.structs import replace

from dagster_beiwe.errors import IntegrityError, TimeRangeError
from dagster_beiwe.ids import is_participant_id, is_path_below, is_plain_name, is_study_id
from dagster_beiwe.lake.frames import decompressor
from dagster_beiwe.lake.layout import Home
from dagster_beiwe.windows import Window

HashName = Literal["sha1", "md5"]
Count = Annotated[int, Meta(ge=0)]

_LARGEST_BYTES: Final = 256 * 1024 * 1024
_LEVEL: Final = 3
_SKIPPED: Final = struct.Struct("<II")
"""How a frame begins that decoders of zstd skip: a number that says so, and its length."""
_SKIPPED_FRAME: Final = 0x184D2A50
_LENGTH: Final = struct.Struct("<I")

T = TypeVar("T")


class PreviousVersion(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a file was before the server restated it."""

    size_bytes: Count
    sha256: str
    fetched_at: str


class FileRecord(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One file of a window.

    ``key`` is its registry key without storage prefix: the identity, because the server's ``_2`` suffixes move between
    files. ``member`` is its name in Beiwe's tree, ``path`` where it is stored, both below the participant's folder.
    ``time`` is the bin time. Sizes are bytes; ``size_bytes``, ``md5``, ``sha1`` and ``sha256`` (hexadecimal) are of the
    plain content (``md5`` is None if it was not needed), ``stored_*`` of what lies in the lake. ``known_by`` names the
    hash by which the server knows the file. ``checked`` is False if it came in an archive that broke off before it
    listed hashes, and has not arrived again since. ``counted_in`` is the row (date and zone) of the server's daily
    counts that is known to have counted the file with this content, seen at ``counted_at``; both are empty if none is.
    Times are ISO 8601 in UTC. ``last_seen`` is when the server last had the file, None if that is the manifest's own
    ``committed_at``. ``deleted_upstream_at`` is set while the server no longer has the file; ``times_deleted_upstream``
    counts how often that was found.
    """

    key: str
    member: str
    path: str
    stream: str
    survey_id: str | None
    time: str
    size_bytes: Count
    md5: str | None
    sha1: str
    sha256: str
    stored_size_bytes: Count
    stored_sha256: str
    encryption: str
    compression: str
    first_seen: str
    fetched_at: str
    run_id: str
    known_by: HashName = "sha1"
    checked: bool = True
    counted_in: str = ""
    counted_at: str = ""
    restatements: Count = 0
    previous: PreviousVersion | None = None
    last_seen: str | None = None
    deleted_upstream_at: str | None = None
    times_deleted_upstream: Count = 0

    @property
    def moment(self) -> datetime:
        """The bin time, aware, UTC."""
        return datetime.fromisoformat(self.time)

    @property
    def present(self) -> bool:
        """Whether the server still had the file when it was last looked at."""
        return self.deleted_upstream_at is None


class FetchFailure(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A part of a window that could not be fetched: half-open hours (UTC) and streams.

    ``error`` is the class name of the error, ``message`` its text; ``transient`` as in ``BeiweError``.
    """

    start: str
    end: str
    streams: tuple[str, ...]
    error: str
    message: str = ""
    transient: bool = False

    @property
    def window(self) -> Window:
        return Window(datetime.fromisoformat(self.start), datetime.fromisoformat(self.end))


class Manifest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What was committed of one participant's window.

    ``removed`` are records of files that are no longer in the lake: their history, which continues if they come back.
    ``streams`` were asked for. ``complete`` is False if there are ``failures``. ``counts_fingerprint`` is a fingerprint
    of what the server counted for the window's days just before it was fetched, made with the participant's secret, and
    empty if that is not known: when the server's numbers do not agree with it, the window has changed."""

    study_id: str
    participant: str
    window: str
    start: str
    end: str
    committed_at: str
    run_id: str
    streams: tuple[str, ...]
    files: tuple[FileRecord, ...]
    removed: tuple[FileRecord, ...] = ()
    failures: tuple[FetchFailure, ...] = ()
    counts_fingerprint: str = ""

    @property
    def complete(self) -> bool:
        return not self.failures

    @property
    def span(self) -> Window:
        return Window(datetime.fromisoformat(self.start), datetime.fromisoformat(self.end))

    @property
    def data_version(self) -> str:
        """A digest of the content that readers see: equal content gives an equal version, whenever and however it came.

        Files that were deleted upstream are not part of it, because readers leave them out.
        """
        digest = hashlib.sha256()
        for record in sorted((each for each in self.files if each.present), key=lambda record: record.key):
            digest.update(f"{record.key}\0{record.sha256}\n".encode())
        return digest.hexdigest()[:32]

    def seen(self, moment: datetime) -> Manifest:
        """The manifest of a window all of whose files the server still had later."""
        return replace(self, committed_at=max(self.committed_at, moment.isoformat(timespec="seconds")))

    def says_the_same(self, other: Manifest) -> bool:
        """Whether it differs by its run and time only."""
        return replace(self, run_id=other.run_id, committed_at=other.committed_at) == other

    def last_seen(self, record: FileRecord) -> str:
        """When the server last had one of the manifest's files."""
        return record.last_seen or self.committed_at

    def by_key(self) -> dict[str, FileRecord]:
        return {record.key: record for record in self.files}


class FileSizes(Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """What counting needs of a window's files: a large study has millions of them.

    Each file that the server still has is a number in ``streams``, its bin time in Unix seconds, and its plain size.
    """

    study_id: str
    participant: str
    window: str
    streams: list[str]
    stream: list[int]
    seconds: list[int]
    size_bytes: list[int]

    @classmethod
    def of(cls, manifest: Manifest) -> FileSizes:
        files = [record for record in manifest.files if record.deleted_upstream_at is None]
        numbers = {name: number for number, name in enumerate(sorted({record.stream for record in files}))}
        return cls(
            study_id=manifest.study_id,
            participant=manifest.participant,
            window=manifest.window,
            streams=list(numbers),
            stream=[numbers[record.stream] for record in files],
            seconds=[_unix_seconds(record.time) for record in files],
            size_bytes=[record.size_bytes for record in files],
        )


class ModularEncryption(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What opens a Parquet file that is encrypted module by module.

    ``wrapped_key`` is the file's own key, encrypted by the cipher that the manifest names; ``bound_to`` the path that
    the file was first written to. ``footer_*`` are of the file's last bytes: what they say of its encryption, no key
    proves.
    """

    bound_to: str
    wrapped_key: bytes
    key_sha256: str
    footer_size_bytes: Count
    footer_sha256: str


class TableManifest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What was committed of one table: ``partition`` is None for one without partitions.

    ``file`` is its name beside the manifest. ``size_bytes`` and ``sha256`` are of the table's content, in whatever form
    it was first stored; ``stored_*`` are of what lies in the lake. ``modular`` is None for a file that is not encrypted
    or, as tables were stored before, encrypted as a whole; ``sha256`` then proves its plain bytes. Times are ISO 8601
    in UTC.
    """

    asset_key: tuple[str, ...]
    partition: str | None = None
    file: str
    encryption: str
    rows: Count
    size_bytes: Count
    sha256: str
    stored_size_bytes: Count
    stored_sha256: str
    written_at: str
    run_id: str
    modular: ModularEncryption | None = None


_decoder: msgspec.json.Decoder[Manifest] = msgspec.json.Decoder(Manifest)
_sizes_decoder: msgspec.msgpack.Decoder[FileSizes] = msgspec.msgpack.Decoder(FileSizes)
_table_decoder: msgspec.json.Decoder[TableManifest] = msgspec.json.Decoder(TableManifest)
_encoder = msgspec.json.Encoder()
_sizes_encoder = msgspec.msgpack.Encoder()


def encode(manifest: Manifest | TableManifest) -> bytes:
    """A manifest as it is stored. A window's ends with its sizes, in a frame that decoders of zstd skip."""
    compress = zstandard.ZstdCompressor(level=_LEVEL).compress
    data = compress(_encoder.encode(manifest))
    if isinstance(manifest, TableManifest):
        return data
    sizes = compress(_sizes_encoder.encode(FileSizes.of(manifest)))
    return data + _SKIPPED.pack(_SKIPPED_FRAME, len(sizes) + _LENGTH.size) + sizes + _LENGTH.pack(len(sizes))


def decode(data: bytes, *, name: str) -> Manifest:
    """The manifest in stored bytes; ``name`` is for messages. Raises ``IntegrityError`` for anything else."""
    manifest = _decoded(_decoder, data, name=name)
    try:
        _check(manifest)
    except (ValueError, TimeRangeError):
        raise _forged(name) from None
    return manifest


def decode_sizes(data: bytes, *, name: str) -> FileSizes:
    """The sizes in the stored bytes of a window's manifest, ten times as fast as the manifest.

    ``name`` is for messages. Raises ``IntegrityError`` for other bytes.
    """
    sizes = _sizes_in(data)
    return _decoded(_sizes_decoder, sizes, name=name) if sizes else FileSizes.of(decode(data, name=name))


def _sizes_in(data: bytes) -> bytes:
    """The sizes at the end of a stored manifest; empty if an earlier version wrote it."""
    end = len(data) - _LENGTH.size
    start = end - _LENGTH.unpack_from(data, end)[0] if end >= 0 else -1
    if start < _SKIPPED.size:
        return b""
    frame = (_SKIPPED_FRAME, len(data) - start)
    return data[start:end] if _SKIPPED.unpack_from(data, start - _SKIPPED.size) == frame else b""


@lru_cache(maxsize=1 << 16)
def _unix_seconds(time: str) -> int:
    return int(datetime.fromisoformat(time).timestamp())


def decode_table(data: bytes, *, name: str) -> TableManifest:
    """The manifest of a table in stored bytes; ``name`` is for messages. Raises ``IntegrityError`` for other bytes."""
    manifest = _decoded(_table_decoder, data, name=name)
    if "/" in manifest.file or manifest.file in (".", ".."):
        raise _forged(name)
    return manifest


def stored_files(home: Home, data: bytes) -> Iterator[tuple[str, int, str]]:
    """Path in the lake, size and SHA-256 of each file that a stored manifest names, as it lies there."""
    if home.of_table:
        table = decode_table(data, name=home.prefix)
        yield f"{home.folder}/{table.file}", table.stored_size_bytes, table.stored_sha256
    else:
        for record in decode(data, name=home.folder).files:
            yield f"{home.folder}/{record.path}", record.stored_size_bytes, record.stored_sha256


def named(home: Home, data: bytes) -> Iterator[str]:
    """Paths in the lake of the files that a stored manifest names, for the collector."""
    return (path for path, _, _ in stored_files(home, data))


def total_bytes(records: Iterable[FileRecord]) -> int:
    """Sum of the plain sizes."""
    return sum(record.size_bytes for record in records)


def _decoded(decoder: msgspec.json.Decoder[T] | msgspec.msgpack.Decoder[T], data: bytes, *, name: str) -> T:
    """A stored document as its decoder reads it; ``name`` is for messages. Raises ``IntegrityError``."""
    try:
        if zstandard.frame_content_size(data) not in range(_LARGEST_BYTES):  # it would be taken as memory at once
            raise ValueError("a size that no document has")
        return decoder.decode(decompressor().decompress(data))
    except (zstandard.ZstdError, msgspec.MsgspecError, ValueError, RecursionError):
        raise IntegrityError(
            f"{name!r} does not have the fields of such a document. It was not used. A newer version wrote it (update "
            "dagster-beiwe), or it was damaged: restore it from a backup, or run `dagster-beiwe verify --repair`."
        ) from None


def _check(manifest: Manifest) -> None:
    """Raise ``ValueError`` for places outside the participant's folder, and whatever invalid times raise."""
    _ = manifest.span
    for record in (*manifest.files, *manifest.removed):
        if record.moment.tzinfo is None or not (is_path_below(record.path) and is_path_below(record.member)):
            raise ValueError("a path or a time that no file has")
    if not (
        is_study_id(manifest.study_id) and is_participant_id(manifest.participant) and is_plain_name(manifest.window)
    ):
        raise ValueError("a place that no manifest has")


def _forged(name: str) -> IntegrityError:
    return IntegrityError(
        f"{name!r} names a place or a time that no manifest has. It was not used. It was forged or damaged: restore it "
        "from a backup, or run `dagster-beiwe verify --repair`."
    )
