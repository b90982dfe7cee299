"""Find files that nothing accounts for: no retained version, no document of the log, no running batch.

A batch writes a marker before it writes to any subject, and removes the marker once nothing of it is left. So the files
of a run that died are accounted for until a collection removes them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from operator import itemgetter

from dagster_beiwe.ids import is_participant_id
from dagster_beiwe.lake.catalog.catalog import Catalog
from dagster_beiwe.lake.catalog.collector import read_markers
from dagster_beiwe.lake.layout import TABLES, is_document
from dagster_beiwe.lake.storage.base import Storage, StoredFile


def unaccounted_files(storage: Storage, folder: str, catalog: Catalog | None) -> Iterator[str]:
    """Files in a log's folder that are no participant's, no table's and no document of the log.

    Without a log, all files are.
    """
    for name in storage.list(folder):
        if catalog and (is_participant_id(name) or name == TABLES):
            continue
        files = files_at(storage, f"{folder}/{name}")
        known: set[str] = set()
        if catalog:
            known.update(each.path for each in files if each.is_regular and is_document(each.path[len(folder) + 1 :]))
            if markers := {path for path in known if path.startswith(f"{catalog.layout.runs}/")}:
                known -= markers - {*read_markers(catalog)}
        yield from still_there(storage, [each.path for each in files if each.path not in known])


def files_at(storage: Storage, path: str) -> list[StoredFile]:
    """All files below a folder; or what is in its place, which no lake has there: it counts as irregular."""
    found = list(storage.scan(path))
    if not found and storage.exists(path):  # in an object store a file has no folder's place
        return [StoredFile(path, -1, 0.0)]
    return found


def still_there(storage: Storage, paths: Iterable[str]) -> Iterator[str]:
    """The paths where something is still there, be it a link or a pipe: runs remove their files when they end."""
    for folder, own in groupby(sorted((path.rpartition("/")[0], path) for path in paths), key=itemgetter(0)):
        there = {*storage.list(folder)}
        yield from (path for _, path in own if path.rpartition("/")[2] in there)
