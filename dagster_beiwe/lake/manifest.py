"""The manifest of one participant and window: what was committed, and the proof that it is still that.

A window's files exist if its manifest lists them. Manifests are JSON. With a passphrase they end in a keyed MAC over
their canonical form; without one, in a plain digest, which finds accidents but not attacks.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal, NoReturn

from dagster_beiwe.errors import IntegrityError, TimeRangeError
from dagster_beiwe.lake.shapes import ShapeError, read_as
from dagster_beiwe.names import is_participant_id, is_path_below, is_plain_name, is_study_id
from dagster_beiwe.windows import Window

FORMAT = 1
HashName = Literal["sha1", "md5"]
_text = json.JSONEncoder(ensure_ascii=False).encode


@dataclass(frozen=True, kw_only=True)
class PreviousVersion:
    """What a file was before the server restated it."""

    size_bytes: int
    sha256: str
    fetched_at: str


@dataclass(frozen=True, kw_only=True)
class FileRecord:
    """One file of a window.

    ``key`` is its registry key without storage prefix: the identity, because the server's ``_2`` suffixes move
    between files. ``member`` is its name in Beiwe's tree, ``path`` where it is stored, both below the participant's
    folder. ``time`` is the bin time. Sizes are bytes; ``size_bytes``, ``md5``, ``sha1`` and ``sha256`` (hexadecimal)
    are of the plain content (``md5`` is None where it was not needed), ``stored_*`` of what lies in the lake.
    ``known_by`` names the hash by which the server knows the file. ``checked`` is False if it came in an archive that
    broke off before it told hashes, and has not come again since. ``counted_in`` is the row (date and zone) of the
    server's daily counts that is known to have counted the file with this content, seen at ``counted_at``; both are
    empty if none is. Times are ISO 8601 in UTC. ``last_seen`` is when
    the server last had the file, None where that is the manifest's own ``committed_at``. ``vanished_at`` is set
    while the server no longer has the file; ``times_vanished`` counts how often that was found.
    """

    key: str
    member: str
    path: str
    stream: str
    survey_id: str | None
    time: str
    size_bytes: int
    md5: str | None
    sha1: str
    sha256: str
    stored_size_bytes: int
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
    restatements: int = 0
    previous: PreviousVersion | None = None
    last_seen: str | None = None
    vanished_at: str | None = None
    times_vanished: int = 0

    @property
    def moment(self) -> datetime:
        """The bin time, aware, UTC."""
        return datetime.fromisoformat(self.time)

    @property
    def present(self) -> bool:
        """Whether the server still had the file when it was last looked at."""
        return self.vanished_at is None


@dataclass(frozen=True, kw_only=True)
class Hole:
    """A part of a window that could not be fetched: half-open UTC hours, the streams, and why."""

    start: str
    end: str
    streams: tuple[str, ...]
    error: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What is committed of one participant's window.

    ``generation`` counts commits from 1; ``previous_mac`` is the MAC of the one before, so that commits form a
    chain. ``removed`` are records of files that are no longer in the lake: their history, which goes on if they come
    again. ``streams`` were asked for. ``complete`` is False while ``holes`` are open. ``counted`` is a fingerprint of
    what the server counted for the window's days just before it was fetched, empty if that is not known: when the
    server's numbers do not agree with it, the window has moved.
    """

    study_id: str
    participant: str
    window: str
    start: str
    end: str
    generation: int
    previous_mac: str
    committed_at: str
    run_id: str
    streams: tuple[str, ...]
    files: tuple[FileRecord, ...]
    removed: tuple[FileRecord, ...] = ()
    holes: tuple[Hole, ...] = ()
    counted: str = ""
    format: int = FORMAT
    mac: str = field(default="", compare=False)

    @classmethod
    def from_document(cls, document: object, name: str) -> Manifest:
        """The manifest in a JSON document; ``name`` is for messages. Raises ``IntegrityError`` for other fields."""
        with sealed_fields(name):
            manifest = read_as(cls, document)
            _check(manifest)
        return manifest

    def to_document(self) -> dict[str, Any]:
        """The manifest as JSON holds it; ``asdict`` would copy every value of every file, which takes long."""
        files, removed = (
            [{**vars(file), "previous": file.previous and vars(file.previous)} for file in records]
            for records in (self.files, self.removed)
        )
        return {**vars(self), "files": files, "removed": removed, "holes": [vars(hole) for hole in self.holes]}

    @property
    def complete(self) -> bool:
        return not self.holes

    @property
    def span(self) -> Window:
        return Window(datetime.fromisoformat(self.start), datetime.fromisoformat(self.end))

    @property
    def data_version(self) -> str:
        """A digest of the content that readers see: equal content gives an equal version, whenever and however it came.

        What has vanished is not part of it, because readers leave it out.
        """
        digest = hashlib.sha256()
        for record in sorted((each for each in self.files if each.present), key=lambda record: record.key):
            digest.update(f"{record.key}\0{record.sha256}\n".encode())
        return digest.hexdigest()[:32]

    def last_seen(self, record: FileRecord) -> str:
        """When the server last had one of the manifest's files."""
        return record.last_seen or self.committed_at

    def by_key(self) -> dict[str, FileRecord]:
        return {record.key: record for record in self.files}


