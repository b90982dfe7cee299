"""The index of a participant's windows: which there are, and the MAC of each one's newest manifest.

It finds what a manifest alone can't show: a manifest that was removed, or put back to an older one that was right
once. It lies at ``<lake>/<study id>/.beiwe/<participant>.index``. The roll beside it, ``participants.roll``, lists
everybody who has an index, so that a participant who was removed altogether is missed.
"""

from __future__ import annotations

from dataclasses import dataclass

from dagster_beiwe.errors import IntegrityError
from dagster_beiwe.lake.manifest import Authenticator, Manifest
from dagster_beiwe.lake.storage import Storage

_PURPOSE = "window index"
_ROLL_PURPOSE = "roll of participants"


@dataclass(frozen=True)
class IndexEntry:
    """The newest commit of a window that the index knows; ``counted`` as in the manifest, empty with open holes."""

    generation: int
    mac: str
    counted: str = ""

    @classmethod
    def of(cls, manifest: Manifest) -> IndexEntry:
        return cls(manifest.generation, manifest.mac, manifest.counted if manifest.complete else "")

    def agrees_with(self, manifest: Manifest) -> bool:
        """Whether the manifest is this commit, or the one right after it (written just before the index was)."""
        if manifest.generation == self.generation:
            return manifest.mac == self.mac
        return manifest.generation == self.generation + 1 and manifest.previous_mac == self.mac


def index_path(study_id: str, participant: str) -> str:
    return f"{study_id}/.beiwe/{participant}.index"


def read_index(
    storage: Storage, authenticator: Authenticator, study_id: str, participant: str
) -> dict[str, IndexEntry]:
    """The entries by window key; empty for a new participant. Raises ``IntegrityError`` if it was changed."""
    path = index_path(study_id, participant)
    try:
        data = storage.read(path)
    except FileNotFoundError:
        return {}
    document = authenticator.unseal(_PURPOSE, data, name=path)
    if document.get("participant") != participant or document.get("study_id") != study_id:
        raise IntegrityError(
            f"Expected the index of participant {participant} at {path!r}, got that of another; it was not trusted. "
            "Files were swapped: restore them from a backup."
        )
    return {key: IndexEntry(int(entry[0]), str(entry[1]), str(entry[2])) for key, entry in document["windows"].items()}


def write_index(
    storage: Storage,
    authenticator: Authenticator,
    study_id: str,
    participant: str,
    entries: dict[str, IndexEntry],
) -> None:
    document = {
        "study_id": study_id,
        "participant": participant,
        "windows": {key: [entry.generation, entry.mac, entry.counted] for key, entry in sorted(entries.items())},
    }
    storage.write(index_path(study_id, participant), authenticator.seal(_PURPOSE, document))


def roll_path(study_id: str) -> str:
    return f"{study_id}/.beiwe/participants.roll"


def read_roll(storage: Storage, authenticator: Authenticator, study_id: str) -> frozenset[str]:
    """Everybody with a committed window. Raises ``IntegrityError`` if the roll was changed or is another study's."""
    path = roll_path(study_id)
    try:
        data = storage.read(path)
    except FileNotFoundError:
        return frozenset()
    document = authenticator.unseal(_ROLL_PURPOSE, data, name=path)
    if document.get("study_id") != study_id:
        raise IntegrityError(
            f"Expected the roll of study {study_id} at {path!r}, got that of another; it was not trusted. Files were "
            "swapped: restore them from a backup."
        )
    return frozenset(document["participants"])


def write_roll(storage: Storage, authenticator: Authenticator, study_id: str, participants: frozenset[str]) -> None:
    document = {"study_id": study_id, "participants": sorted(participants)}
    storage.write(roll_path(study_id), authenticator.seal(_ROLL_PURPOSE, document))
