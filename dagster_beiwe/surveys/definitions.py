"""What a study asked: the questions of its surveys in each version, from the table ``survey_history``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import pandas as pd

from dagster_beiwe.column_types import question_type

_NUMERIC: Final = "NUMERIC"


@dataclass(frozen=True, kw_only=True)
class Question:
    """A question in one version of a survey; ``since`` is when that version was made (aware), if it is known."""

    survey_id: str
    version: int
    since: datetime | None
    id: str
    type: str
    text: str
    options: tuple[str, ...] = ()
    numeric: bool = False


@dataclass(frozen=True, kw_only=True)
class Definitions:
    """The questions of a study by their ids, oldest versions first, and the names of its surveys by theirs."""

    questions: Mapping[str, Sequence[Question]] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, history: pd.DataFrame | None) -> Definitions:
        """Those in the table ``survey_history``; None for one that was never made."""
        if history is None:
            return cls()
        rows = history.astype(object).where(history.notna(), None).to_dict("records")
        questions: dict[str, list[Question]] = {}
        for row in rows:
            if row["question_id"]:
                questions.setdefault(row["question_id"], []).append(_question(row))
        names = {row["survey_id"]: row["survey"] for row in rows if row.get("survey")}
        return cls(questions=questions, names=names)

    def survey_of(self, question_ids: Iterable[str]) -> str | None:
        """The only survey that has some of these questions."""
        found = {each.survey_id for question in question_ids for each in self.questions.get(question, ())}
        return found.pop() if len(found) == 1 else None


def _question(row: Mapping[str, Any]) -> Question:
    settings = json.loads(row["settings"] or "{}")
    answers = settings.get("answers")
    options = [each.get("text") for each in answers] if _are_objects(answers) else []
    return Question(
        survey_id=row["survey_id"],
        version=int(row["version"]),
        since=row["since"],
        id=row["question_id"],
        type=question_type(row["question_type"] or ""),
        text=row["question_text"] or "",
        options=tuple(options) if all(isinstance(each, str) for each in options) else (),
        numeric=settings.get("text_field_type") == _NUMERIC,
    )


def _are_objects(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, dict) for each in value)
