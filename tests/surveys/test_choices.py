"""What was chosen comes back as positions among what was offered, or the table says why it does not."""

from __future__ import annotations

from itertools import combinations
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from survey_helpers import ANDROID, EVENING, IPHONE, OLDER_ANDROID, SURVEY, Files, checkbox, radio, survey

from dagster_beiwe.simulator.survey_phones import Given, Phone
from dagster_beiwe.simulator.surveys import Question
from dagster_beiwe.surveys import definitions
from dagster_beiwe.surveys.asked import asked
from dagster_beiwe.surveys.choices import Chosen
from dagster_beiwe.surveys.definitions import Definitions
from dagster_beiwe.surveys.phone_rows import PhoneRow

PARTS = ("a", "b", "0", "1", "[", "]", '"', "'", ",", ";", ".", " ", "\n", "\t", "é", "😀", "; ", ", ", "], [")
OPTIONS = st.lists(st.lists(st.sampled_from(PARTS), max_size=4).map("".join), min_size=1, max_size=5)


def written(phone: Phone, question: Question, given: Given) -> PhoneRow:
    return PhoneRow(*phone.answers([question], [given])[0].split(","))


def defined(question: Question) -> Definitions:
    """What the server says about a single question."""
    known = definitions.Question(
        survey_id=SURVEY,
        version=1,
        since=None,
        id=question.id,
        type=question.kind,
        text=question.text,
        options=question.options,
    )
    return Definitions(questions={question.id: [known]})


@pytest.mark.parametrize("phone", [ANDROID, IPHONE], ids=["android", "ios"])
@settings(deadline=None, max_examples=80)
@given(options=OPTIONS, draw=st.randoms())
def test_checked_boxes_come_back_exactly_unless_ambiguous(phone: Phone, options: list[str], draw: Random) -> None:
    """Whatever the options contain. A choice is ambiguous if another one is written like it: then none is told."""
    question = checkbox(*options)
    choices = [places for size in range(1, len(options) + 1) for places in combinations(range(len(options)), size)]
    places = draw.choice(choices)
    row = written(phone, question, places)
    alike = [other for other in choices if written(phone, question, other) == row]
    (found,) = asked([row], EVENING, defined(question))
    chosen = found.chosen(row.answer, numbered=False)
    assert found.options == tuple(options)
    assert chosen == (Chosen(match="exact", options=places) if len(alike) == 1 else Chosen(match="ambiguous"))


@pytest.mark.parametrize("phone", [ANDROID, OLDER_ANDROID, IPHONE], ids=["android", "older android", "ios"])
@settings(deadline=None, max_examples=80)
@given(options=OPTIONS, draw=st.randoms())
def test_a_radio_button_comes_back_exactly_unless_ambiguous(phone: Phone, options: list[str], draw: Random) -> None:
    """By its text, or by its position if the app writes positions, as soon as it is known which of them it writes."""
    question, place = radio(*options), draw.randrange(len(options))
    row = written(phone, question, place)
    alike = [other for other in range(len(options)) if written(phone, question, other) == row]
    (found,) = asked([row], EVENING, defined(question))
    expected = Chosen(match="exact", options=(place,)) if len(alike) == 1 else Chosen(match="ambiguous")
    assert found.chosen(row.answer, numbered=phone.numbered) == expected
    assert found.chosen(row.answer, numbered=None) in (expected, Chosen(match="ambiguous"))


def test_options_with_separators_are_told_apart() -> None:
    """The example that nobody could read: commas became semicolons, which also separate the options."""
    options = ("Completely relaxed", "Relaxed", "Typical, some moments of anxiety", "High anxiety")
    question = checkbox(*options)
    for phone in (ANDROID, IPHONE):
        (row,) = Files().submit([question], [(1, 2)], phone=phone).rows(survey(question))
        assert (row["options"], row["chosen"]) == (list(options), [1, 2])


def test_numbers_on_radio_buttons_are_positions_if_the_timings_say_so() -> None:
    """An app on Android writes positions, another one texts. With the texts 1 to 5, the file does not tell which."""
    scale = radio(*"12345")
    for phone in (ANDROID, OLDER_ANDROID):
        (row,) = Files().submit([scale], [2], phone=phone).rows(survey(scale))
        assert row["chosen"] == [2]
        (row,) = Files().submit([scale], [2], phone=phone, lacks="timings").rows(survey(scale))
        assert (row["match"], row["chosen"]) == ("ambiguous", None)


def test_another_question_tells_whether_radio_buttons_are_positions() -> None:
    """An app writes all of them alike."""
    questions = [radio(*"12345"), radio("yes", "no", question_id="q-other")]
    for phone in (ANDROID, OLDER_ANDROID):
        rows = Files().submit(questions, [2, 1], phone=phone, lacks="timings").rows(survey(*questions))
        assert [row["chosen"] for row in rows] == [[2], [1]]


def test_an_answer_that_was_never_offered_has_no_match() -> None:
    """It is kept as the phone wrote it."""
    offered, answered = radio("yes", "no"), radio("yes", "no", "maybe")
    files = Files().submit([answered], [2])
    time, survey_id, (row,) = files.answers[0]
    files.answers = [(time, survey_id, [row.replace("[yes;no;maybe]", "[yes;no]")])]
    (found,) = files.rows(survey(offered))
    assert (found["match"], found["chosen"], found["answer"]) == ("no match", None, "maybe")


def test_without_definitions_the_options_are_unknown() -> None:
    """Nothing is split by guessing; the text of the answer is there."""
    question = checkbox("a", "b")
    files = Files().submit([question], [(0, 1)])
    (row,) = files.rows()
    assert (row["match"], row["options"], row["chosen"], row["answer"]) == ("options unknown", None, None, "[a;b]")
