"""``dagster-beiwe status``: who sends data and who stopped, as the newest table of coverage in the lake says."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from functools import partial
from typing import Any

import click
import numpy as np

from dagster_beiwe.cli.command import Command
from dagster_beiwe.cli.context import named, open_lake, studies_in_lake
from dagster_beiwe.cli.messages import red
from dagster_beiwe.cli.options import json_option, optional_study_option, silent_option
from dagster_beiwe.cli.output import paragraph, print_json
from dagster_beiwe.client import StudyListing
from dagster_beiwe.coverage import Enrollment, SilentParticipant
from dagster_beiwe.coverage.frame import TIME_ZONE, as_of
from dagster_beiwe.coverage.stored import StoredCoverage, read_coverage
from dagster_beiwe.coverage.wording import local_time
from dagster_beiwe.errors import TableMissingError
from dagster_beiwe.pictures.charts import DATA, MOST, NOTHING, PART
from dagster_beiwe.pictures.sentences import silence_in_words
from dagster_beiwe.pictures.study_charts import StudyCharts
from dagster_beiwe.report.figures import participant_figures
from dagster_beiwe.tables.finding import key_called
from dagster_beiwe.tables.store import TableStore
from dagster_beiwe.text import counted

_BAR_DAYS = 28
_ASCII = " .+#"
_BLOCKS = " \N{MIDDLE DOT}\N{LOWER HALF BLOCK}\N{FULL BLOCK}"
"""What stands for each level of a day, from ``BLANK`` to ``MOST``."""

_FRESH = timedelta(days=1)


@click.command(cls=Command, examples=["status", 'status --study "Sleep and Mood" --silent 3'])
@optional_study_option
@silent_option
@json_option
def command(*, study: str | None, days: int | None, as_json: bool) -> int:
    """Show who sends data and who stopped.

    A line per participant, the silent ones first, with a bar of the last 28 days. The status is 1 if somebody is
    silent.
    """
    found = False
    for each, lake in studies_in_lake(open_lake(), study):
        overview = _overview(TableStore.of_study(lake).at(), days)
        found = found or overview is None or bool(overview.silent)
        if not as_json:
            _print(each, overview)
        elif overview is not None:
            for person in overview.people:
                print_json({"study_id": each.id, "study": each.name, **_facts(person, overview)})
    return 1 if found else 0


@dataclass(frozen=True, kw_only=True)
class _Person:
    """One line. ``levels`` are of the last days, ``silent`` is None for somebody who sends data or need not."""

    participant: str
    status: str
    levels: np.ndarray
    last_data: date | None
    enrollment: Enrollment
    silent: SilentParticipant | None


@dataclass(frozen=True, kw_only=True)
class _Overview:
    """A study's line and those of its participants, the silent ones first."""

    sentence: str
    made: datetime
    time_zone: str
    silent: Sequence[SilentParticipant]
    people: Sequence[_Person]


def _overview(tables: TableStore, days: int | None) -> _Overview | None:
    """What the tables of a study say; None if there is no coverage."""
    try:
        stored = read_coverage(tables, partial(key_called, tables), silent_days=days)
    except TableMissingError:
        return None
    return _Overview(
        sentence=silence_in_words(stored.table, stored.silent, stored.limits),
        made=as_of(stored.table),
        time_zone=stored.table.attrs[TIME_ZONE],
        silent=stored.silent,
        people=list(_people(stored)) if len(stored.table) else [],
    )


def _people(stored: StoredCoverage) -> Iterator[_Person]:
    """Everybody, in the order of the heat maps."""
    silent = {each.participant: each for each in stored.silent}
    charts = StudyCharts(coverage=stored.table, silent=list(silent), most_days=_BAR_DAYS)
    figures = participant_figures(stored.table)
    for participant, levels in zip(charts.days.participants, charts.overview.levels, strict=True):
        yield _Person(
            participant=participant,
            status=figures[participant].status,
            levels=levels,
            last_data=figures[participant].sums.last_data,
            enrollment=stored.roster.get(participant, Enrollment(participant=participant)),
            silent=silent.get(participant),
        )


def _facts(person: _Person, overview: _Overview) -> dict[str, Any]:
    silent, enrollment = person.silent, person.enrollment
    return {
        "participant": person.participant,
        "status": person.status,
        "silent": silent is not None,
        "everything": silent is not None and silent.everything,
        "streams": list(silent.streams) if silent else [],
        "days_silent": silent.days_silent if silent else 0,
        "last_data": person.last_data,
        "last_upload": enrollment.last_upload,
        "last_heartbeat": enrollment.last_heartbeat,
        "days": _bar(person.levels, _ASCII),
        "as_of": overview.made,
    }


def _print(study: StudyListing, overview: _Overview | None) -> None:
    if overview is None:
        print(f"{named(study)}: the lake has no table of coverage. Materialize coverage in Dagster.")
        return
    made = f"As of {local_time(overview.made, overview.time_zone)} ({overview.time_zone})."
    print(paragraph(f"{named(study)}: {overview.sentence} {made}"))
    if datetime.now(timezone.utc) - overview.made > _FRESH:
        old = "The table is more than a day old, so it is not known who is silent now. Materialize coverage in Dagster."
        print(paragraph(old, indent="  "))
    marks = _marks_of_the_terminal()
    width = max((len(person.participant) for person in overview.people), default=0)
    for person in overview.people:
        last = person.last_data.isoformat() if person.last_data else "never"
        line = (
            f"  {person.participant:{width}}  {_bar(person.levels, marks):>{_BAR_DAYS}}  {last:10}  {_remark(person)}"
        )
        print(red(line.rstrip(), sys.stdout) if person.silent else line.rstrip())
    if overview.people:
        keys = "; ".join(f"{marks[level]} {DATA[level].meaning}" for level in (MOST, PART, NOTHING))
        legend = f"The last {_BAR_DAYS} days, and the last day with data. {keys}."
        print(paragraph(legend, indent=" " * (width + 4)))


def _remark(person: _Person) -> str:
    if person.silent:
        return f"{person.silent.what} silent for {counted(person.silent.days_silent, 'day')}"
    return "" if person.status == "enrolled" else person.status


def _bar(levels: np.ndarray, marks: str) -> str:
    return "".join(marks[level] for level in levels)


def _marks_of_the_terminal() -> str:
    try:
        _BLOCKS.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return _ASCII
    return _BLOCKS
