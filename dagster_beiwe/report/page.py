"""Write the report of a study as one HTML page, which needs no other file, no network, and no script."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import jinja2
import pandas as pd

from dagster_beiwe.coverage import SilenceLimits, SilentParticipant
from dagster_beiwe.coverage.changes import SettingChange
from dagster_beiwe.coverage.frame import STATUSES, TIME_ZONE, as_of
from dagster_beiwe.coverage.wording import local_time
from dagster_beiwe.pictures.charts import Chart, Key, Tick, spaced
from dagster_beiwe.pictures.drawing import data_url, plain_png
from dagster_beiwe.pictures.sentences import silence_in_words
from dagster_beiwe.pictures.study_charts import StudyCharts
from dagster_beiwe.report.figures import participant_figures, stream_figures, total_figures
from dagster_beiwe.text import human_size, one_line

_TEMPLATE = "page.html"
_SECTIONS = {
    "silent": "Who stopped sending",
    "days": "Day by day",
    "streams": "Stream by stream",
    "hours": "Hours of GPS and accelerometer",
    "volume": "Data volume",
    "settings": "Settings that changed",
    "participants": "Every participant",
}
"""{anchor: title}"""

_LABEL_HEIGHT, _LABEL_WIDTH = 14, 50
_HIGHEST_CELL, _WIDEST_CELL = 18, 16
"""Of few participants and days, in pixels."""
_MEASURED = (
    "An hour or a minute is valid if the stream has at least one row in it. Days of which the lake has files that were "
    "not measured yet are left blank."
)
_NOT_MEASURED = "Hours in which the lake has a file. How many minutes of them are valid has not been measured."


@dataclass(frozen=True, kw_only=True, eq=False)
class Report:
    """The content of a report: the coverage table of a study, and what was found in it."""

    study: str
    coverage: pd.DataFrame
    silent: Sequence[SilentParticipant]
    limits: SilenceLimits
    quality: pd.DataFrame | None = None
    changes: Sequence[SettingChange] = ()


def render(report: Report) -> str:
    """The page. A study without participants has one, too."""
    time_zone = report.coverage.attrs[TIME_ZONE]
    return _template(time_zone).render(
        study=one_line(report.study),
        as_of=as_of(report.coverage),
        time_zone=time_zone,
        sections=_SECTIONS,
        **({"participants": ()} if report.coverage.empty else _contents(report)),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _View:
    """A chart as HTML: an image of one pixel per cell, stretched, with the labels beside it as text."""

    chart: Chart
    most_pixels: int
    narrowest: int
    """Pixels that the picture is wide at least, on paper too: labels fit in."""

    @cached_property
    def source(self) -> str:
        return data_url(plain_png(self.chart))

    @property
    def row_pixels(self) -> int:
        return min(max(self.most_pixels // self.chart.rows, 1), _HIGHEST_CELL)

    @property
    def height(self) -> int:
        return self.chart.rows * self.row_pixels

    @property
    def widest(self) -> int:
        """Short studies need no whole line, but their labels need room."""
        return max(self.chart.columns * _WIDEST_CELL, self.narrowest) + 100

    @property
    def row_ticks(self) -> tuple[Tick, ...]:
        return spaced(self.chart.row_ticks, apart=_LABEL_HEIGHT / self.row_pixels)

    @property
    def column_ticks(self) -> tuple[Tick, ...]:
        apart = self._in_columns(_LABEL_WIDTH)
        ticks = spaced(self.chart.column_ticks, apart=apart)
        return tuple(tick for tick in ticks if tick.at + apart <= self.chart.columns)

    @property
    def marks(self) -> tuple[Tick, ...]:
        """The marks whose label has room. That of the last day may reach over the edge."""
        return spaced(self.chart.marks, apart=self._in_columns(_LABEL_HEIGHT))

    def _in_columns(self, pixels: int) -> float:
        return pixels * self.chart.columns / self.narrowest

    def top(self, tick: Tick) -> str:
        return f"{100 * (tick.at + 0.5) / self.chart.rows:.3f}"

    def left(self, tick: Tick) -> str:
        return f"{100 * tick.at / self.chart.columns:.3f}"

    @staticmethod
    def css(key: Key) -> str:
        return "rgb({}, {}, {})".format(*key.shade.color) if key.shade.color else "transparent"


def _contents(report: Report) -> dict[str, Any]:
    """What the template shows of a study with participants."""
    charts = StudyCharts(
        coverage=report.coverage,
        silent=[each.participant for each in report.silent],
        quality=report.quality,
        changes=report.changes,
    )
    people = participant_figures(report.coverage)
    return {
        "numbers": _in_short(report, [person.status for person in people.values()]),
        "silence": silence_in_words(report.coverage, report.silent, report.limits),
        "silent": report.silent,
        "overview": _large(charts.overview),
        "by_enrollment": _large(charts.by_enrollment),
        "streams": stream_figures(report.coverage),
        "groups": [_small(charts.group(group)) for group in charts.streams],
        "hours": [_small(chart) for chart in (*charts.hours(), *charts.hours_by_enrollment())],
        "hours_explained": _MEASURED if report.quality is not None else _NOT_MEASURED,
        "volume": _bars(charts.volume(), 500),
        "volumes": [_bars(charts.volume(group), 240) for group in charts.streams],
        "changes": charts.numbered_changes,
        "participants": [people[name] for name in charts.days.participants],
    }


def _in_short(report: Report, statuses: Sequence[str]) -> dict[str, str]:
    total = total_figures(report.coverage)
    return {
        "participants": f"{len(statuses):,}",
        **{status: f"{statuses.count(status):,}" for status in STATUSES if status in statuses},
        "silent": f"{len(report.silent):,}",
        "of expected hours": _percent(total.share),
        "in the lake": human_size(total.lake_bytes),
    }


def _large(chart: Chart) -> _View:
    return _View(chart=chart, most_pixels=900, narrowest=500)


def _small(chart: Chart) -> _View:
    return _View(chart=chart, most_pixels=300, narrowest=240)


def _bars(chart: Chart, narrowest: int) -> _View:
    return _View(chart=chart, most_pixels=chart.rows, narrowest=narrowest)


def _template(time_zone: str) -> jinja2.Template:
    loader = jinja2.PackageLoader("dagster_beiwe", "report")
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)
    environment.filters |= {
        "minute": partial(local_time, time_zone=time_zone),
        "number": _number,
        "percent": _percent,
        "size": _size,
    }
    return environment.get_template(_TEMPLATE)


def _number(number: float) -> str:
    return f"{number:,.0f}"


def _percent(share: float | None) -> str:
    """Rounded down, so that 100% means all."""
    return "" if share is None else f"{math.floor(100 * share)}%"


def _size(size_bytes: int | None) -> str:
    return "" if size_bytes is None else human_size(size_bytes)
