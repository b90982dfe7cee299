# ruff: noqa: F821
"""Remove a participant from the lake for good: raw data, and the tables that are of nobody else."""

from __future__ import annotations

from dataclasses import dataclass

from dagster_beiwe.lake.seals import FOLDER
from dagster_beiwe.lake.storage import Storage
from dagster_beiwe.lake.study import StudyLake
from dagster_beiwe.lake.table_list import TableEntry, list_tables, stem_of
from dagster_beiwe.names import check_participant_id, is_study_id


@dataclass(frozen=True, kw_only=True)
class Purge:
    """What was removed, in files and tables, and the assets whose tables may still hold rows of the participant."""

    files: int
    tables: int
    remaining: tuple[str, ...]


def purge_participant(lake: StudyLake, participant: str, *, run_id: str) -> Purge:
    """Remove all files, manifests and the index of a participant, and all tables whose partition names them.

    The passphrase is checked first. A run that writes of the participant meanwhile must be stopped before. Doing it
    again goes on where it was interrupted.
    """
    folder = f"{lake.study_id}/{check_participant_id(participant)}"
    with lake.writer(run_id=run_id):
        others = frozenset(lake.participants()) - {participant}
        change_roll(lake.storage, lake.authenticator, lake.study_id, lambda roll: roll.without(participant))
        paths = list(lake.storage.walk(folder))
        for path in paths:
            lake.storage.delete(path)
        lake.storage.delete(index_path(lake.study_id, participant))
        lake.storage.delete_folder(folder)
        entries = [entry for entry in list_tables(lake.storage) if not _is_foreign(entry, lake.study_id)]
        tables = _purge_tables(lake, participant)
    return Purge(files=len(paths), tables=tables, remaining=_remaining(entries, participant, others))


def holds_anything(storage: Storage, study_id: str, participant: str) -> bool:
    """Whether anything of a participant lies in the lake: files of the study, or tables that name them as partition."""
    if any(storage.walk(f"{study_id}/{check_participant_id(participant)}")):
        return True
    entries = (entry for entry in list_tables(storage) if not _is_foreign(entry, study_id))
    return any(participant in _parts(entry.partition) for entry in entries)


def _purge_tables(lake: StudyLake, participant: str) -> int:
    """Remove tables with the participant's id as one part of the partition, and what is left of such tables."""
    entries = {entry.stem: entry for entry in list_tables(lake.storage)}
    stems = set()
    for path in list(lake.storage.walk(FOLDER)):
        stem = stem_of(path)
        entry = entries.get(stem)
        if entry and _is_foreign(entry, lake.study_id):
            continue
        # A file without a seal that can be read is no table any more, but its name or bytes may tell of somebody.
        if participant in (_parts(entry.partition) if entry else stem.split("/")[1:]):
            lake.storage.delete(path)
            stems.add(stem)
    for folder in sorted({f"{above}/{participant}" for stem in stems for above in _above(stem, participant)}):
        if not any(lake.storage.walk(folder)):
            lake.storage.delete_folder(folder)
    return len(stems & entries.keys())


def _remaining(entries: list[TableEntry], participant: str, others: frozenset[str]) -> tuple[str, ...]:
    """Assets with tables that are of no participant in particular, and so may be of this one too."""
    by_participant = {entry.asset_key for entry in entries if participant in _parts(entry.partition)}
    shared = {entry.asset_key for entry in entries if others.isdisjoint(_parts(entry.partition))}
    return tuple(sorted("/".join(asset_key) for asset_key in shared - by_participant))


def _parts(partition: str | None) -> list[str]:
    return [] if partition is None else partition.split("|")


def _above(stem: str, participant: str) -> list[str]:
    """The folders in which a folder of the participant's name leads to a table."""
    parts = stem.split("/")[:-1]
    return ["/".join(parts[:number]) for number, part in enumerate(parts) if part == participant]


def _is_foreign(entry: TableEntry, study_id: str) -> bool:
    """Whether a table is another study's, where the same id may mean another person."""
    return is_study_id(entry.owner) and entry.owner != study_id