class Authenticator:
    """Makes and checks the MACs of one study's manifests."""

    def __init__(self, key: bytes | None) -> None:
        self._key = key

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "Expected no pickling or copying of Authenticator, which holds a key; nothing was written. Open the study "
            "again where it is needed."
        )

    def mac(self, purpose: str, payload: bytes) -> str:
        """``hmac-sha256:...`` with a key, ``sha256:...`` without. ``purpose`` keeps kinds of documents apart."""
        data = purpose.encode() + b"\0" + payload
        if self._key is None:
            return "sha256:" + hashlib.sha256(data).hexdigest()
        return "hmac-sha256:" + hmac.new(self._key, data, hashlib.sha256).hexdigest()

    def seal(self, purpose: str, document: Mapping[str, Any]) -> bytes:
        """The document as JSON with its MAC."""
        return self.sealed(purpose, document)[1]

    def sealed(self, purpose: str, document: Mapping[str, Any]) -> tuple[str, bytes]:
        """The MAC of a document, and the document as JSON with it."""
        body = {key: value for key, value in document.items() if key != "mac"}
        mac = self.mac(purpose, _canonical(body))
        return mac, _pretty({**body, "mac": mac})

    def unseal(self, purpose: str, data: bytes, *, name: str) -> dict[str, Any]:
        """The document, if its MAC is right; raises ``IntegrityError`` otherwise. Its fields may be anything."""
        try:
            document = json.loads(data)
            mac, body = document["mac"], {key: value for key, value in document.items() if key != "mac"}
            given, right = mac.encode(), self.mac(purpose, _canonical(body)).encode()
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            raise IntegrityError(_changed(name, "JSON with a MAC", "something else")) from None
        if not hmac.compare_digest(right, given):
            raise IntegrityError(_changed(name, "the MAC of its content", "another one"))
        return {**body, "mac": mac}

    def seal_manifest(self, manifest: Manifest) -> tuple[Manifest, bytes]:
        """The manifest with its MAC, and its bytes."""
        body = manifest.to_document()
        del body["mac"]
        sealed = replace(manifest, mac=self.mac("manifest", _canonical(body)))
        return sealed, _pretty({**body, "mac": sealed.mac})

    def unseal_manifest(self, data: bytes, *, name: str) -> Manifest:
        """Read a manifest; raises ``IntegrityError`` if it was changed or is of a newer format."""
        document = self.unseal("manifest", data, name=name)
        if document.get("format") != FORMAT:
            raise IntegrityError(
                f"Expected a manifest of format {FORMAT} at {name!r}, got {document.get('format')!r}; it was not read. "
                "It was written by a newer version: update dagster-beiwe."
            )
        return Manifest.from_document(document, name)


@contextmanager
def sealed_fields(name: str) -> Iterator[None]:
    """Turn what is wrong with a sealed document's fields into an ``IntegrityError``; ``name`` is for messages."""
    try:
        yield
    except (KeyError, ValueError, TimeRangeError):
        raise IntegrityError(_changed(name, "the fields of such a document", "others")) from None


def _check(manifest: Manifest) -> None:
    """Raise ``ShapeError`` for places outside the participant's folder, and whatever times raise that are none."""
    _ = manifest.span
    for record in (*manifest.files, *manifest.removed):
        if record.moment.tzinfo is None or not (is_path_below(record.path) and is_path_below(record.member)):
            raise ShapeError("a path or a time that no file has")
    if not (
        is_study_id(manifest.study_id) and is_participant_id(manifest.participant) and is_plain_name(manifest.window)
    ):
        raise ShapeError("a place that no manifest has")


def _canonical(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def _pretty(document: Mapping[str, Any]) -> bytes:
    """A line for each field and each entry of a list. Python's own indentation takes ten times as long."""
    fields = (f"{_text(name)}: {_lines(value)}" for name, value in document.items())
    return ("{\n " + ",\n ".join(fields) + "\n}\n").encode()


def _lines(value: Any) -> str:
    if isinstance(value, (list, tuple)) and value:
        return "[\n  " + ",\n  ".join(map(_text, value)) + "\n ]"
    return _text(value)


def _changed(name: str, expected: str, got: str) -> str:
    return (
        f"Expected {expected} in {name!r}, got {got}; it was not trusted. It was changed or damaged after it was "
        "committed, or the passphrase is another one: run `dagster-beiwe verify`, restore it from a backup, or remove "
        "it and run the partition again."
    )


def total_bytes(records: Iterable[FileRecord]) -> int:
    """Sum of the plain sizes."""
    return sum(record.size_bytes for record in records)
