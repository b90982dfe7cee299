"""Which version of a question a phone asked. Pure.

A phone may ask an earlier version than the server has. What it wrote about the question tells the version.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from dagster_beiwe.column_types import question_type
from dagster_beiwe.surveys.choices import (
    CHECKBOX,
    RADIO_BUTTON,
    SPELLINGS,
    Chosen,
    Spelling,
    checkbox,
    radio_button,
    spellings_of,
)
from dagster_beiwe.surveys.definitions import Definitions, Question
from dagster_beiwe.surveys.phone_rows import PhoneRow

_CHOICES = frozenset({RADIO_BUTTON, CHECKBOX})


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A question as it was asked. ``options`` are None if there are none, or if they are not known: then ``ambiguous``
    says whether several versions fit whose options differ."""

    type: str
    text: str
    version: int | None = None
    options: tuple[str, ...] | None = None
    spellings: tuple[Spelling, ...] = ()
    numeric: bool = False
    ambiguous: bool = False

    @property
    def is_choice(self) -> bool:
        return self.type in _CHOICES

    def chosen(self, answer: str, *, numbered: bool | None) -> Chosen:
        """The options in an answer; ``numbered`` as for ``radio_button``."""
        if self.options is None:
            return Chosen(match="ambiguous" if self.ambiguous else "options unknown")
        if self.type == CHECKBOX:
            return checkbox(answer, self.options, self.spellings)
        return radio_button(answer, self.options, self.spellings, numbered=numbered)


def asked(rows: Sequence[PhoneRow], moment: datetime, definitions: Definitions) -> list[Asked]:
    """The questions of a submission, which were asked at a moment (aware) in one version of the survey, if one fits."""
    fitting = [_fitting(row, definitions) for row in rows]
    versions = [{each.version for each in questions} for questions in fitting if questions]
    shared = set.intersection(*versions) if versions else set()
    return [
        _asked(row, [each for each in questions if each.version in shared] or questions, moment)
        for row, questions in zip(rows, fitting, strict=True)
    ]


def _fitting(row: PhoneRow, definitions: Definitions) -> list[Question]:
    """The versions of a question that a phone can have written like this, by its text, too, if any has that."""
    kind = question_type(row.type)
    versions = [each for each in definitions.questions.get(row.question_id, ()) if each.type == kind]
    if kind in _CHOICES:
        versions = [each for each in versions if each.options and spellings_of(each.options, row.options)]
    return [each for each in versions if _writes(each.text, row.text)] or versions


def _asked(row: PhoneRow, fitting: Sequence[Question], moment: datetime) -> Asked:
    if not fitting:
        return Asked(type=question_type(row.type), text=row.text, numeric=row.options.endswith("NUMERIC"))
    found = _in_force(fitting, moment)
    text = found.text if _writes(found.text, row.text) else row.text
    if len({each.options for each in fitting}) > 1:
        return Asked(type=found.type, text=text, ambiguous=True)
    return Asked(
        type=found.type,
        text=text,
        version=found.version,
        options=found.options or None,
        spellings=spellings_of(found.options, row.options) if found.options else (),
        numeric=found.numeric,
    )


def _writes(text: str, written: str) -> bool:
    return any(spelling.of(text) == written for spelling in SPELLINGS)


def _in_force(versions: Sequence[Question], moment: datetime) -> Question:
    """The newest that existed at a moment, or the oldest."""
    existing = [each for each in versions if each.since is None or each.since <= moment]
    return existing[-1] if existing else versions[0]
