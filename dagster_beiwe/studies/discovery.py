"""Find the studies: ask the server with little patience, and remember its answer.

Definitions must load when the server is down, and asset keys and windows must never move once there is history under
them. So a study is kept once it was seen: its id and name, with the key made from its first name, its server, and the
first day of its windows. Nothing about participants.
"""

from __future__ import annotations

import itertools
import json
import logging
import os
import re
import time
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from dagster_beiwe.client import BeiweClient, HttpPolicy
from dagster_beiwe.environment import BEIWE_START, DAGSTER_HOME
from dagster_beiwe.errors import (
    BeiweError,
    ConfigurationError,
    ConnectionFailedError,
    LakeUnavailableError,
    RouteMissingError,
    ServerFailedError,
)
from dagster_beiwe.ids import is_study_id, slug
from dagster_beiwe.private_files import make_folder, read_file, write_file
from dagster_beiwe.retries import HTTP_WHILE_LOADING
from dagster_beiwe.studies.config import StudyConfig
from dagster_beiwe.studies.study import Study

logger = logging.getLogger("dagster_beiwe")

FRESH_SECONDS = 300
"""How long an answer is used without asking again: the process of every run loads the definitions, too."""

AGAIN_SECONDS = 30
"""The same, if the answer lacked something: a listed study, or a study's start."""

LOADING_SECONDS = 15.0
"""How long all requests may take together while a code location loads; the rest waits for the next time."""

_REMEDY = f"Its raw_data waits until it is known: set `start` in the study's configuration, or {BEIWE_START}."
_DAY = timedelta(days=1)
_CREATED = "Created On"  # a column of the participant table
_LARGEST_BYTES = 16 * 1024 * 1024
_BEIWE_BEGAN = date(2013, 1, 1)


class Patience:
    """What is left of the time for all requests together."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    @property
    def left_seconds(self) -> float:
        return max(0.0, self._end - time.monotonic())

    def policy(self) -> HttpPolicy:
        """For a client that is created now."""
        left = max(0.1, self.left_seconds)
        return replace(
            HTTP_WHILE_LOADING,
            connect_timeout_seconds=min(HTTP_WHILE_LOADING.connect_timeout_seconds, left),
            read_timeout_seconds=min(HTTP_WHILE_LOADING.read_timeout_seconds, left),
        )


class StudyMemory:
    """The last known studies of one deployment, {study id: what is known}: in ``<deployment>.json`` of a folder
    (default: ``$DAGSTER_HOME/beiwe``), or in ``state``, {deployment: the same}, which the caller keeps.

    Only those of one ``server`` (host and port); by default, of the one that was asked last. If the folder cannot be
    written, a warning says so, and what was learned lasts as long as this object.
    """

    def __init__(
        self,
        deployment: str,
        *,
        folder: str | Path | None = None,
        state: dict[str, Any] | None = None,
        server: str = "",
    ) -> None:
        home = Path(folder) if folder else Path(os.environ.get(DAGSTER_HOME) or "~/.dagster").expanduser() / "beiwe"
        self._file = home / f"{deployment}.json"
        self._unsaved: dict[str, Any] = {}
        self._state, self._deployment, self._server = state, deployment, server

    def studies(self) -> dict[str, Study]:
        """{study id: study}, sorted by name, with the default configuration; empty before the server's first answer.

        A study's key comes from its first name and stays; its start stays too.
        """
        entries = self._entries()
        asked_last = {entry.get("server") for entry in entries.values() if not entry.get("hidden")}
        servers = {self._server} if self._server else asked_last
        known = [
            Study(
                id=study_id,
                name=entry["name"],
                key=entry["key"],
                start=_parse_day(entry.get("start")),
                hidden=entry.get("hidden") is True,
                config=StudyConfig(study_id, deployment=self._deployment),
            )
            for study_id, entry in entries.items()
            if not servers or entry.get("server") in {*servers, None}
        ]
        return {study.id: study for study in sorted(known, key=lambda study: study.name)}

    def age_seconds(self) -> float | None:
        """Time since the server was last asked, or None if it never was."""
        if self._entries() and not self.studies():
            return None
        try:
            return time.time() - self._file.stat().st_mtime
        except OSError:
            return None

    def remember(self, names: Mapping[str, str], *, server: str = "") -> dict[str, Study]:
        """Add the server's answer. Studies that it no longer names are kept as hidden, for their history; so are those
        of other servers, which are not shown."""
        self._server = server or self._server
        entries = {study_id: {**entry, "hidden": True} for study_id, entry in self._entries().items()}
        for study_id, name in names.items():
            known = entries.get(study_id) or {"key": self._first_key(name, study_id, entries)}
            entries[study_id] = {**known, "name": name, "server": self._server or None, "hidden": False}
        self._save(entries)
        return self.studies()

    def remember_key(self, study_id: str, key: str) -> None:
        """Keep another key for a study, because its own was taken."""
        self._add(study_id, key=key)

    def remember_start(self, study_id: str, start: date) -> None:
        """Keep the first day of a study's windows; the first one remembered stays."""
        if _parse_day(self._entries().get(study_id, {}).get("start")) is None:
            self._add(study_id, start=start.isoformat())

    def touch(self) -> None:
        """Note that the server did not answer, so that not every process waits for it again."""
        if self._state is None:
            with suppress(OSError):
                os.utime(self._file)

    def _add(self, study_id: str, **facts: str) -> None:
        entries = self._entries()
        if study_id in entries:
            self._save({**entries, study_id: {**entries[study_id], **facts}})

    def _entries(self) -> dict[str, dict[str, Any]]:
        found = (
            self._state.get(self._deployment) if self._state is not None else self._unsaved or read_state(self._file)
        )
        return {
            study_id: entry
            for study_id, entry in (found if isinstance(found, dict) else {}).items()
            if is_study_id(study_id) and isinstance(entry, dict) and {"name", "key"} <= entry.keys()
        }

    def _first_key(self, name: str, study_id: str, entries: Mapping[str, Mapping[str, Any]]) -> str:
        return free_key(_slug(name, study_id), study_id, {entry["key"] for entry in entries.values()})

    def _save(self, entries: dict[str, dict[str, Any]]) -> None:
        if self._state is not None:
            self._state[self._deployment] = entries
            return
        try:
            write_state(self._file, entries)
        except LakeUnavailableError as error:
            self._unsaved = entries
            logger.warning("%s Until then, each process asks the server again, and a study's start may move.", error)


