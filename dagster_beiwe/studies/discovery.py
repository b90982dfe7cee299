"""Which studies there are: asked from the server with little patience, remembered in a small file.

Definitions must load when the server is down, and asset keys and windows must never move once there is history under
them. So what was once seen is kept: a study's id and name (and the key made from its first name) in
``<deployment>.json``, and the first day of its windows in ``<deployment>.starts.json``. Nothing about participants.
"""

from __future__ import annotations

import json
import logging
import os
import re
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from dagster_beiwe.client import BeiweClient, HttpPolicy
from dagster_beiwe.errors import BeiweError, ConfigurationError, LakeUnavailableError, RouteMissingError
from dagster_beiwe.names import is_study_id, slug

logger = logging.getLogger("dagster_beiwe")

QUICK = HttpPolicy(connect_timeout_seconds=3, read_timeout_seconds=10, attempts=1)
"""For questions while a code location loads: somebody waits, and there is a last known answer."""

FRESH_SECONDS = 300
"""How long an answer is used without asking again. Every run's process loads the definitions too and need not ask."""

_DAY = timedelta(days=1)
_BEIWE_BEGAN = date(2013, 1, 1)


@dataclass(frozen=True, kw_only=True)
class KnownStudy:
    """A study that the server named at least once. ``key`` comes from its first name and stays; ``start`` too."""

    id: str
    name: str
    key: str
    start: date | None = None


class StudyMemory:
    """The last known studies of one deployment, in two files of a folder (default: ``$DAGSTER_HOME/beiwe``)."""

    def __init__(self, deployment: str, *, folder: str | Path | None = None) -> None:
        home = Path(folder) if folder else Path(os.environ.get("DAGSTER_HOME") or "~/.dagster").expanduser() / "beiwe"
        self._studies = home / f"{deployment}.json"
        self._starts = home / f"{deployment}.starts.json"

    def studies(self) -> dict[str, KnownStudy]:
        """{study id: study}, sorted by name; empty before the first answer of the server."""
        starts = _read(self._starts)
        known = [
            KnownStudy(id=study_id, name=entry["name"], key=entry["key"], start=_parse_day(starts.get(study_id)))
            for study_id, entry in _read(self._studies).items()
            if is_study_id(study_id) and isinstance(entry, dict) and {"name", "key"} <= entry.keys()
        ]
        return {study.id: study for study in sorted(known, key=lambda study: study.name)}

    def age_seconds(self) -> float | None:
        """Time since the server was last asked, or None if it never was."""
        try:
            return time.time() - self._studies.stat().st_mtime
        except OSError:
            return None

    def remember(self, names: Mapping[str, str]) -> dict[str, KnownStudy]:
        """Add what the server said just now; studies that it no longer names are kept, with their history."""
        known = self.studies()
        taken = {study.key for study in known.values()}
        for study_id, name in names.items():
            if study_id in known:
                known[study_id] = replace(known[study_id], name=name)
            else:
                key = _free_key(name, study_id, taken)
                taken.add(key)
                known[study_id] = KnownStudy(id=study_id, name=name, key=key)
        _write(self._studies, {study.id: {"name": study.name, "key": study.key} for study in known.values()})
        return self.studies()

    def remember_start(self, study_id: str, start: date) -> None:
        """Keep the first day of a study's windows; the first one remembered stays."""
        starts = _read(self._starts)
        if _parse_day(starts.get(study_id)) is None:
            _write(self._starts, {**starts, study_id: start.isoformat()})

    def touch(self) -> None:
        """Note that the server was asked in vain, so that not every process waits for it again."""
        if self._studies.exists():
            os.utime(self._studies)


def refresh_studies(memory: StudyMemory, client: BeiweClient) -> dict[str, KnownStudy]:
    """Ask the server for its studies and remember them. Raises ``BeiweError``."""
    return memory.remember(client.studies())


def first_data_day(client: BeiweClient, study_id: str, *, today: date) -> date:
    """First of the month in which the study's first participant was created, so that no data can be older.

    The table's days are in the study's time zone: one day is taken off. A study without participants begins now. Days
    before Beiwe or after tomorrow are not believed: what is learned here is kept for good. Raises
    ``RouteMissingError`` on servers older than June 2024.
    """
    days = [_parse_day(row.get("Created On")) for row in client.participant_table(study_id)]
    first = min((day for day in days if day is not None and _BEIWE_BEGAN <= day <= today + _DAY), default=today)
    return (first - _DAY).replace(day=1)


def learn_starts(memory: StudyMemory, client: BeiweClient, study_ids: Iterable[str]) -> None:
    """Find out and keep the first day of studies for which none is known; one request per study, once in its life.

    A study whose answer fails is left for the next time, with a warning.
    """
    known = memory.studies()
    for study_id in study_ids:
        study = known.get(study_id)
        if study is None or study.start is not None:
            continue
        try:
            memory.remember_start(study_id, first_data_day(client, study_id, today=datetime.now(timezone.utc).date()))
        except RouteMissingError:
            logger.warning(
                "The server can't say when study %r began (it is older than June 2024), so its raw_data has no "
                "windows yet. Set `start` in the study's configuration, or BEIWE_START.",
                study.name,
            )
        except BeiweError as error:
            logger.warning("When study %r began could not be found out; its raw_data waits. %s", study.name, error)


def _free_key(name: str, study_id: str, taken: Iterable[str]) -> str:
    """A slug of the name; with the id's beginning where the name has no Latin letter or the slug is taken."""
    try:
        key = slug(name)
    except ConfigurationError:
        return f"study_{study_id.lower()}"
    return f"{key}_{study_id[:6].lower()}" if key in set(taken) | {"studies"} else key


def _parse_day(value: object) -> date | None:
    match = re.match(r"\d{4}-\d\d-\d\d", value) if isinstance(value, str) else None
    try:
        return date.fromisoformat(match[0]) if match else None
    except ValueError:
        return None


def _read(path: Path) -> dict[str, Any]:
    """A JSON object, or nothing where the file is absent or damaged: the server will say it again."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        logger.warning("What was known about studies can't be read from %s (%s); it is asked again.", path, error)
        return {}
    return value if isinstance(value, dict) else {}


def _write(path: Path, value: Mapping[str, Any]) -> None:
    """Replace the file in one step; nobody but its owner may read it."""
    data = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False).encode()
    try:
        _make_folder(path.parent)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name)  # created with mode 0600
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as error:
        raise LakeUnavailableError(
            f"Expected to write {path}, got: {error.strerror}; what is known about studies was not saved. Make the "
            "folder writable, or set DAGSTER_HOME to another one."
        ) from error


def _make_folder(folder: Path) -> None:
    """The folder and its missing parents, all closed to others: ``mkdir`` makes parents as the umask likes."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    for each in reversed(missing):
        each.mkdir(mode=0o700, exist_ok=True)
