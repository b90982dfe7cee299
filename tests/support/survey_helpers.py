"""Surveys as simulated phones write them into files, and the table of these files, without a lake."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

import pandas as pd

from dagster_beiwe.reading.frames import FrameBuilder
from dagster_beiwe.simulator.content import header_of, ms_of
from dagster_beiwe.simulator.survey_phones import Given, Phone
from dagster_beiwe.simulator.surveys import Question, Survey
from dagster_beiwe.studies.server_tables import survey_history_table
from dagster_beiwe.surveys.definitions import Definitions
from dagster_beiwe.surveys.phone_rows import answers_files, timings
from dagster_beiwe.surveys.submissions import submissions_in
from dagster_beiwe.surveys.table import SurveyRows, survey_rows

ANDROID, OLDER_ANDROID, IPHONE = Phone(os="ANDROID"), Phone(os="ANDROID", numbered=True), Phone(os="IOS")
EVENING = datetime(2026, 3, 4, 19, 59, 58, tzinfo=timezone.utc)
CREATED = datetime(2026, 3, 1, tzinfo=timezone.utc)
SURVEY = "Ab1Ab1Ab1Ab1Ab1Ab1Ab1Ab1"
DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)


def radio(*options: str, question_id: str = "q-radio", text: str = "Pick one") -> Question:
    return Question(id=question_id, kind="radio_button", text=text, options=options)


def checkbox(*options: str, question_id: str = "q-checkbox", text: str = "Pick many") -> Question:
    return Question(id=question_id, kind="checkbox", text=text, options=options)


def survey(*questions: Question, name: str = "Daily", **changes: Any) -> Survey:
    return Survey(id=SURVEY, name=name, created=CREATED, questions=questions, **changes)


def definitions(*surveys: Survey) -> Definitions:
    """What the server says about surveys."""
    history = {each.id: each.history_as_json() for each in surveys}
    return Definitions.of(survey_history_table(history, [each.as_json() for each in surveys if not each.deleted]))


@dataclass(kw_only=True)
class Files:
    """The files of one participant, in any number of hours: (time in the name, survey, rows after the header)."""

    answers: list[tuple[datetime, str, list[str]]] = field(default_factory=list)
    timings: dict[datetime, list[str]] = field(default_factory=dict)
    os: str = "ANDROID"

    def submit(
        self,
        questions: Sequence[Question],
        given: Sequence[Given],
        *,
        phone: Phone = IPHONE,
        at: datetime = EVENING,
        survey_id: str = SURVEY,
        lacks: str = "",
    ) -> Files:
        """A participant answers a survey; ``lacks`` is ``answers`` or ``timings`` that are lost."""
        self.os = phone.os
        if lacks != "answers":
            self.answers.append((at, survey_id, phone.answers(questions, given)))
        session = phone.timings(survey_id, questions, given, random.Random(0))
        for ms, tail in session if lacks != "timings" else []:
            self.note(at - timedelta(milliseconds=session[-1][0] - ms), tail)
        return self

    def note(self, moment: datetime, tail: str) -> None:
        """A row of the timings, in the file of its hour."""
        ms = ms_of(moment)
        row = f"{ms},{moment:%Y-%m-%dT%H:%M:%S}.{ms % 1000:03d},{tail}"
        self.timings.setdefault(moment.replace(minute=0, second=0, microsecond=0), []).append(row)

    def frames(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Answers and timings as they are read out of a lake."""
        builders = {stream: FrameBuilder(stream) for stream in ("survey_answers", "survey_timings")}
        for time, survey_id, rows in self.answers:
            data = self._file("survey_answers", rows)
            builders["survey_answers"].add(data, participant="p", time=time, survey_id=survey_id)
        for hour, rows in sorted(self.timings.items()):
            builders["survey_timings"].add(self._file("survey_timings", rows), participant="p", time=hour)
        return builders["survey_answers"].build(), builders["survey_timings"].build()

    def _file(self, stream: str, rows: Sequence[str]) -> bytes:
        return "\n".join([header_of(stream, self.os), *rows]).encode()

    def table(self, *surveys: Survey, start: datetime = CREATED, end: datetime = CREATED + 30 * DAY) -> SurveyRows:
        """The table of a window."""
        known = definitions(*surveys)
        answers, timed = self.frames()
        found = submissions_in((ms_of(start), ms_of(end)), answers_files(answers, known), timings(timed, known))
        return survey_rows(found, known)

    def rows(self, *surveys: Survey) -> list[dict[str, Any]]:
        """The rows of the table, with None for what is missing."""
        return records(self.table(*surveys).frame)


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    plain = frame.astype(object)
    return [dict(row) for row in plain.where(frame.notna(), None).to_dict("records")]
