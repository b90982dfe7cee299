"""The index of a participant's windows: which there are, and the MAC of each one's newest manifest.

It finds what a manifest alone can't show: a manifest that was removed, or put back to an older one that was right
once. It lies at ``<lake>/<study id>/.beiwe/<participant>.index``. That the index itself is the newest one, and that
nobody's is gone, is what the study's roll tells (see ``roll``).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime

from dagster_beiwe.errors import IntegrityError
from dagster_beiwe.lake.manifest import Authenticator, Manifest, sealed_fields
from dagster_beiwe.lake.shapes import ShapeError, read_as
from dagster_beiwe.lake.storage import Storage
from dagster_beiwe.names import is_plain_name

_PURPOSE = "window index"


@dataclass(frozen=True)
class IndexEntry:
    """The newest commit of a window that the index knows; ``counted`` as in the manifest, empty with open holes.

    ``compared_at`` (aware, UTC) is when the contents of the window were last compared with the server's; None if
    they never were.
    """

    generation: int
    mac: str
    counted: str = ""
    compared_at: datetime | None = None

    @classmethod
    def of(cls, manifest: Manifest, *, compared_at: datetime | None = None) -> IndexEntry:
        return cls(manifest.generation, manifest.mac, manifest.counted if manifest.complete else "", compared_at)

    def agrees_with(self, manifest: Manifest) -> bool:
        """Whether the manifest is this commit, or the one right after it (written just before the index was)."""
        if manifest.generation == self.generation:
            return manifest.mac == self.mac
        return manifest.generation == self.generation + 1 and manifest.previous_mac == self.mac


@dataclass(frozen=True)
class IndexMark:
    """Which index it was: its edition and its MAC."""

    edition: int
    mac: str

    def precedes(self, index: Index) -> bool:
        """Whether an index is this one or a later one."""
        return index.edition > self.edition or index.mark == self


@dataclass(frozen=True, kw_only=True)
class Index:
    """Entries by window key. ``edition`` counts from 1 how often it was written, 0 if there is none.

    ``roll`` is the edition of the study's roll that the writing run began with: the roll can't be older.
    """

    windows: Mapping[str, IndexEntry] = field(default_factory=dict)
    edition: int = 0
    roll: int = 0
    mac: str = ""

    @property
    def mark(self) -> IndexMark:
        return IndexMark(self.edition, self.mac)


def index_path(study_id: str, participant: str) -> str:
    return f"{study_id}/.beiwe/{participant}.index"


def read_index(storage: Storage, authenticator: Authenticator, study_id: str, participant: str) -> Index:
    """A participant's index; an empty one for a new participant. Raises ``IntegrityError`` if it was changed."""
    path = index_path(study_id, participant)
    try:
        data = storage.read(path)
    except FileNotFoundError:
        return Index()
    document = authenticator.unseal(_PURPOSE, data, name=path)
    if document.get("participant") != participant or document.get("study_id") != study_id:
        raise IntegrityError(
            f"Expected the index of participant {participant} at {path!r}, got that of another; it was not trusted. "
            "Files were swapped: restore them from a backup."
        )
    with sealed_fields(path):
        windows = read_as(dict[str, tuple[int, str, str]], document["windows"])
        if not all(map(is_plain_name, windows)):
            raise ShapeError("a window that no index has")
        # Indexes of before contents were compared lack the field.
        compared = {key: _moment(text) for key, text in read_as(dict[str, str], document.get("compared", {})).items()}
        return Index(
            windows={key: IndexEntry(*entry, compared.get(key)) for key, entry in windows.items()},
            edition=read_as(int, document["edition"]),
            roll=read_as(int, document["roll"]),
            mac=document["mac"],
        )


def write_index(
    storage: Storage, authenticator: Authenticator, study_id: str, participant: str, index: Index
) -> IndexMark:
    """Write an index in place of the one before; its edition must be higher."""
    document = {
        "study_id": study_id,
        "participant": participant,
        "edition": index.edition,
        "roll": index.roll,
        "windows": {key: [entry.generation, entry.mac, entry.counted] for key, entry in sorted(index.windows.items())},
        "compared": {
            key: entry.compared_at.isoformat() for key, entry in sorted(index.windows.items()) if entry.compared_at
        },
    }
    mac, data = authenticator.sealed(_PURPOSE, document)
    storage.write(index_path(study_id, participant), data)
    return IndexMark(index.edition, mac)


def commits_fingerprint(storage: Storage, study_id: str, participant: str) -> str:
    """A short digest of a participant's commits, empty if there are none; it moves with each commit and repair.

    Not with a comparison that found nothing. It is taken without a key: it proves nothing.
    """
    try:
        data = storage.read(index_path(study_id, participant))
    except FileNotFoundError:
        return ""
    with suppress(ValueError, KeyError, TypeError, RecursionError):  # whoever reads the index says that it is damaged
        data = repr(json.loads(data)["windows"]).encode()
    return hashlib.sha256(data).hexdigest()[:12]


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ShapeError("a time without a zone")
    return moment
