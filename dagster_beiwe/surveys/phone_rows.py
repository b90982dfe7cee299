"""Rows of the streams ``survey_answers`` and ``survey_timings`` as records. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

import pandas as pd

from dagster_beiwe.reading.frames import FILE_TIME, SURVEY_ID
from dagster_beiwe.reading.rows import TIMESTAMP
from dagster_beiwe.surveys.definitions import Definitions
from dagster_beiwe.surveys.words import UNKNOWN_SURVEYS

_QUESTION = ("question id", "question type", "question text", "question answer options", "answer")


@dataclass(frozen=True, slots=True)
class PhoneRow:
    """A question and its answer, as a phone wrote them."""

    question_id: str
    type: str
    text: str
    options: str
    answer: str


@dataclass(frozen=True, slots=True)
class Timing:
    """What happened in a survey at a time, in Unix milliseconds. On Android, ``event`` is always empty."""

    time: int
    survey_id: str
    event: str
    row: PhoneRow


@dataclass(frozen=True, slots=True)
class AnswersFile:
    """The answers of one submission; ``time`` is that of the file, in Unix milliseconds, cut to seconds."""

    time: int
    survey_id: str
    rows: tuple[PhoneRow, ...]


def answers_files(frame: pd.DataFrame, definitions: Definitions) -> list[AnswersFile]:
    """The submissions in rows of ``survey_answers``, in the order of their times.

    Each question stands once in a file: where one comes again, another file of the same second begins. A file that has
    nothing but the beginning of another one of that second was uploaded repeatedly.
    """
    files = []
    records = sorted(_answers(frame, definitions), key=lambda record: record[:2])
    for (time, survey_id), group in groupby(records, key=lambda record: record[:2]):
        kept: list[tuple[PhoneRow, ...]] = []
        for rows in sorted(_split([row for _, _, row in group]), key=len, reverse=True):
            if not any(other[: len(rows)] == rows for other in kept):
                kept.append(rows)
        files += [AnswersFile(time, survey_id, rows) for rows in kept]
    return files


def _answers(frame: pd.DataFrame, definitions: Definitions) -> Iterator[tuple[int, str, PhoneRow]]:
    times = frame[FILE_TIME].astype("int64")
    for time, survey_id, *cells in zip(times, _texts(frame, SURVEY_ID), *_questions(frame), strict=True):
        row = PhoneRow(*cells)
        yield int(time), _survey(survey_id, row.question_id, definitions), row


def _split(rows: list[PhoneRow]) -> list[tuple[PhoneRow, ...]]:
    files: list[list[PhoneRow]] = []
    asked = set[str]()
    for row in rows:
        if not files or row.question_id in asked:
            files.append([])
            asked = set()
        files[-1].append(row)
        asked.add(row.question_id)
    return [tuple(each) for each in files]


def timings(frame: pd.DataFrame, definitions: Definitions) -> list[Timing]:
    """The rows of ``survey_timings`` in the order of their times, each of them once. Rows without a time, or of a
    survey that nobody knows, are left out."""
    columns = [frame[TIMESTAMP].fillna(-1), _texts(frame, SURVEY_ID), _texts(frame, "event"), *_questions(frame)]
    found: dict[Timing, None] = {}
    for time, noted, event, *cells in zip(*columns, strict=True):
        row = PhoneRow(*cells)
        survey_id = _survey(noted, row.question_id, definitions)
        if time >= 0 and survey_id:
            found[Timing(int(time), survey_id, event, row)] = None
    return sorted(found, key=lambda timing: timing.time)


def _survey(survey_id: str, question_id: str, definitions: Definitions) -> str:
    """The id of a survey, also where the phone or the server lost it; empty if nobody knows it."""
    return definitions.survey_of([question_id]) or "" if survey_id in UNKNOWN_SURVEYS else survey_id


def _questions(frame: pd.DataFrame) -> list[list[str]]:
    return [_texts(frame, name) for name in _QUESTION]


def _texts(frame: pd.DataFrame, name: str) -> list[str]:
    """The texts of a column; empty where it has none."""
    if name not in frame:
        return [""] * len(frame)
    values = frame[name]
    return ["" if missing else str(value) for value, missing in zip(values, values.isna(), strict=True)]
