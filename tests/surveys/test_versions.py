"""A survey is edited while phones still ask its earlier version: the options are those that were offered."""

from __future__ import annotations

from survey_helpers import ANDROID, CREATED, DAY, IPHONE, Files, checkbox, radio, survey

from dagster_beiwe.simulator.surveys import Question


def test_answers_are_matched_with_the_version_that_was_asked() -> None:
    """What the phone wrote about the options tells the version, whatever the time of the submission is."""
    before, now = radio("yes", "no"), radio("no", "yes", "perhaps")
    edited = survey(now, earlier=((CREATED - DAY, (before,)),))
    (row,) = Files().submit([before], [0]).rows(edited)
    assert (row["version"], row["options"], row["chosen"]) == (1, ["yes", "no"], [0])
    (row,) = Files().submit([now], [0]).rows(edited)
    assert (row["version"], row["options"], row["chosen"]) == (2, ["no", "yes", "perhaps"], [0])


def test_versions_that_are_written_alike_are_ambiguous() -> None:
    """Their options differ, and the phone writes both in the same way."""
    before, now = checkbox("a, b", "c"), checkbox("a", "b, c")
    edited = survey(now, earlier=((CREATED - DAY, (before,)),))
    (row,) = Files().submit([now], [(0,)], phone=ANDROID).rows(edited)
    assert (row["match"], row["options"], row["version"]) == ("ambiguous", None, None)


def test_another_question_tells_the_version() -> None:
    """All questions of a submission are of one version."""
    before, now = checkbox("a, b", "c"), checkbox("a", "b, c")
    earlier = (before, radio("yes", "no"))
    edited = survey(now, radio("yes", "no", "perhaps"), earlier=((CREATED - DAY, earlier),))
    rows = Files().submit(earlier, [(0,), 1], phone=ANDROID).rows(edited)
    assert [(row["version"], row["chosen"]) for row in rows] == [(1, [0]), (1, [1])]


def test_texts_are_those_of_the_study() -> None:
    """With the commas and line breaks that phones do not write; the name is that of the survey now."""
    question = Question(id="q", kind="free_response", text="How, and why?\nTell us", text_field="MULTI_LINE_TEXT")
    for phone in (ANDROID, IPHONE):
        (row,) = Files().submit([question], ["well, thanks"], phone=phone).rows(survey(question, name="Diary"))
        assert (row["question text"], row["survey"], row["answer"]) == (question.text, "Diary", "well, thanks")


def test_a_deleted_survey_has_its_texts_and_no_name() -> None:
    """The server's history still has its questions."""
    question = radio("a, b", "c")
    (row,) = Files().submit([question], [0]).rows(survey(question, deleted=True))
    assert (row["survey"], row["options"], row["chosen"]) == (None, ["a, b", "c"], [0])


def test_answers_of_an_unknown_survey_belong_to_the_one_with_their_questions() -> None:
    """Servers lose the ids of surveys; questions have their own."""
    question = radio("a", "b")
    (row,) = Files().submit([question], [0], survey_id="unknown_survey_id").rows(survey(question))
    assert (row["survey id"], row["source"]) == (survey(question).id, "answers and timings")
