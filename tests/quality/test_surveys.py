"""Answers to surveys and the timings of them belong together: what one has and the other lacks is found."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest
from quality_helpers import HOUR, MINUTE, File, days

from dagster_beiwe.simulator.content import Recipe, ms_of, render
from dagster_beiwe.simulator.faulty_rows import spoiled
from dagster_beiwe.simulator.surveys import QUESTIONS

SURVEY, OTHER = "Ab1Ab1Ab1Ab1Ab1Ab1Ab1Ab1", "Zz9Zz9Zz9Zz9Zz9Zz9Zz9Zz9"
EVENING = datetime(2026, 3, 4, 19, 30, tzinfo=timezone.utc)
MOOD = QUESTIONS[0].id
DAY = timedelta(days=1)


def answers(submitted: datetime, *, survey: str = SURVEY) -> File:
    """The answers to a survey as a phone sends them."""
    recipe = _recipe("survey_answers", submitted, survey, os="ANDROID")
    return File(stream="survey_answers", time=submitted, data=render(recipe), survey=survey)


def timings(submitted: datetime, *, survey: str = SURVEY, os: str = "ANDROID", lacks: str = "") -> list[File]:
    """The timings of a survey, in the hours to which they belong; ``lacks`` is a question that is not among them."""
    hour = submitted.replace(minute=0, second=0)
    header, _, body = render(_recipe("survey_timings", submitted, survey, os=os)).partition(b"\n")
    by_hour: dict[datetime, list[bytes]] = {}
    for row in body.split(b"\n"):
        by_hour.setdefault(hour if int(row[:13]) >= ms_of(hour) else hour - HOUR, []).append(row)
    files = [
        File(stream="survey_timings", time=time, data=b"\n".join([header, *rows]), survey=survey)
        for time, rows in by_hour.items()
    ]
    if not lacks:
        return files
    return [replace(each, data=spoiled(each.data, "without_question", question=lacks)) for each in files]


def _recipe(stream: str, submitted: datetime, survey: str, *, os: str) -> Recipe:
    hour = submitted.replace(minute=0, second=0)
    return Recipe(
        seed=f"{survey}{submitted}",
        stream=stream,
        os=os,
        participant_id="abcd1234",
        survey_id=survey,
        start_ms=ms_of(hour),
        rows=1,
        submitted_ms=ms_of(submitted) - ms_of(hour),
    )


def unpaired(*files: File, zone: str = "UTC") -> tuple[dict[str, int], dict[str, int]]:
    """Answers without timings, and submissions without answers: {day: number}."""
    table = days(files, zone=zone).reset_index()
    found = []
    for column in ("answers_without_timings", "submissions_without_answers"):
        rows = table[table[column] > 0]
        found.append(dict(zip(rows["day"].astype(str), rows[column], strict=True)))
    return found[0], found[1]


@pytest.mark.parametrize("os", ["ANDROID", "IOS"])
@pytest.mark.parametrize("minute", [0, 1, 30, 59])
def test_answers_and_timings_of_one_submission_belong_together(os: str, minute: int) -> None:
    """Also where the survey was begun in another hour, or on another day."""
    for hour in (0, 19):
        submitted = EVENING.replace(hour=hour, minute=minute)
        assert unpaired(answers(submitted), *timings(submitted, os=os)) == ({}, {})


def test_a_question_without_timing_is_found() -> None:
    """Android's timings of a submitted survey can lack questions that were answered."""
    assert unpaired(answers(EVENING), *timings(EVENING, lacks=MOOD)) == ({"2026-03-04": 1}, {})


def test_answers_of_yesterday_have_timings_of_their_own() -> None:
    """A daily survey has the same questions, and those of the day before prove nothing."""
    yesterday = EVENING - DAY + HOUR
    files = (answers(yesterday), *timings(yesterday), answers(EVENING), *timings(EVENING, lacks=MOOD))
    assert unpaired(*files) == ({"2026-03-04": 1}, {})


def test_a_survey_may_be_begun_long_before_it_is_submitted() -> None:
    """The phone lies on the table meanwhile."""
    (begun,) = timings(EVENING - 5 * HOUR)
    (submitted,) = timings(EVENING, lacks=MOOD)
    assert unpaired(answers(EVENING), begun, submitted)[0] == {}


def test_answers_without_any_timings_are_found() -> None:
    """Each of them."""
    assert unpaired(answers(EVENING)) == ({"2026-03-04": len(QUESTIONS)}, {})


def test_answers_that_were_sent_twice_count_once() -> None:
    """As phones repeat uploads."""
    twice = (answers(EVENING), answers(EVENING))
    assert unpaired(*twice, *timings(EVENING)) == ({}, {})
    assert unpaired(*twice) == ({"2026-03-04": len(QUESTIONS)}, {})


def test_a_submission_without_answers_is_found() -> None:
    """On the study-local day on which it was submitted."""
    midnight = EVENING.replace(hour=18, minute=45)  # a quarter past midnight in India
    assert unpaired(*timings(midnight), zone="Asia/Kolkata") == ({}, {"2026-03-05": 1})


def test_answers_of_another_survey_or_time_are_none() -> None:
    """Nor are those of an hour later."""
    files = (*timings(EVENING), answers(EVENING, survey=OTHER), *timings(EVENING, survey=OTHER))
    assert unpaired(*files) == ({}, {"2026-03-04": 1})
    assert unpaired(*timings(EVENING), answers(EVENING + HOUR))[1] == {"2026-03-04": 1}


def test_a_recording_is_an_answer() -> None:
    """Voice surveys have no file of answers."""
    recording = File(stream="audio_recordings", time=EVENING - MINUTE, data=b"", survey=SURVEY)
    assert unpaired(*timings(EVENING), recording) == ({}, {})


def test_what_was_not_answered_needs_no_timing() -> None:
    """Questions that were skipped, never shown, or only inform."""
    data = b"""question id,question type,question text,question answer options,answer
q1,slider,How?,min = 0; max = 10,NO_ANSWER_SELECTED
q2,radio_button,Which?,a;b,NOT_PRESENTED
q3,free_response,Why?,,
q4,info_text_box,Welcome,,read"""
    assert unpaired(File(stream="survey_answers", time=EVENING, data=data, survey=SURVEY)) == ({}, {})


def test_the_survey_of_timings_is_that_of_their_rows() -> None:
    """Older files mix surveys, and some have no survey in their path; where nobody knows it, nothing is held against
    the phone."""
    (file,) = timings(EVENING)
    assert unpaired(answers(EVENING), File(stream=file.stream, time=file.time, data=file.data)) == ({}, {})
    lost = b"timestamp,UTC time,question id,survey id,question type,question text,question answer options,answer\n"
    lost += f"{ms_of(EVENING)},{EVENING:%Y-%m-%dT%H:%M:%S}.000,User hit submit,,,,,".encode()
    assert unpaired(File(stream="survey_timings", time=file.time, data=lost)) == ({}, {})
    assert unpaired(answers(EVENING, survey="unknown_survey_id")) == ({}, {})
