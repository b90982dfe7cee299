"""The access record: who had data of a study written as plain files, in the study's log. No record holds a row."""

from __future__ import annotations

import getpass
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from dagster_beiwe.lake.catalog.records import Export
from dagster_beiwe.lake.catalog.state import State
from dagster_beiwe.lake.layout import Subject
from dagster_beiwe.lake.study import StudyLake

_RUN = "export"
_LONGEST_NAME = 100
_LONGEST_FOLDER = 1000


@dataclass(frozen=True, kw_only=True)
class Access:
    """What is about to be exported: raw data or a ``table``, in [``start``, ``end``).

    ``name`` is what the person calls themselves. ``folder`` is empty if the files are in memory for one command.
    """

    participants: Iterable[str]
    form: str
    name: str = ""
    streams: tuple[str, ...] = ()
    table: str = ""
    start: datetime | None = None
    end: datetime | None = None
    folder: str = ""
    files: int = 0
    size_bytes: int = 0


def record_access(lake: StudyLake, access: Access) -> int:
    """Record an export of the state that the lake is opened at. Returns the record's number.

    Participants are recorded by their tokens, so that the record names nobody after a withdrawal. Raises
    ``LakeUnavailableError`` if the lake cannot be written.
    """
    catalog, at = lake.catalog(), lake.state.number
    assert catalog is not None, "whoever found data in the study has its log"
    newest = catalog.refresh()
    tokens = [catalog.identities.token(Subject(each), newest) for each in access.participants]

    def draft(_: State, start: dict[str, Any]) -> Export:
        return Export(
            **start,
            user=_user()[:_LONGEST_NAME],
            host=platform.node()[:_LONGEST_NAME],
            name=access.name[:_LONGEST_NAME],
            at=at,
            tokens=tuple(token for token in tokens if token),
            streams=access.streams,
            table=access.table,
            start=access.start,
            end=access.end,
            form=access.form,
            folder=access.folder[:_LONGEST_FOLDER],
            files=access.files,
            size_bytes=access.size_bytes,
        )

    with lake.storage.guard(catalog.layout.inside, exclusive=False):
        entry = catalog.append(draft, run_id=_RUN)
    assert entry is not None
    return entry.record.number


def _user() -> str:
    """The system's name of the user; empty if it knows none, as in some containers."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return ""
