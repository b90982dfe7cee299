"""A survey as phones write it: the rows of its answers and of its timings. Each system has its own way."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from dagster_beiwe.simulator.surveys import Question

Given = int | str | tuple[int, ...] | None
"""What a participant answers: a position or a number, a text, the positions of checked boxes, or nothing."""

HIDDEN: Final = "a question that the survey's logic leaves out"

_ANDROID_TYPES: Final[Mapping[str, str]] = {
    "slider": "Slider Question",
    "radio_button": "Radio Button Question",
    "checkbox": "Checkbox Question",
    "free_response": "Open Response Question",
    "info_text_box": "Info Text Box",
}
_BREAKS: Final = re.compile("[\t\n\r]")
_NOTHING: Final = "NO_ANSWER_SELECTED"


@dataclass(frozen=True, kw_only=True)
class Phone:
    """A phone; ``os`` is ``ANDROID`` or ``IOS``. ``numbered``: its app writes the positions of radio buttons into the
    file of answers, as some versions on Android do. ``leaving`` is iOS's word for a question that leaves the screen."""

    os: str
    numbered: bool = False
    leaving: str = "dismissing question"

    def answers(self, questions: Sequence[Question], given: Sequence[Given]) -> list[str]:
        """The rows of the file of answers. Android leaves out what it did not ask."""
        return [
            f"{self._question(question)},{self._answer(question, answer, in_file=True)}"
            for question, answer in zip(questions, given, strict=True)
            if self._is_ios or (answer != HIDDEN and question.kind != "info_text_box")
        ]

    def timings(
        self, survey_id: str, questions: Sequence[Question], given: Sequence[Given], rng: random.Random
    ) -> list[tuple[int, str]]:
        """One session with a survey, as (milliseconds since its start, text after the time columns)."""
        now = 0
        rows = [] if self._is_ios else [(now, f"Survey first rendered and displayed to user,{survey_id},,,,")]
        for question, answer in zip(questions, given, strict=True):
            if answer == HIDDEN:
                continue
            what = self._question(question).replace(",", f",{survey_id},", 1)
            if self._is_ios:
                rows.append((now, f"{what},,present"))
            now += rng.randint(2000, 9000)
            text = self._answer(question, answer, in_file=False)
            if answer is not None and question.kind != "info_text_box":
                rows.append((now, f"{what},{text},changed" if self._is_ios else f"{what},{text}"))
            if self._is_ios:
                now += 5
                rows.append((now, f"{what},{text},{self.leaving}"))
        now += 2000
        rows.append((now, f",{survey_id},,,,,submitted" if self._is_ios else f"User hit submit,{survey_id},,,,"))
        return rows

    @property
    def _is_ios(self) -> bool:
        return self.os == "IOS"

    def _question(self, question: Question) -> str:
        kind = question.kind if self._is_ios else _ANDROID_TYPES.get(question.kind, question.kind)
        return f"{question.id},{kind},{self._spelled(question.text)},{self._spelled(self._offered(question))}"

    def _offered(self, question: Question) -> str:
        if question.limits:
            return f"min = {question.limits[0]}; max = {question.limits[1]}"
        if question.text_field:
            return f"Text-field input type = {question.text_field}"
        return self._list(question.options) if question.options else ""

    def _answer(self, question: Question, given: Given, *, in_file: bool) -> str:
        if question.kind == "info_text_box":
            return ""
        if given == HIDDEN:
            return "NOT_PRESENTED"
        if given is None or given == ():
            return _NOTHING
        if isinstance(given, tuple):
            return self._spelled(self._list([question.options[place] for place in given]))
        if question.options and isinstance(given, int):
            return str(given) if self.numbered and in_file else self._spelled(question.options[given])
        return self._without_breaks(str(given))  # with the commas that a participant types

    def _list(self, texts: Sequence[str]) -> str:
        return f"[{(';' if self._is_ios else ', ').join(texts)}]"

    def _spelled(self, text: str) -> str:
        return self._without_breaks(text).replace(",", ";")

    def _without_breaks(self, text: str) -> str:
        return _BREAKS.sub(" " if self._is_ios else "  ", text)