def refresh_studies(memory: StudyMemory, client: BeiweClient) -> dict[str, Study]:
    """Ask the server for its studies and remember them. Raises ``BeiweError``."""
    return memory.remember(client.studies(), server=client.server)


def first_data_day(client: BeiweClient, study_id: str, *, today: date) -> date:
    """First of the month in which the study's first participant was created, so that no data can be older.

    The table's days are in the study's time zone: one day is taken off. A study without participants begins now. Days
    before Beiwe or after tomorrow are ignored, because the answer is kept for good. Raises
    ``RouteMissingError`` on servers older than June 2024, and on one whose table does not have the column.
    """
    table = client.participant_table(study_id)
    if table and not any(_CREATED in row for row in table):
        raise RouteMissingError(f"The server's participant table has no column {_CREATED!r}.")
    days = [_parse_day(row.get(_CREATED)) for row in table]
    first = min((day for day in days if day is not None and _BEIWE_BEGAN <= day <= today + _DAY), default=today)
    return (first - _DAY).replace(day=1)


def learn_starts(
    memory: StudyMemory, client: BeiweClient, study_ids: Iterable[str], *, patience: Patience | None = None
) -> None:
    """Ask for the first day of studies for which none is known, and keep it; one request per study, once in its life.

    If a request fails, its study waits for the next time, with a warning; so do all others if the server does not
    answer or the ``patience`` ends.
    """
    known = memory.studies()
    waiting = [known[study_id] for study_id in study_ids if study_id in known and known[study_id].start is None]
    for number, study in enumerate(waiting):
        if patience and not patience.left_seconds:
            logger.warning(
                "The start of %d studies was not requested, for lack of time. %s", len(waiting) - number, _REMEDY
            )
            return
        try:
            memory.remember_start(study.id, first_data_day(client, study.id, today=datetime.now(timezone.utc).date()))
        except RouteMissingError:
            logger.warning(
                "The server cannot say when study %r began (it may be older than June 2024), so its raw_data has no "
                f"windows yet. Set `start` in the study's configuration, or {BEIWE_START}.",
                study.name,
            )
        except ServerFailedError as error:
            logger.warning(
                "The start of study %r is not known: the server failed to create its participant table, a known fault. "
                "%s %s",
                study.name,
                _REMEDY,
                error,
            )
        except ConnectionFailedError as error:
            left = len(waiting) - number
            logger.warning("The start of %d studies is not known. %s %s", left, _REMEDY, error)
            return
        except BeiweError as error:
            logger.warning("The start of study %r is not known. %s %s", study.name, _REMEDY, error)


def free_key(key: str, study_id: str, taken: Collection[str]) -> str:
    """The key; if it is taken, with as much of the study's id as it needs to be unique."""
    endings = ["", *(f"_{study_id[:length].lower()}" for length in (6, 24))]
    numbered = (f"{endings[-1]}_{number}" for number in itertools.count(2))
    return next(f"{key}{end}" for end in itertools.chain(endings, numbered) if f"{key}{end}" not in {*taken, "studies"})


def _slug(name: str, study_id: str) -> str:
    """A slug of the name, or of the id if the name has no Latin letter."""
    try:
        return slug(name)
    except ConfigurationError:
        return f"study_{study_id.lower()}"


def _parse_day(value: object) -> date | None:
    match = re.match(r"\d{4}-\d\d-\d\d", value) if isinstance(value, str) else None
    try:
        return date.fromisoformat(match[0]) if match else None
    except ValueError:
        return None


def read_state(path: Path) -> dict[str, Any]:
    """A JSON object, empty if the file is absent or damaged: the server will say it again."""
    try:
        value = json.loads(read_file(path, limit_bytes=_LARGEST_BYTES))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        logger.warning("The known studies cannot be read from %s (%s). The server is asked again.", path, error)
        return {}
    return value if isinstance(value, dict) else {}


def write_state(path: Path, value: Mapping[str, Any]) -> None:
    """Replace the file in one step; nobody but its owner may read it."""
    data = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False).encode()
    try:
        make_folder(path.parent)
        write_file(path, data)
    except OSError as error:
        raise LakeUnavailableError(
            f"The known studies cannot be written to {path}: {error.strerror}. They were not saved. Make the folder "
            f"writable, or set {DAGSTER_HOME} to another one."
        ) from error
