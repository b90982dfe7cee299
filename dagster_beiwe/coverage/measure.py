"""Make the coverage table of a study from its manifests, the server's counts, its roster and its settings.

Nothing is decrypted, and no more than the files of one participant are looked at together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import partial
from itertools import compress

import numpy as np
import pandas as pd

from dagster_beiwe.coverage.days import StudyDays, TouchedWindows, days_between
from dagster_beiwe.coverage.earlier import EarlierTable, Stay, note_source
from dagster_beiwe.coverage.enrollment import Enrollment
from dagster_beiwe.coverage.expected import SettingsRecord, expected_shares
from dagster_beiwe.coverage.frame import Block, coverage_table
from dagster_beiwe.coverage.participant import (
    UNKNOWN,
    Attendance,
    Held,
    StreamNumbers,
    counted,
    held,
    hours_expected,
    waiting,
)
from dagster_beiwe.lake import StudyLake
from dagster_beiwe.studies.time_zones import StudyZone
from dagster_beiwe.sync import DailyIndex
from dagster_beiwe.windows import Window

Counts = Iterable[tuple[Sequence[str], DailyIndex | None]]
"""Participants, some at a time, with what the server counts of them; None if the server does not count."""


def _unknown(participant: str) -> None:  # noqa: ARG001
    return None


@dataclass(frozen=True, kw_only=True)
class Basis:
    """What coverage is measured by, beside the files and the server's counts.

    ``windows`` are all of the study, oldest first. Files outside of them never count, nor those dated after ``now``.
    ``streams`` are those of the server that the study asks for; others of which the lake has files get rows, too.
    ``uploads`` returns what a participant's phone uploaded (``stream``, and when the file was ``opened``), if that is
    known; it is asked about those who have uploaded after the last day of which there is data.
    """

    windows: Sequence[Window]
    streams: Sequence[str]
    roster: Mapping[str, Enrollment]
    history: Sequence[SettingsRecord]
    zone: StudyZone
    now: datetime
    uploads: Callable[[str], pd.DataFrame | None] = _unknown

    @property
    def days(self) -> list[date]:
        """The study-local days from the first window to today; none of a study that has not begun."""
        begins = self.windows[0].start.astimezone(self.zone.zone).date() if self.windows else date.max
        return days_between(begins, self.today)

    @property
    def today(self) -> date:
        """The current study-local day."""
        return self.now.astimezone(self.zone.zone).date()


def measure_coverage(
    lake: StudyLake, study: Basis, counts: Counts, *, earlier: pd.DataFrame | None = None
) -> pd.DataFrame:
    """The coverage table of the participants in ``counts``. Those who are not on the roster have withdrawn.

    With an ``earlier`` table of the study, the manifests of windows that have not changed since are not read. Raises
    ``IntegrityError`` for a damaged manifest.
    """
    table = partial(coverage_table, today=study.today, now=study.now, time_zone=study.zone.name)
    if not study.days:
        return table((), streams=lambda: sorted(study.streams))
    measurement = _Measurement(lake, study, earlier)
    del earlier  # of which nothing is needed once all participants were measured
    frame = table(measurement.blocks(counts), streams=lambda: list(measurement.numbers))
    note_source(frame, lake, measurement.in_zone, measurement.stays)
    return frame


class _Measurement:
    """What is the same for all participants of a study."""

    def __init__(self, lake: StudyLake, study: Basis, earlier: pd.DataFrame | None) -> None:
        self._lake, self._study = lake, study
        self.days, self._streams = study.days, sorted(study.streams)
        self._begin = study.windows[0].start
        self.in_zone = StudyDays.in_zone(self.days, study.zone.zone, begin=self._begin)
        self._shares = expected_shares(study.history, self.in_zone, self._streams)
        self.numbers = StreamNumbers({stream: number for number, stream in enumerate(self._streams)})
        self._windows = tuple(window.key for window in study.windows)
        self._touched = TouchedWindows(study.windows, self.in_zone)
        self._earlier = EarlierTable(earlier, lake, self.in_zone)
        self.stays: dict[str, Stay] = {}
        self._statuses_known = any(person.created for person in study.roster.values())
        """Whether the server said who takes part: else everybody counts as enrolled."""

    def blocks(self, counts: Counts) -> Iterator[Block]:
        """The rows of all participants."""
        for participants, daily in counts:
            for each in participants:
                yield self.block(each, daily)
        self._earlier.forget()

    def block(self, participant: str, daily: DailyIndex | None) -> Block:
        """The rows of one participant."""
        person = self._study.roster.get(participant, Enrollment(participant=participant, status="withdrawn"))
        days = self.in_zone
        if daily is not None and daily.counts_in_other_zones(participant):
            days = StudyDays.counted(self.days, daily, participant, begin=self._begin)
        files = self._held(participant, days)
        server_bytes = counted(daily, participant, days=self.days, streams=self._streams, numbers=self.numbers)
        processed = (files.files > 0) | (server_bytes > 0)
        data_days = np.flatnonzero(processed.any(axis=1))
        attendance = Attendance.of(
            person,
            days=self.days,
            zone=self._study.zone.zone,
            data_days=data_days,
            enrolled_until=self._earlier.enrolled_until(participant),
        )
        rows, statuses = attendance.rows, attendance.statuses
        until = attendance.enrolled_until if self._statuses_known else None
        self.stays[participant] = Stay(attendance.first, len(statuses), until, days is self.in_zone)
        return Block(
            participant=participant,
            first_day=self.days[attendance.first],
            statuses=statuses,
            files=files.files[rows].copy(),
            hours=files.hours[rows].copy(),
            lake_bytes=files.size_bytes[rows].copy(),
            server_bytes=server_bytes[rows].copy(),
            waiting=self._waiting(person, days, processed, data_days)[rows].copy(),
            expected_hours=hours_expected(
                person, shares=self._shares[rows], lengths=days.lengths[rows], statuses=statuses, streams=self._streams
            ),
        )

    def _held(self, participant: str, days: StudyDays) -> Held:
        """What the lake holds of a participant. Manifests are read of windows that have changed."""
        index, record = self._lake.index(participant), self._earlier.record
        unchanged = [key in index and index[key].at <= record for key in self._windows]
        kept = self._earlier.days_over(participant, len(self.days)) & self._touched.days_within(np.array(unchanged))
        if days is not self.in_zone:
            kept[:] = False
        changed = frozenset(compress(self._windows, self._touched.of(~kept)))
        sizes = self._lake.sizes(participant, changed)
        files = held(sizes, days=days, numbers=self.numbers, until=self._study.now)
        return self._earlier.completed(files, participant, kept, self.numbers)

    def _waiting(self, person: Enrollment, days: StudyDays, processed: np.ndarray, data_days: np.ndarray) -> np.ndarray:
        last_data = self.days[data_days[-1]] if len(data_days) else date.min
        uploaded = person.last_upload.astimezone(self._study.zone.zone).date() if person.last_upload else date.min
        uploads = self._study.uploads(person.participant) if uploaded > last_data else None
        if uploads is None:
            return np.full(processed.shape, UNKNOWN, dtype=np.int32)
        return waiting(uploads, days=days, numbers=self.numbers, processed=processed)
