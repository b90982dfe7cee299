"""Remove a participant, or a whole study, from the lake for good: raw data, and the tables that are of nobody else."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from dagster_beiwe.ids import check_participant_id, is_participant_id
from dagster_beiwe.lake.catalog.catalog import Catalog
from dagster_beiwe.lake.catalog.withdrawal import withdraw
from dagster_beiwe.lake.collecting import collect
from dagster_beiwe.lake.layout import LogLayout, Subject, is_token, safe_name
from dagster_beiwe.lake.storage.base import Storage
from dagster_beiwe.lake.study import StudyLake


@dataclass(frozen=True, kw_only=True)
class PurgeResult:
    """What was removed, in files and tables, and the assets whose tables may still hold rows of the participant.

    ``record`` is the newest withdrawal of the study's log. ``certain`` is False while a run that was at work, on an
    object store, may still lay files there: then call again after a day.
    """

    files: int
    tables: int
    remaining: tuple[str, ...]
    record: int
    certain: bool


def purge_participant(lake: StudyLake, participant: str, *, run_id: str) -> PurgeResult:
    """Remove everything of a participant from every state, and all tables whose partition names them.

    Done again it goes on where it was interrupted. Raises ``CommitConflictError`` on a local disk while a run writes to
    the study; on an object store it is ``certain`` only when a collection a day later found nothing any more.
    """
    check_participant_id(participant)
    catalog = lake.catalog()
    if catalog is None:
        return PurgeResult(files=0, tables=0, remaining=(), record=0, certain=True)
    tables = list(_tables(lake, catalog))
    own = [subject for subject in tables if participant in _parts(subject)]
    others = frozenset(lake.participants()) - {participant}
    strays = list(_strays(lake, catalog, tables, participant))
    by_participant = {subject.asset for subject in own}
    shared = {subject.asset for subject in tables if others.isdisjoint(_parts(subject))}
    purge = _purge(lake, catalog, [Subject(participant), *own], sorted(shared - by_participant), run_id=run_id)
    lake.storage.delete_all(strays)
    for path in strays:
        _remove_folders(lake, path.rpartition("/")[0], catalog.layout.tables())
    return purge


def purge_study(lake: StudyLake, *, run_id: str) -> PurgeResult:
    """Remove every participant and every table of a study. Its log stays, which names nobody."""
    catalog = lake.catalog()
    if catalog is None:
        return PurgeResult(files=0, tables=0, remaining=(), record=0, certain=True)
    tables = list(_tables(lake, catalog))
    people = [Subject(name) for name in lake.storage.list(lake.study_id) if is_participant_id(name)]
    purge = _purge(lake, catalog, [*people, *tables], [], run_id=run_id)
    lake.storage.delete_all([file.path for file in lake.storage.scan(catalog.layout.tables())])
    return purge


def holds_anything(storage: Storage, study_id: str, participant: str) -> bool:
    """Whether anything of a participant lies in the lake: files of the study, or tables that name them as partition."""
    layout = LogLayout(study_id)
    if any(True for _ in storage.scan(layout.home(Subject(check_participant_id(participant))).folder)):
        return True
    return any(_is_of(file.path, participant) for file in storage.scan(layout.tables()))


def _purge(
    lake: StudyLake, catalog: Catalog, subjects: list[Subject], remaining: Collection[str], *, run_id: str
) -> PurgeResult:
    paths = withdraw(catalog, subjects, run_id=run_id)
    if not lake.storage.locks:  # else nobody was at work, and nothing can come any more
        collect(catalog, keep_days=lake.keep_superseded_days, run_id=run_id, also=subjects)
    for subject in subjects:
        if subject.asset:
            home = catalog.layout.home(subject)
            _remove_folders(lake, home.folder, catalog.layout.tables(subject.asset))
    state = catalog.refresh()
    tables = {path.partition("~")[0] for path in paths if path.startswith(f"{catalog.layout.tables()}/")}
    return PurgeResult(
        files=len(paths),
        tables=len(tables),
        remaining=tuple(remaining),
        record=state.epoch,
        certain=lake.storage.locks or (state.floor >= state.epoch and not _anything(lake, catalog, subjects)),
    )


def _anything(lake: StudyLake, catalog: Catalog, subjects: Iterable[Subject]) -> bool:
    homes = [catalog.layout.home(subject) for subject in subjects]
    return any(file.path.startswith(home.prefix) for home in homes for file in lake.storage.scan(home.folder))


def _tables(lake: StudyLake, catalog: Catalog) -> Iterator[Subject]:
    """All tables of a study, also those of which only a token is left."""
    for file in lake.storage.scan(catalog.layout.tables()):
        if is_token(file.path):
            yield catalog.identities.owner(file.path, lake.storage.read(file.path))[0]


def _parts(subject: Subject) -> list[str]:
    return [] if subject.name is None else subject.name.split("|")


def _strays(lake: StudyLake, catalog: Catalog, tables: Iterable[Subject], participant: str) -> Iterator[str]:
    """Files of no table, whose place among them is the participant's: their name or bytes may tell of somebody."""
    prefixes = tuple(catalog.layout.home(subject).prefix for subject in tables)
    for file in lake.storage.scan(catalog.layout.tables()):
        if not file.path.startswith(prefixes) and _is_of(file.path, participant):
            yield file.path


def _is_of(path: str, participant: str) -> bool:
    """Whether a part of a path is a participant's, as in that of a table with the participant as one dimension."""
    return safe_name(participant) in (part.partition("~")[0] for part in path.split("/"))


def _remove_folders(lake: StudyLake, folder: str, top: str) -> None:
    """Remove folders that are empty now, below ``top``: their names may be the participant's."""
    while folder.startswith(f"{top}/") and not any(True for _ in lake.storage.scan(folder)):
        lake.storage.delete_folder(folder)
        folder = folder.rpartition("/")[0]
