"""Which files nothing accounts for: no version that is kept, no document of the log, no batch that is not over.

A batch leaves a marker before it writes to anybody, and takes it away when nothing of it is left. So what a run has
left that died is accounted for until a collection removes it.
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
    """Files in a log's folder that are neither of a participant, nor a table's, nor a document of the log.

    If no log was begun no file is any of these.
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
    """All files below a folder; or what lies in its place, which is no part of a lake and so counts as no file."""
    found = list(storage.scan(path))
    if not found and storage.exists(path):  # in an object store a file has no folder's place
        return [StoredFile(path, -1, 0.0)]
    return found


def still_there(storage: Storage, paths: Iterable[str]) -> Iterator[str]:
    """Those of these paths where anything, be it a link or a pipe, lies: runs end, and take away what was theirs."""
    for folder, own in groupby(sorted((path.rpartition("/")[0], path) for path in paths), key=itemgetter(0)):
        there = {*storage.list(folder)}
        yield from (path for _, path in own if path.rpartition("/")[2] in there)
