"""The index of a participant's windows: which there are, and the MAC of each one's newest manifest.

It finds what a manifest alone can't show: a manifest that was removed, or put back to an older one that was right
once. It lies at ``<lake>/<study id>/.beiwe/<participant>.index``.
"""

from __future__ import annotations

from dataclasses import dataclass

from dagster_beiwe.errors import IntegrityError
from dagster_beiwe.lake.manifest import Authenticator, Manifest
from dagster_beiwe.lake.storage import Storage

_PURPOSE = "window index"


@dataclass(frozen=True)
class IndexEntry:
    """The newest commit of a window that the index knows."""

    generation: int
    mac: str

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
    return {key: IndexEntry(int(entry[0]), str(entry[1])) for key, entry in document["windows"].items()}


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
        "windows": {key: [entry.generation, entry.mac] for key, entry in sorted(entries.items())},
    }
    storage.write(index_path(study_id, participant), authenticator.seal(_PURPOSE, document))
