"""Pictures as Markdown, for pages that render no HTML: each image lies in the text itself."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from dagster_beiwe.coverage import SilentParticipant
from dagster_beiwe.coverage.changes import SettingChange
from dagster_beiwe.pictures.charts import Chart
from dagster_beiwe.pictures.drawing import data_url, labeled_png, plain_png
from dagster_beiwe.pictures.study_charts import StudyCharts
from dagster_beiwe.text import as_code, counted

INLINE_CHARACTERS = 999
"""Dagster shows Markdown of so many characters in place, and longer text behind a click."""

_WORST, _NEWEST_DAYS = 10, 90
_THUMBNAIL_WIDTH, _SMALLEST_CELL, _LARGEST_CELL = 360, 4, 10

_MOST_PARTICIPANTS, _MOST_DAYS = 300, 365
_MOST_IN_GROUPS, _MOST_CHANGES = 100, 30
"""What full pictures are limited to: they stay in Dagster's database."""


def thumbnail(charts: StudyCharts) -> str:
    """The worst participants and the newest days, small enough to be shown in place: with fewer of both if need be."""
    chart = charts.overview
    rows, columns = min(_WORST, chart.rows), min(_NEWEST_DAYS, chart.columns)
    while len(text := _thumbnail(chart, rows, columns)) > INLINE_CHARACTERS:
        rows, columns = max(rows - 1, 1), max(columns * 9 // 10, 1)
    return text


def _thumbnail(chart: Chart, rows: int, columns: int) -> str:
    part = replace(chart, levels=chart.levels[:rows, chart.columns - columns :])
    keys = "; ".join(f"{key.shade.name}: {key.meaning}" for key in part.legend)
    who = f"the {rows} worst of {chart.rows} participants" if rows < chart.rows else counted(rows, "participant")
    names = ", ".join(as_code(tick.text) for tick in chart.row_ticks[:rows])
    cell = min(max(_THUMBNAIL_WIDTH // columns, _SMALLEST_CELL), _LARGEST_CELL)
    image = data_url(plain_png(part, cell=cell))
    return (
        f"![{columns} days of {who}]({image})\n\nThe last {columns} days of {who}, from the top: {names}. "
        f"{keys[:1].upper()}{keys[1:]}."
    )


def silent_table(sentence: str, silent: Sequence[SilentParticipant]) -> str:
    """A sentence, and who is silent: as many as are shown in place."""
    lines = [
        f"| {as_code(each.participant)} | {each.days_silent} | {each.last_data or 'never'} | {each.what} |"
        for each in silent
    ]
    head = "| participant | days silent | last data | what is silent |\n|---|---|---|---|"
    for shown in range(len(lines), 0, -1):
        more = "" if shown == len(lines) else f"\n\nThe check `silent` names the other {len(lines) - shown}."
        text = f"{sentence}\n\n" + "\n".join([head, *lines[:shown]]) + more
        if len(text) <= INLINE_CHARACTERS:
            return text
    return sentence


def full_pictures(charts: StudyCharts) -> dict[str, str]:
    """{title: Markdown with pictures}: a year of 300 participants, and 90 days of the streams of 100."""
    large = replace(charts, most_participants=_MOST_PARTICIPANTS, most_days=_MOST_DAYS)
    small = replace(charts, most_participants=_MOST_IN_GROUPS, most_days=_NEWEST_DAYS)
    return {
        "heat map": _pictures([large.overview]) + _changes(large),
        "heat map since enrollment": _pictures([large.by_enrollment]),
        "heat maps by stream group": _pictures(map(small.group, small.streams)),
        "hours of GPS and accelerometer": _pictures(small.hours()),
        "hours since enrollment": _pictures(small.hours_by_enrollment()),
        "data volume by day": _pictures([large.volume()], row_height=1),
    }


def _changes(charts: StudyCharts) -> str:
    """What the numbers in a picture say, in a list; empty if no day of it is marked."""
    lines = [
        f"- {number}: {change.day}, {as_code(change.setting)}{_values(change)}"
        for number, change in charts.numbered_changes
        if change.day >= charts.days.first
    ]
    return "\n\nSettings that changed:\n\n" + "\n".join(lines[-_MOST_CHANGES:]) if lines else ""


def _values(change: SettingChange) -> str:
    return f": {as_code(change.before)} to {as_code(change.after)}" if change.before and change.after else ""


def _pictures(charts: Iterable[Chart], *, row_height: int | None = None) -> str:
    return "\n\n".join(
        f"### {chart.title}\n\n{chart.text}.\n\n"
        f"![{chart.description}]({data_url(labeled_png(chart, row_height=row_height))})"
        for chart in charts
    )
