"""Withdraw people from a log: the record first, then their folders, then what is derived from them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from dagster_beiwe.lake.catalog.catalog import Catalog
from dagster_beiwe.lake.catalog.records import Place, Purge
from dagster_beiwe.lake.catalog.state import State
from dagster_beiwe.lake.catalog.store import files_of, remove_empty_folder
from dagster_beiwe.lake.layout import Subject, is_token
from dagster_beiwe.lake.storage.base import Store
from dagster_beiwe.progress import Progress

_DELETED_AT_ONCE: Final = 1000


def withdraw(
    catalog: Catalog, subjects: Iterable[Subject], *, run_id: str, progress: Progress | None = None
) -> list[str]:
    """Remove these subjects from every state, and all of their files. Returns the paths that were removed.

    From the record on, nothing that was planned for them can be committed. Called again, it continues where it was
    interrupted. On a local disk it raises ``CommitConflictError`` while a run writes; on an object store a run that was
    at work may still write files there: it is certain only when ``Collector.collect(also=subjects)`` finds nothing.
    """
    subjects = list(subjects)
    with catalog.store.guard(catalog.layout.inside, exclusive=True):
        homes = [catalog.layout.home(subject) for subject in subjects]
        # Listed before the record: what lies there afterwards may be of somebody who came again.
        paths = files_of(catalog.store, homes)
        state = catalog.refresh()
        tokens = {subject: catalog.identities.token(subject, state) for subject in subjects}
        if None in tokens.values():  # nobody's, or of one whose token was lost: then its folder must stay
            catalog.identities.resolve(state)

        def draft(state: State, start: dict[str, Any]) -> Purge | None:
            places = [
                Place(token, "", subject.asset)
                for subject, token in tokens.items()
                if token is not None and token not in state.purged
            ]
            return Purge(**start, places=tuple(places)) if places else None

        catalog.append(draft, run_id=run_id)
        # The token last: as long as it is there, a withdrawal that was interrupted is found and goes on.
        _delete(catalog.store, [path for path in paths if not is_token(path)], progress or Progress())
        if catalog.store.locks:  # nobody else writes: what dead runs have not finished may be of these subjects, too
            catalog.store.delete_all([file.path for file in catalog.store.scan(catalog.layout.staging)])
        catalog.forget_checkpoints()
        catalog.store.delete_all([path for path in paths if is_token(path)])
        for folder in {home.folder for home in homes}:
            remove_empty_folder(catalog.store, folder, top=catalog.layout.folder)
        catalog.store.sync_folder(catalog.layout.folder)
    return paths


def _delete(store: Store, paths: Sequence[str], progress: Progress) -> None:
    progress.expect(len(paths))
    for first in range(0, len(paths), _DELETED_AT_ONCE):
        batch = paths[first : first + _DELETED_AT_ONCE]
        store.delete_all(batch)
        progress.advance(len(batch))


def give_up(catalog: Catalog, places: Iterable[Place], *, run_id: str) -> None:
    """Withdraw subjects whose folder is gone with their token, so that nobody can tell any more whose their data is."""
    places = list(places)

    def draft(state: State, start: dict[str, Any]) -> Purge | None:
        left = tuple(place for place in places if place.token not in state.purged)
        return Purge(**start, places=left) if left else None

    catalog.append(draft, run_id=run_id)
    catalog.forget_checkpoints()
