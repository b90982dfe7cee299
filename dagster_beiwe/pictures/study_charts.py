"""The charts of a study: heat maps of its participants by day, and its data volume by day."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd

from dagster_beiwe.coverage.changes import SettingChange
from dagster_beiwe.coverage.frame import enrolled_now, has_data
from dagster_beiwe.pictures.charts import (
    BARS,
    DATA,
    EVENTS,
    HOURS,
    NOTHING,
    VALID_HOURS,
    Chart,
    Levels,
    Shade,
    Tick,
    date_ticks,
    number_ticks,
)
from dagster_beiwe.pictures.days import Days, data_levels, hours_levels, since_enrollment
from dagster_beiwe.streams import STREAM_GROUPS, StreamGroup, stream_named
from dagster_beiwe.text import counted, human_size

_BAR_ROWS = 60
_RECENT_DAYS = 28
_MEASURED_STREAMS = ("gps", "accelerometer")
_VALID = {"valid_hours": ("Valid hours", 1), "valid_minutes": ("Valid minutes", 60)}
"""{column: (title, how many make an hour)}"""

DRAWN_OF_QUALITY = ("participant", "day", "stream", "files", *_VALID)
"""The columns of ``quality`` that are drawn."""


@dataclass(frozen=True, kw_only=True, eq=False)
class StudyCharts:
    """What can be drawn of a study's coverage table, which must not be empty.

    ``silent`` names participants from the worst on; they are the first rows. Then come those who are enrolled, by the
    days of the last four weeks on which nothing was received, and then all others. ``quality`` has the columns
    ``DRAWN_OF_QUALITY``. The days of ``changes`` are marked on the time axis. Pictures show ``most_participants`` and
    the newest ``most_days``, or as many from enrollment on.
    """

    coverage: pd.DataFrame
    silent: Sequence[str] = ()
    quality: pd.DataFrame | None = None
    changes: Sequence[SettingChange] = ()
    most_participants: int | None = None
    most_days: int | None = None

    @cached_property
    def days(self) -> Days:
        """The rows and columns of heat maps by date."""
        participants = _worst_first(self.coverage, self.silent)
        return Days.of(self.coverage, participants[: self.most_participants]).newest(self.most_days)

    @cached_property
    def numbered_changes(self) -> list[tuple[int, SettingChange]]:
        """What changed, oldest first, and the number that marks its day in the pictures."""
        numbers = {day: number for number, day in enumerate(sorted({each.day for each in self.changes}), start=1)}
        return [(numbers[each.day], each) for each in sorted(self.changes, key=lambda each: each.day)]

    @cached_property
    def streams(self) -> dict[StreamGroup, list[str]]:
        """Groups with streams that were expected or received, and those streams."""
        there = self.coverage[has_data(self.coverage) | (self.coverage["expected_hours"] > 0)]
        names = sorted(map(str, there["stream"].unique()))
        groups = {group: [name for name in names if stream_named(name).group == group] for group in STREAM_GROUPS}
        return {group: found for group, found in groups.items() if found}

    @cached_property
    def overview(self) -> Chart:
        """All streams as one, by date."""
        return self._by_date("All streams", data_levels(self.days, self.coverage), DATA)

    @cached_property
    def by_enrollment(self) -> Chart:
        """All streams as one, each participant from the day of enrollment on."""
        return self._from_enrollment(self._on_all_days.overview)

    def group(self, group: StreamGroup) -> Chart:
        """The streams of a group as one, by date."""
        names = self.streams[group]
        coverage = self._of(names)
        title = group if names == [group] else f"{group}: {', '.join(names)}"
        scale = DATA if coverage["expected_hours"].notna().any() else EVENTS
        return self._by_date(title, data_levels(self.days, coverage), scale)

    def hours(self) -> Iterator[Chart]:
        """Hours per day of GPS and accelerometer: valid hours and minutes, or hours with files if those are unknown.

        A day is blank if the lake has files of it that were not measured yet.
        """
        for stream in _MEASURED_STREAMS:
            coverage, quality = _rows_of(self.coverage, stream), _rows_of(self.quality, stream)
            files = self.days.sums(coverage, coverage["files"])
            over = coverage["expected_hours"].where(coverage["state"] != "not yet")
            expected = self.days.sums(coverage, over.fillna(0)) > 0
            if not (expected.any() or files.any()):
                continue
            if quality.empty:
                hours = self.days.sums(coverage, coverage["hours"])
                yield self._by_date(f"Hours with files of {stream}", hours_levels(expected, hours), HOURS)
                continue
            measured = self.days.sums(quality, quality["files"]) >= files
            for column, (title, per_hour) in _VALID.items():
                hours = np.where(measured, self.days.sums(quality, quality[column]) / per_hour, 0)
                yield self._by_date(f"{title} of {stream}", hours_levels(expected & measured, hours), VALID_HOURS)

    def hours_by_enrollment(self) -> Iterator[Chart]:
        """The same, each participant from the day of enrollment on."""
        return map(self._from_enrollment, self._on_all_days.hours())

    def volume(self, group: StreamGroup | None = None) -> Chart:
        """Bytes per day of all participants, as bars: of all streams, or of a group."""
        coverage = self._of(self.streams[group]) if group else self.coverage
        days = self.days
        by_day = coverage.groupby("day")["lake_bytes"].sum()
        sizes = by_day.reindex(pd.date_range(days.first, days.last), fill_value=0).to_numpy(np.float64)
        top = _round_up(sizes.max())
        return Chart(
            title=f"Data volume by day: {group or 'all streams'}",
            text=f"{self._span}: {human_size(sizes.sum())}, at most {human_size(sizes.max())} in a day",
            levels=(np.arange(_BAR_ROWS, 0, -1)[:, None] <= np.ceil(sizes / top * _BAR_ROWS)).astype(np.uint8),
            scale=BARS,
            row_ticks=(Tick(0, human_size(top)), Tick(_BAR_ROWS - 1, "0 B")),
            column_ticks=date_ticks(days.first, days.count),
            marks=self._marks,
        )

    @cached_property
    def _on_all_days(self) -> StudyCharts:
        return replace(self, most_days=None) if self.most_days else self

    def _from_enrollment(self, chart: Chart) -> Chart:
        """The rows of a chart of all days, each from its participant's first day in the study on."""
        present = self.coverage[self.coverage["status"] != "not enrolled yet"]
        starts = np.argmax(self._on_all_days.days.sums(present, np.ones(len(present))) > 0, axis=1)
        levels = since_enrollment(chart.levels, starts.tolist())
        longest = int(np.flatnonzero(levels.any(axis=0)).max(initial=0)) + 1
        shown = min(longest, self.most_days or longest)
        first = f", the first {counted(shown, 'day')}" if shown < longest else ""
        return Chart(
            title=f"{chart.title}, since enrollment",
            text=f"{counted(len(levels), 'participant')} by day since enrollment{first}",
            levels=levels[:, :shown],
            scale=chart.scale,
            row_ticks=self._names,
            column_ticks=number_ticks(shown),
        )

    def _by_date(self, title: str, levels: Levels, scale: tuple[Shade, ...]) -> Chart:
        return Chart(
            title=title,
            text=f"{counted(len(levels), 'participant')} by day, {self._span}",
            levels=levels,
            scale=scale,
            row_ticks=self._names,
            column_ticks=date_ticks(self.days.first, self.days.count),
            marks=self._marks,
        )

    def _of(self, streams: Sequence[str]) -> pd.DataFrame:
        found: pd.DataFrame = self.coverage[self.coverage["stream"].isin(streams)]
        return found

    @property
    def _span(self) -> str:
        return f"{self.days.first} to {self.days.last}"

    @property
    def _names(self) -> tuple[Tick, ...]:
        return tuple(Tick(row, name) for row, name in enumerate(self.days.participants))

    @property
    def _marks(self) -> tuple[Tick, ...]:
        places = {(change.day - self.days.first).days: str(number) for number, change in self.numbered_changes}
        return tuple(Tick(at, number) for at, number in places.items() if 0 <= at < self.days.count)


def _rows_of(table: pd.DataFrame | None, stream: str) -> pd.DataFrame:
    """The rows of a stream, none of a table that there is not."""
    found: pd.DataFrame = pd.DataFrame() if table is None else table[table["stream"] == stream]
    return found


def _worst_first(coverage: pd.DataFrame, silent: Sequence[str]) -> list[str]:
    days = Days.of(coverage, sorted(map(str, coverage["participant"].unique())))
    enrolled = enrolled_now(coverage)
    lately = data_levels(days.newest(_RECENT_DAYS), coverage)
    nothing = dict(zip(days.participants, (lately == NOTHING).sum(axis=1).tolist(), strict=True))
    places = {name: place for place, name in enumerate(silent)}

    def rank(name: str) -> tuple[int, int, str]:
        if name in places:
            return 0, places[name], name
        return (1, -nothing[name], name) if name in enrolled else (2, 0, name)

    return sorted(days.participants, key=rank)


def _round_up(number: float) -> float:
    """The next 1, 2, or 5 with zeros, so that an axis ends at it; at least 1."""
    power = 10 ** math.floor(math.log10(max(number, 1)))
    return float(next(step * power for step in (1, 2, 5, 10) if step * power >= number))
