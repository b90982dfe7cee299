"""A witness: another place, with other credentials, that remembers every record of a log.

It holds the bytes of each record under ``<log>/<thousand>/<number>-<hash>``, created once and never changed, so that a
log that was cut or rolled back is noticed, and a damaged record can be restored.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress

from dagster_beiwe.lake.catalog.records import Head
from dagster_beiwe.lake.layout import RECORDS_PER_FOLDER, record_number
from dagster_beiwe.lake.storage.base import Store

_NAME = re.compile(r"([0-9]{3})-([0-9a-f]{64})")


class Witness:
    """What a witness knows of one log."""

    def __init__(self, store: Store, folder: str) -> None:
        self._store, self._folder = store, folder

    def heads(self) -> Iterator[list[Head]]:
        """What it has seen, a folder at a time, newest first."""
        folders = [name for name in self._store.list(self._folder) if record_number(name) is not None]
        for folder in sorted(folders, reverse=True):
            found = map(_NAME.fullmatch, self._store.list(f"{self._folder}/{folder}"))
            start = int(folder) * RECORDS_PER_FOLDER
            yield sorted((Head(start + int(name[1]), name[2]) for name in found if name), reverse=True)

    def newest(self) -> Head | None:
        """The newest record that it has seen."""
        return next((heads[0] for heads in self.heads() if heads), None)

    def agrees(self, head: Head) -> bool:
        """Whether it has seen a record, or nothing of that number."""
        folder, place = divmod(head.number, RECORDS_PER_FOLDER)
        names = [name for name in self._store.list(f"{self._folder}/{folder:06}") if name.startswith(f"{place:03}-")]
        return not names or f"{place:03}-{head.digest}" in names

    def note(self, head: Head, data: bytes) -> None:
        """Remember a record."""
        with suppress(FileExistsError):  # the name tells the content: it is there already
            self._store.create_new(self._path(head), data)

    def bytes_of(self, head: Head) -> bytes:
        """A record as the witness remembers it. Raises ``FileNotFoundError``."""
        return self._store.read(self._path(head))

    def _path(self, head: Head) -> str:
        place = f"{head.number // RECORDS_PER_FOLDER:06}/{head.number % RECORDS_PER_FOLDER:03}"
        return f"{self._folder}/{place}-{head.digest}"
