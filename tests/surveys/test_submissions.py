"""One row for each submission and question, whatever phones and servers lost, repeated, or put into other files."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from survey_helpers import ANDROID, EVENING, IPHONE, MINUTE, SURVEY, Files, checkbox, radio, survey

from dagster_beiwe.simulator.survey_phones import HIDDEN, Phone
from dagster_beiwe.simulator.surveys import QUESTIONS, WELCOME, Question

NUMBER = Question(id="q-number", kind="free_response", text="How many?", text_field="NUMERIC")
SLIDER = Question(id="q-slider", kind="slider", text="How much?", limits=(0, 10))
BOTH = pytest.mark.parametrize("phone", [ANDROID, IPHONE], ids=["android", "ios"])


def by_question(rows: list[dict[str, Any]], column: str) -> dict[str, Any]:
    return {row["question id"]: row[column] for row in rows}


@BOTH
def test_both_systems_give_the_same_answers(phone: Phone) -> None:
    """Types, options, positions, and numbers do not depend on the system that wrote them."""
    questions = (SLIDER, NUMBER, radio("yes", "no"), checkbox("a", "b"))
    rows = Files().submit(questions, [7, "2.5", 1, (0, 1)], phone=phone).rows(survey(*questions))
    assert [row["question type"] for row in rows] == ["slider", "free_response", "radio_button", "checkbox"]
    assert [row["number"] for row in rows] == [7, 2.5, None, None]
    assert [row["chosen"] for row in rows] == [None, None, [1], [0, 1]]
    assert [row["position"] for row in rows] == [1, 2, 3, 4]
    assert {row["system"] for row in rows} == {"Android" if phone is ANDROID else "iOS"}
    assert {(row["status"], row["source"]) for row in rows} == {("answered", "answers and timings")}


def test_what_was_not_answered_says_why() -> None:
    """Skipped or not presented; texts without a question only inform. Android has no row for what it did not ask."""
    questions = (WELCOME, SLIDER, radio("yes", "no"), checkbox("a", "b"))
    given = [None, None, HIDDEN, ()]
    on_ios = Files().submit(questions, given, phone=IPHONE).rows(survey(*questions))
    assert [row["status"] for row in on_ios] == ["information", "skipped", "not presented", "skipped"]
    on_android = Files().submit(questions, given, phone=ANDROID).rows(survey(*questions))
    assert [row["status"] for row in on_android] == ["skipped", "skipped"]
    assert not any(row["answer"] for row in [*on_ios, *on_android])


def test_times_on_ios_are_those_on_the_screen() -> None:
    """From when a question comes until it goes, however often; the events have different names in different apps."""
    first, second = SLIDER, NUMBER
    for leaving in ("unpresent", "dismissing question"):
        files = Files().submit([first, second], [3, "1"], phone=Phone(os="IOS", leaving=leaving))
        shown, other = files.rows(survey(first, second))
        assert shown["opened"] == shown["shown"] < shown["first answered"] == shown["last answered"] < other["shown"]
        assert shown["seconds"] == (other["shown"] - shown["shown"]).total_seconds()


def test_times_on_android_end_with_the_answer() -> None:
    """The phone notes when the survey was opened, and when each answer was given."""
    first, second = Files().submit([SLIDER, NUMBER], [3, "1"], phone=ANDROID).rows(survey(SLIDER, NUMBER))
    assert first["shown"] is None
    assert first["seconds"] == (first["last answered"] - first["opened"]).total_seconds()
    assert second["seconds"] == (second["last answered"] - first["last answered"]).total_seconds()


@BOTH
def test_a_submission_spans_hourly_files(phone: Phone) -> None:
    """Its timings lie in two of them: it was begun before the full hour."""
    at = EVENING.replace(hour=20, minute=0, second=3)
    files = Files().submit(QUESTIONS, [1, 0, (0,), "fine"], phone=phone, at=at)
    assert len(files.timings) == 2
    rows = files.rows(survey(*QUESTIONS))
    assert {row["source"] for row in rows} == {"answers and timings"}
    assert {row["opened"].hour for row in rows} == {19}


@BOTH
def test_answers_without_timings_have_no_times(phone: Phone) -> None:
    """Phones lose timings of some questions, or of all."""
    questions = (SLIDER, NUMBER)
    rows = Files().submit(questions, [3, "1"], phone=phone, lacks="timings").rows(survey(*questions))
    assert [(row["source"], row["opened"], row["seconds"]) for row in rows] == [("answers", None, None)] * 2
    assert [row["number"] for row in rows] == [3, 1]


@BOTH
def test_timings_without_answers_have_the_last_answer(phone: Phone) -> None:
    """A file of answers is lost: what the participant answered is in the timings."""
    questions = (SLIDER, radio("yes", "no"))
    rows = Files().submit(questions, [3, 1], phone=phone, lacks="answers").rows(survey(*questions))
    assert by_question(rows, "source") == dict.fromkeys(("q-slider", "q-radio"), "timings")
    assert [(row["number"], row["chosen"]) for row in rows] == [(3, None), (None, [1])]


def test_what_was_not_submitted_is_no_submission() -> None:
    """Android begins anew when a survey is opened again, and iOS when it expires; what was answered before is gone."""
    android, ios = Files(), Files()
    for files, phone in ((android, ANDROID), (ios, IPHONE)):
        files.submit([SLIDER], [9], phone=phone, at=EVENING - 30 * MINUTE, lacks="answers")
        for rows in files.timings.values():
            rows.pop()  # the submission
    ios.note(EVENING - 20 * MINUTE, f",{SURVEY},,,,,expired")
    for files, phone in ((android, ANDROID), (ios, IPHONE)):
        (row,) = files.submit([SLIDER], [4], phone=phone).rows(survey(SLIDER))
        assert row["number"] == 4
        assert row["opened"] > EVENING - MINUTE


def test_a_lost_submission_among_the_timings_is_that_of_the_answers() -> None:
    """Android writes it into a file of no survey, which nobody can assign."""
    files = Files().submit([SLIDER], [4], phone=ANDROID)
    for rows in files.timings.values():
        rows[-1] = rows[-1].replace(SURVEY, "")
    (row,) = files.rows(survey(SLIDER))
    assert (row["source"], row["number"]) == ("answers and timings", 4)


def test_files_that_were_uploaded_again_count_once() -> None:
    """As a whole or in part, with another name of the same second."""
    questions = (SLIDER, NUMBER)
    files = Files().submit(questions, [3, "1"])
    time, survey_id, rows = files.answers[0]
    files.answers += [(time, survey_id, rows), (time, survey_id, rows[:1])]
    files.timings = {hour: [*rows, *rows] for hour, rows in files.timings.items()}
    table = files.table(survey(*questions))
    assert (table.counts["submissions"], len(table.frame)) == (1, 2)


def test_two_submissions_of_the_same_second_are_two() -> None:
    """Two phones of a participant, or two uploads of different answers: each has a name of its own."""
    files = Files().submit([SLIDER], [3]).submit([SLIDER], [4], lacks="timings")
    rows = files.rows(survey(SLIDER))
    assert sorted(row["number"] for row in rows) == [3, 4]
    assert len({row["submission"] for row in rows}) == 2


def test_a_survey_that_is_submitted_twice_in_a_row_has_two_submissions() -> None:
    """Somebody goes back on an iPhone and submits again: each has its own timings and answers."""
    later = EVENING + 5 * MINUTE
    files = Files().submit([SLIDER], [3]).submit([SLIDER], [4], at=later)
    first, second = files.rows(survey(SLIDER))
    assert (first["number"], second["number"]) == (3, 4)
    assert first["opened"] < EVENING < second["opened"] < later


def test_a_submission_belongs_to_one_window() -> None:
    """To that of its answers, and without answers, to the one in which it was clear that there are none. Windows need
    files of earlier windows only."""
    midnight = EVENING.replace(hour=0, minute=0, second=0) + timedelta(days=1)
    questions = (SLIDER,)
    across = Files().submit(questions, [3], at=midnight + timedelta(seconds=1))
    without = Files().submit(questions, [3], at=midnight - MINUTE, lacks="answers")
    for files in (across, without):
        before = files.table(survey(*questions), end=midnight)
        after = files.table(survey(*questions), start=midnight)
        assert (before.counts["submissions"], after.counts["submissions"]) == (0, 1)
        assert after.frame["seconds"].notna().all()


def test_rows_are_counted_without_their_texts() -> None:
    """By what became of them."""
    questions = (SLIDER, radio("yes", "no"), checkbox("a", "a"))
    files = Files().submit(questions, [None, 1, (0,)])
    counts = files.table(survey(*questions)).counts
    assert {name: count for name, count in counts.items() if count} == {
        "submissions": 1,
        "answered": 2,
        "skipped": 1,
        "ambiguous_answers": 1,
    }
