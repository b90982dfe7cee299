"""Remove a participant, or a whole study, from the lake for good: raw data, and the tables that hold nobody else."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from dagster_beiwe.cells import dimensions
from dagster_beiwe.ids import check_participant_id, is_participant_id
from dagster_beiwe.lake.catalog.catalog import Catalog
from dagster_beiwe.lake.catalog.store import files_of, remove_empty_folder
from dagster_beiwe.lake.catalog.withdrawal import withdraw
from dagster_beiwe.lake.collecting import collect
from dagster_beiwe.lake.layout import LogLayout, Subject, is_token, safe_name
from dagster_beiwe.lake.storage.base import Storage
from dagster_beiwe.lake.study import StudyLake
from dagster_beiwe.progress import Progress


@dataclass(frozen=True, kw_only=True)
class PurgeResult:
    """What was removed, in files and tables, and the assets whose tables may still hold rows of the participant.

    ``record`` is the newest withdrawal in the study's log. ``certain`` is False on an object store while a run that was
    stopped may still write files there: then call again after a day.
    """

    files: int = 0
    tables: int = 0
    remaining: tuple[str, ...] = ()
    record: int = 0
    certain: bool = True


def purge_participant(
    lake: StudyLake, participant: str, *, run_id: str, progress: Progress | None = None
) -> PurgeResult:
    """Remove everything of a participant from every state, and all tables whose partition names them.

    Call it again to continue after an interruption. Raises ``CommitConflictError`` on a local disk while a run writes
    to the study; on an object store it is ``certain`` only when a collection a day later found nothing any more.
    ``progress`` counts files.
    """
    subject, catalog = Subject(check_participant_id(participant)), lake.catalog()
    if catalog is None:
        return PurgeResult(certain=not holds_anything(lake.storage, lake.study_id, participant))
    tables = _tables(lake, catalog)
    own = [subject for subject in tables if participant in _parts(subject)]
    others = frozenset(lake.participants()) - {participant}
    shared = {subject.asset for subject in tables if others.isdisjoint(_parts(subject))}
    prefixes = tuple(catalog.layout.home(subject).prefix for subject in tables)
    return _purge(
        lake,
        catalog,
        [subject, *own],
        is_left=lambda path: not path.startswith(prefixes) and _is_of(path, participant),
        remaining=shared - {subject.asset for subject in own},
        run_id=run_id,
        progress=progress,
    )


def purge_study(lake: StudyLake, *, run_id: str, progress: Progress | None = None) -> PurgeResult:
    """Remove every participant and every table of a study. Its log stays, which names nobody."""
    catalog = lake.catalog()
    if catalog is None:
        return PurgeResult(certain=not holds_anything(lake.storage, lake.study_id))
    people = [Subject(name) for name in lake.storage.list(lake.study_id) if is_participant_id(name)]
    subjects = [*people, *_tables(lake, catalog)]
    return _purge(lake, catalog, subjects, is_left=lambda _: True, remaining=(), run_id=run_id, progress=progress)


def holds_anything(storage: Storage, study_id: str, participant: str | None = None) -> bool:
    """Whether the lake holds any file or table of a participant, by default of anybody in the study."""
    layout = LogLayout(study_id)
    people = filter(is_participant_id, storage.list(study_id)) if participant is None else [participant]
    for name in people:
        if any(True for _ in storage.scan(layout.home(Subject(check_participant_id(name))).folder)):
            return True
    return any(participant is None or _is_of(file.path, participant) for file in storage.scan(layout.tables()))


def _purge(
    lake: StudyLake,
    catalog: Catalog,
    subjects: list[Subject],
    *,
    is_left: Callable[[str], bool],
    remaining: Collection[str],
    run_id: str,
    progress: Progress | None,
) -> PurgeResult:
    """Withdraw subjects, and remove what ``is_left``: files of no table whose names or bytes may tell of somebody."""
    paths = withdraw(catalog, subjects, run_id=run_id, progress=progress)
    if not lake.storage.locks:  # else nobody was at work, and nothing can come any more
        collect(catalog, keep_days=lake.keep_superseded_days, run_id=run_id, also=subjects)
    top = catalog.layout.tables()
    left = [file.path for file in lake.storage.scan(top) if is_left(file.path)]
    lake.storage.delete_all(left)
    for folder in {path.rpartition("/")[0] for path in left}:
        remove_empty_folder(lake.storage, folder, top=top)
    state, homes = catalog.refresh(), [catalog.layout.home(subject) for subject in subjects]
    return PurgeResult(
        files=len(paths) + len(left),
        tables=len({path.partition("~")[0] for path in paths if path.startswith(f"{top}/")}),
        remaining=tuple(sorted(remaining)),
        record=state.epoch,
        certain=lake.storage.locks or (state.floor >= state.epoch and not files_of(lake.storage, homes)),
    )


def _tables(lake: StudyLake, catalog: Catalog) -> list[Subject]:
    """All tables of a study, also those of which only a token is left."""
    paths = [file.path for file in lake.storage.scan(catalog.layout.tables()) if is_token(file.path)]
    tokens = zip(paths, lake.storage.read_all(paths), strict=True)
    return [catalog.identities.owner(path, data)[0] for path, data in tokens if data is not None]


def _parts(subject: Subject) -> list[str]:
    return [] if subject.name is None else dimensions(subject.name)


def _is_of(path: str, participant: str) -> bool:
    """Whether a part of a path is a participant's, as in that of a table with the participant as one dimension."""
    return safe_name(participant) in (part.partition("~")[0] for part in path.split("/"))
