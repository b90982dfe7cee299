"""The rows of the table of surveys: one for each submission and question. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Final

import pandas as pd

from dagster_beiwe.column_types import question_type
from dagster_beiwe.reading.rows import UTC_TIME, read_number
from dagster_beiwe.surveys.asked import Asked, asked
from dagster_beiwe.surveys.choices import CHECKBOX, RADIO_BUTTON, places_of, position_in
from dagster_beiwe.surveys.definitions import Definitions
from dagster_beiwe.surveys.phone_rows import PhoneRow
from dagster_beiwe.surveys.question_times import QuestionTimes, question_times
from dagster_beiwe.surveys.submissions import Submission
from dagster_beiwe.surveys.words import ANDROID_TYPES, IOS_TYPES, NO_ANSWERS, NOT_PRESENTED, NOT_RECORDED

_MOMENT: Final = "datetime64[ms, UTC]"
_ANSWERED: Final = "answered"

COLUMNS: Final[dict[str, tuple[str, str]]] = {
    "survey id": ("category", "Survey"),
    "survey": ("category", "Name of the survey; empty if it was deleted, or if the server does not tell names"),
    "submission": ("category", "Id of the submission: the survey, and the Unix milliseconds of the UTC time"),
    "system": ("category", "Android or iOS; empty if the files do not tell"),
    "opened": (_MOMENT, "When the survey was opened, as the timings tell"),
    "position": ("Int64", "Place of the question in what the phone sent, starting at 1"),
    "question id": ("category", "Question"),
    "version": ("Int64", "Version of the survey that was asked, as in survey_history; empty if none fits"),
    "question type": ("category", "Type of the question, as the server calls it"),
    "question text": ("category", "Text of the question in that version; as the phone wrote it if no version fits"),
    "options": ("object", "The options that were offered, a list; empty if there are none, or if no version fits"),
    "status": ("category", "answered, skipped, not presented (only iOS tells), not recorded, or information"),
    "answer": ("string", "The answer as the phone wrote it: with semicolons for commas, and without line breaks"),
    "chosen": ("object", "Positions of the chosen options, a list of numbers starting at 0; empty unless exact"),
    "match": ("category", "Whether the answer fits one choice: exact, ambiguous, no match, or options unknown"),
    "number": ("float64", "The answer of a slider or a numeric field as a number"),
    "shown": (_MOMENT, "When the question was first shown; only iOS tells"),
    "first answered": (_MOMENT, "When the answer was first given"),
    "last answered": (_MOMENT, "When the answer was last changed"),
    "seconds": ("float64", "On iOS, seconds while it was shown; on Android, from the event before to each answer"),
    "source": ("category", "What the row is made of: answers and timings, answers, or timings"),
}
"""{column: (type, as pandas calls it, and what it holds)}, beside participant and times."""


@dataclass(frozen=True, kw_only=True)
class SurveyRows:
    """The rows, with ``UTC time``, and what was counted in them."""

    frame: pd.DataFrame
    counts: Counter[str]


def survey_rows(submissions: Iterable[Submission], definitions: Definitions) -> SurveyRows:
    """A row for each question of the submissions, in their order. Submissions of which nothing is left have none."""
    records: list[dict[str, Any]] = []
    counts: Counter[str] = Counter(dict.fromkeys(("submissions", *_COUNTED.values()), 0))
    names: Counter[str] = Counter()
    for submission in submissions:
        rows = list(_records(submission, definitions))
        name = f"{submission.survey_id}/{submission.time}"
        names[name] += 1
        common = _common(submission, definitions) | {
            "submission": name if names[name] == 1 else f"{name}-{names[name]}"
        }
        records += [common | row for row in rows]
        counts["submissions"] += bool(rows)
    columns = {UTC_TIME: (_MOMENT, ""), **COLUMNS}
    frame = pd.DataFrame({name: _column(records, name, kind) for name, (kind, _) in columns.items()})
    for column in ("status", "match", "source"):
        counts.update(frame[column].map(_COUNTED, na_action="ignore").dropna())
    return SurveyRows(frame=frame, counts=counts)


_COUNTED: Final = {
    "answered": "answered",
    "skipped": "skipped",
    "not presented": "not_presented",
    "not recorded": "not_recorded",
    "ambiguous": "ambiguous_answers",
    "no match": "unmatched_answers",
    "options unknown": "answers_with_unknown_options",
    "answers": "rows_without_timings",
    "timings": "rows_without_answers",
}
"""{word in the table: what it is counted as}"""


def _column(records: Iterable[dict[str, Any]], name: str, kind: str) -> pd.Series[Any]:
    values = [record.get(name) for record in records]
    if kind != _MOMENT:
        return pd.Series(values, dtype=kind)
    return pd.to_datetime(pd.Series(values, dtype="Int64"), unit="ms", utc=True).astype(_MOMENT)


def _common(submission: Submission, definitions: Definitions) -> dict[str, Any]:
    return {
        UTC_TIME: submission.time,
        "survey id": submission.survey_id,
        "survey": definitions.names.get(submission.survey_id),
        "system": _system(submission),
        "opened": submission.timings[0].time if submission.timings else None,
    }


def _system(submission: Submission) -> str | None:
    if submission.timings:
        return "iOS" if any(timing.event for timing in submission.timings) else "Android"
    types = {row.type for row in submission.answers.rows} if submission.answers else set()
    return "Android" if types & ANDROID_TYPES else "iOS" if types & IOS_TYPES else None


def _records(submission: Submission, definitions: Definitions) -> Iterator[dict[str, Any]]:
    times = question_times(submission.timings)
    moment = datetime.fromtimestamp(submission.time / 1000, timezone.utc)
    given = submission.answers.rows if submission.answers else ()
    answered = {row.question_id for row in given}
    rows = [*given, *(each.row for question, each in times.items() if question not in answered)]
    questions = [*zip(rows, asked(rows, moment, definitions), strict=True)]
    numbered = _is_numbered(questions[: len(given)], times) if given else False
    for position, (row, question) in enumerate(questions, start=1):
        noted = times.get(row.question_id)
        source = "answers" if noted is None else "answers and timings" if row.question_id in answered else "timings"
        yield {
            "position": position,
            "question id": row.question_id,
            "version": question.version,
            "question type": question.type,
            "question text": question.text,
            "options": list(question.options) if question.options else None,
            "source": source,
            **_answer(row, question, numbered=numbered if row.type in ANDROID_TYPES else False),
            **(_times(noted) if noted else {}),
        }


def _answer(row: PhoneRow, question: Asked, *, numbered: bool | None) -> dict[str, Any]:
    status = _status(row, question.type)
    found: dict[str, Any] = {"status": status}
    if status != _ANSWERED:
        return found
    if question.is_choice:
        chosen = question.chosen(row.answer, numbered=numbered)
        found |= {"match": chosen.match, "chosen": list(chosen.options) or None}
    number = read_number(row.answer) if question.type == "slider" or question.numeric else None
    return found | {"answer": row.answer, "number": number}


def _status(row: PhoneRow, kind: str) -> str:
    if kind == "info_text_box":
        return "information"
    if row.answer in (NOT_PRESENTED, NOT_RECORDED):
        return "not presented" if row.answer == NOT_PRESENTED else "not recorded"
    return "skipped" if row.answer in NO_ANSWERS or (kind == CHECKBOX and row.answer == "[]") else _ANSWERED


def _is_numbered(questions: Sequence[tuple[PhoneRow, Asked]], times: dict[str, QuestionTimes]) -> bool | None:
    """Whether the answers to radio buttons are positions: some versions of the app on Android write them, and others
    write texts, which may be numbers. Its timings always have texts. None if nothing tells."""
    numbered = set[bool]()
    for row, question in questions:
        if question_type(row.type) != RADIO_BUTTON or not question.options or row.answer in NO_ANSWERS:
            continue
        by_text = places_of(row.answer, question.options, question.spellings)
        by_position = position_in(row.answer, question.options)
        if not by_text or by_position is None:
            numbered |= {not by_text} if by_text or by_position is not None else set()
        elif row.question_id in times and {by_position} != by_text:
            noted = places_of(times[row.question_id].row.answer, question.options, question.spellings)
            numbered |= {noted != by_text} if noted in (by_text, {by_position}) else set()
    return numbered.pop() if len(numbered) == 1 else None


def _times(noted: QuestionTimes) -> dict[str, Any]:
    return {
        "shown": noted.shown,
        "first answered": noted.first_answered,
        "last answered": noted.last_answered,
        "seconds": noted.milliseconds / 1000,
    }
