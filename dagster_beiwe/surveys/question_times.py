"""When each question of a submission was shown and answered, and for how long it was looked at. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from dagster_beiwe.surveys.phone_rows import PhoneRow, Timing
from dagster_beiwe.surveys.words import LEFT, OPENED, PRESENT


@dataclass(kw_only=True)
class QuestionTimes:
    """Times in Unix milliseconds; None where the phone noted none. ``row`` is the last one of the question."""

    row: PhoneRow
    shown: int | None = None
    first_answered: int | None = None
    last_answered: int | None = None
    milliseconds: int = 0


def question_times(timings: Sequence[Timing]) -> dict[str, QuestionTimes]:
    """{question: its times}, in the order in which questions come first."""
    found: dict[str, QuestionTimes] = {}
    for timing in timings:
        if timing.row.question_id != OPENED:
            times = found.setdefault(timing.row.question_id, QuestionTimes(row=timing.row))
            times.row = timing.row
            if timing.event == PRESENT:
                times.shown = timing.time if times.shown is None else times.shown
            elif timing.event not in LEFT:
                times.first_answered = timing.time if times.first_answered is None else times.first_answered
                times.last_answered = timing.time
    for question, milliseconds in _looked_at(timings):
        if question in found:
            found[question].milliseconds += milliseconds
    return found


def _looked_at(timings: Iterable[Timing]) -> Iterable[tuple[str, int]]:
    """Questions, and for how long each was on the screen.

    iOS notes when a question comes and goes. Android only notes answers: each ends the time of its question, which
    began with the answer before, or when the survey was opened.
    """
    on_screen = ""
    for before, after in pairwise(timings):
        if before.event == PRESENT:
            on_screen = before.row.question_id
        elif before.event in LEFT and before.row.question_id == on_screen:
            on_screen = ""
        yield on_screen if after.event else after.row.question_id, after.time - before.time
