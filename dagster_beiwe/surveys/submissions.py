"""Which answers and timings are of one submission. Pure.

A phone writes the submission among the timings, and then begins the file of answers. It may lose either.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import attrgetter
from typing import Final, TypeAlias

from dagster_beiwe.surveys.phone_rows import AnswersFile, Timing
from dagster_beiwe.surveys.words import (
    EXPIRED,
    LONGEST_SITTING_MINUTES,
    OPENED,
    SAME_SUBMISSION_MINUTES,
    SUBMIT_ROWS,
)

_MINUTE: Final = 60_000
_SECOND: Final = 1000
SAME_SUBMISSION_MS: Final = SAME_SUBMISSION_MINUTES * _MINUTE
LONGEST_SITTING_MS: Final = LONGEST_SITTING_MINUTES * _MINUTE

Span: TypeAlias = "tuple[int, int]"
"""A half-open range of times in Unix milliseconds."""


@dataclass(kw_only=True)
class Submission:
    """A survey that was submitted. ``submitted`` is when the timings say so, in Unix milliseconds; ``timings`` are the
    rows of the questions since it was opened, and what opened it."""

    survey_id: str
    submitted: int | None = None
    answers: AnswersFile | None = None
    timings: Sequence[Timing] = field(default=(), repr=False)

    @property
    def time(self) -> int:
        """When it was submitted: the time of the answers, which decides in which window they are, if there are any."""
        found = self.answers.time if self.answers else self.submitted
        assert found is not None
        return found

    @property
    def decided(self) -> int:
        """When it was clear what belongs to it: answers may be dated somewhat later than the submission."""
        return self.time if self.answers else self.time + SAME_SUBMISSION_MS


def submissions_in(span: Span, answers: Iterable[AnswersFile], timings: Iterable[Timing]) -> list[Submission]:
    """The submissions of a range of time, in their order.

    A submission belongs to the window of its answers. Without answers, it belongs to the one in which it was clear that
    there are none. So no window needs files of a later one; those of a day before it are enough.
    """
    start, end = span
    events: list[Timing | AnswersFile] = [*answers, *timings]
    by_survey = groupby(sorted(events, key=attrgetter("survey_id")), key=attrgetter("survey_id"))
    found = [each for survey_id, own in by_survey for each in _submissions(survey_id, sorted(own, key=_place))]
    return sorted((each for each in found if start <= each.decided < end), key=lambda each: (each.time, each.survey_id))


def _place(event: Timing | AnswersFile) -> int:
    """Where an event stands in time. A file's time is cut to seconds, and it begins after the submission."""
    return event.time if isinstance(event, Timing) else event.time + _SECOND - 1


def _submissions(survey_id: str, events: Iterable[Timing | AnswersFile]) -> Iterator[Submission]:
    """The submissions of one survey, from what happened in the order in which it did."""
    sitting: list[Timing] = []
    waiting: Submission | None = None
    for event in events:
        if isinstance(event, AnswersFile):
            if waiting and not sitting and event.time - (waiting.submitted or 0) <= SAME_SUBMISSION_MS:
                waiting.answers, waiting = event, None
            else:
                yield Submission(survey_id=survey_id, answers=event, timings=_recent(sitting, event.time))
                sitting = []
        elif SUBMIT_ROWS & {event.event, event.row.question_id}:
            if sitting or waiting is None:  # else it was written twice
                waiting = Submission(survey_id=survey_id, submitted=event.time, timings=_recent(sitting, event.time))
                sitting = []
                yield waiting
        elif event.event == EXPIRED:
            sitting = []
        elif event.row.question_id == OPENED:
            sitting = [event]
        elif event.row.question_id:
            sitting.append(event)


def _recent(sitting: Sequence[Timing], end: int) -> Sequence[Timing]:
    """The rows of a sitting that are not too old: the window's files do not go back further than that."""
    return [row for row in sitting if row.time > end - LONGEST_SITTING_MS]
