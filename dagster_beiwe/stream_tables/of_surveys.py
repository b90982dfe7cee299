"""The table of surveys: answers joined with their timings, and with what the study asked. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from dagster_beiwe.reading.rows import UTC_TIME
from dagster_beiwe.reading.times import milliseconds
from dagster_beiwe.stream_tables.definition import MadeTable, TableDefinition, TableSources, TypedColumns
from dagster_beiwe.stream_tables.framing import COMMON, framed
from dagster_beiwe.stream_tables.names import streams_of
from dagster_beiwe.stream_tables.of_stream import NOT_COUNTED
from dagster_beiwe.surveys.definitions import Definitions
from dagster_beiwe.surveys.phone_rows import answers_files, timings
from dagster_beiwe.surveys.submissions import submissions_in
from dagster_beiwe.surveys.table import COLUMNS, survey_rows
from dagster_beiwe.surveys.words import LONGEST_SITTING_MINUTES

METHOD: Final = 1
"""Raise it when the same files make another table."""

_HISTORY: Final = "survey_history"
_FIRST, _LAST = 0, 2**63 - 1


def _make(sources: TableSources) -> MadeTable:
    definitions = Definitions.of(sources.tables.get(_HISTORY))
    parts = [sources.window] if sources.before is None else [sources.before, sources.window]
    answers, timed = ([part.read(stream) for part in parts] for stream in streams_of("surveys"))
    span = _bound(sources.span.start, _FIRST), _bound(sources.span.end, _LAST)
    found = submissions_in(
        span,
        [file for frame in answers for file in answers_files(frame, definitions)],
        [timing for frame in timed for timing in timings(frame, definitions)],
    )
    made = survey_rows(found, definitions)
    counts = Counter[str]()
    for frame in (answers[-1], timed[-1]):
        counts.update({name: count for name, count in frame.attrs["beiwe"].items() if name not in NOT_COUNTED})
    return MadeTable(frame=framed(made.frame, sources, SURVEYS.columns), counts={**counts, **made.counts})


def _bound(moment: datetime | None, otherwise: int) -> int:
    found = milliseconds("time", moment)
    return otherwise if found is None else found


_RAW: Final = "raw_data"
_ANSWER: Final = (_RAW, "answer")
_OFFERED: Final = (_RAW, "question answer options")
_OPTIONS: Final = (_HISTORY, "settings")
_TIMES: Final = ((_RAW, "UTC time"), (_RAW, "event"))
_COLUMNS_FROM: Final[Mapping[str, Sequence[tuple[str, str]]]] = {
    "survey": [(_HISTORY, "survey")],
    "submission": [(_RAW, "survey id"), (_RAW, "UTC time")],
    "system": [(_RAW, "event"), (_RAW, "question type")],
    "position": [(_RAW, "question id")],
    "version": [(_HISTORY, "version"), _OFFERED],
    "question text": [(_RAW, "question text"), (_HISTORY, "question_text")],
    "options": [_OPTIONS, _OFFERED],
    "status": [_ANSWER],
    "chosen": [_ANSWER, _OPTIONS],
    "match": [_ANSWER, _OPTIONS],
    "number": [_ANSWER],
    **dict.fromkeys(("opened", "shown", "first answered", "last answered", "seconds"), _TIMES),
    "source": [(_RAW, "question id")],
}

_ALL_COLUMNS: Final[TypedColumns] = {
    **COMMON,
    UTC_TIME: (COMMON[UTC_TIME][0], "When it was submitted, by the phone's clock: the time of the file of answers"),
    **COLUMNS,
}

SURVEYS: Final = TableDefinition(
    name="surveys",
    asset="surveys",
    description="Answers to surveys, a row for each submission and question.",
    streams=streams_of("surveys"),
    columns=_ALL_COLUMNS,
    make=_make,
    tables=(_HISTORY,),
    columns_from=_COLUMNS_FROM,
    looks_back=timedelta(minutes=LONGEST_SITTING_MINUTES),
    method=METHOD,
)
