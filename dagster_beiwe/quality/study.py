"""Measure a whole study. Measurements are kept in the lake, so that a file is decrypted once, whatever comes later."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Final

import pandas as pd

from dagster_beiwe.coverage.expected import SettingsRecord
from dagster_beiwe.coverage.frame import AS_OF, TIME_ZONE
from dagster_beiwe.lake import StudyLake
from dagster_beiwe.quality.clocks import UPLOAD_COLUMNS, with_clocks
from dagster_beiwe.quality.days import ANSWERS, RECORDINGS, days_of, whole_table
from dagster_beiwe.quality.participants import Measured, measure_participant
from dagster_beiwe.quality.sampling import with_expected
from dagster_beiwe.studies.time_zones import StudyZone
from dagster_beiwe.tables.store import TableStore

_MEASUREMENTS: Final = "measurements"
"""Below a table's key: the table of measurements, with one partition for each participant."""

_KEEP_SECONDS: Final = 60
_KEEP_ROWS: Final = 250_000
"""When measurements are kept: a run that dies loses those of a minute, and few are in memory."""

logger = logging.getLogger("dagster_beiwe")


@dataclass(kw_only=True)
class Progress:
    """How many files and plain bytes were read, of how many participants."""

    participants: int = 0
    files: int = 0
    size_bytes: int = 0


class StudyMeasuring:
    """Brings the measurements of a study up to date, and puts its days together.

    ``asset_key`` is that of the table of days, below which measurements are kept. The table with ``history_key`` says
    when participants' files were uploaded, as far as it was made. ``settings`` are those of the study over time, from
    which follows how much sensors should record. Each run reads only files that no run has measured; another ``run``
    continues where one was stopped.
    """

    def __init__(
        self,
        lake: StudyLake,
        *,
        asset_key: Sequence[str],
        history_key: Sequence[str],
        streams: Collection[str],
        zone: StudyZone,
        settings: Sequence[SettingsRecord],
        run_id: str,
    ) -> None:
        self._lake, self._history_key, self._run_id = lake, history_key, run_id
        self._key = (*asset_key, _MEASUREMENTS)
        self._streams, self._zone, self._settings = frozenset(streams), zone, settings
        self.progress = Progress()
        self._waiting: list[Measured] = []
        self._kept_at = time.monotonic()

    def run(self) -> pd.DataFrame:
        """The days of all participants, with the columns of ``DAY_TYPES``; ``attrs`` are those of coverage.

        Raises ``IntegrityError`` for a damaged manifest or table, and ``EncryptionError``.
        """
        lake, now = self._lake.at(), datetime.now(timezone.utc)
        store = TableStore.of_study(lake)
        days = []
        self.progress = Progress()
        try:
            for participant in lake.participants():
                self._measure(lake, store, participant)
                if self._is_time_to_keep():
                    days.append(self._keep(store))
        except BaseException:
            self._store()
            raise
        days.append(self._keep(store))
        table = with_expected(whole_table(days), self._settings, self._zone.zone)
        table.attrs = {AS_OF: now.isoformat(timespec="seconds"), TIME_ZONE: self._zone.name}
        return table

    def _measure(self, lake: StudyLake, store: TableStore, participant: str) -> None:
        before = store.find(self._key, partition=participant)
        wanted = {*self._streams, *([RECORDINGS] if ANSWERS in self._streams else [])}
        measured = measure_participant(lake, participant, streams=wanted, before=before)
        self._waiting.append(measured)
        self.progress.participants += 1
        self.progress.files += measured.files
        self.progress.size_bytes += measured.size_bytes

    def _is_time_to_keep(self) -> bool:
        rows = sum(len(each.rows) for each in self._waiting)
        return rows >= _KEEP_ROWS or time.monotonic() - self._kept_at >= _KEEP_SECONDS

    def _keep(self, store: TableStore) -> pd.DataFrame:
        """Store what was measured since the last time; the days of it."""
        measured = self._store()
        if not measured:
            return whole_table([])
        histories = {}
        for participant in (each.participant for each in measured):
            history = store.find(self._history_key, partition=participant, columns=UPLOAD_COLUMNS)
            if history is not None:
                histories[participant] = history
        zone = self._zone.zone
        return with_clocks(days_of(measured, zone, streams=self._streams), histories, zone)

    def _store(self) -> list[Measured]:
        measured, self._waiting, self._kept_at = self._waiting, [], time.monotonic()
        changed: dict[str | None, pd.DataFrame] = {each.participant: each.rows for each in measured if each.changed}
        if changed:
            TableStore.of_study(self._lake).write_all(self._key, changed, run_id=self._run_id)
            logger.info("Measured %d files of %d participants.", self.progress.files, self.progress.participants)
        return measured
