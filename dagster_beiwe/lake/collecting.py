"""Remove from a study what no version that is kept names: superseded files, and what dead runs left."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

from dagster_beiwe.errors import CommitConflictError
from dagster_beiwe.lake.catalog.catalog import Catalog
from dagster_beiwe.lake.catalog.collector import Collected, Collector, Retention, read_markers
from dagster_beiwe.lake.catalog.opening import Opening
from dagster_beiwe.lake.layout import Subject
from dagster_beiwe.lake.manifest import named

_DUE_AFTER: Final = 256
"""Records after which superseded versions are looked for."""


def collect(catalog: Catalog, *, keep_days: float, run_id: str, also: Iterable[Subject] = ()) -> Collected:
    """Collect one study's log; see ``Collector.collect`` for where it looks, and the errors.

    Superseded versions are kept for ``keep_days``, and at least for an hour.
    """
    return Collector(catalog, named, retention=Retention(keep_days=keep_days), run_id=run_id).collect(also)


@contextmanager
def open_for_writing(log: Opening, *, keep_days: float, run_id: str) -> Iterator[Catalog]:
    """The log, begun if there is none, collected if that is due, and fit for commits; shared with others who write."""
    catalog = log.begun()
    _collect_if_due(catalog, keep_days=keep_days, run_id=run_id)
    with catalog.store.guard(catalog.layout.inside, exclusive=False):
        catalog.prepare()
        yield catalog


def _collect_if_due(catalog: Catalog, *, keep_days: float, run_id: str) -> None:
    """Collect a log that has grown by many records since, or in which runs have died; not while others write to it."""
    state = catalog.state
    if state.number - state.collected >= _DUE_AFTER or (catalog.store.locks and dead_runs_left_something(catalog)):
        with suppress(CommitConflictError):  # the next run looks again
            collect(catalog, keep_days=keep_days, run_id=run_id)


def dead_runs_left_something(catalog: Catalog) -> bool:
    """Whether runs have died, or write at this moment: only those leave a marker, or a file that is not finished.

    A marker that cannot be read is of no run, and no collection would remove it: ``verify`` reports it.
    """
    return bool(catalog.store.list(catalog.layout.staging) or read_markers(catalog))
