"""What a study of any size needs, from what a smaller one took. No side effects.

Each figure grows with one property of a study, its unit, from what a step takes in any case. So a prediction is a
straight line, and a study of another size can be played to see whether it holds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.worlds import REAL_COSTS
from dagster_beiwe.automation.limits import PARTITIONS_PER_RUN

Figures = Mapping[str, float]
Steps = Mapping[str, Figures]

REQUEST_SECONDS, FILE_SECONDS = REAL_COSTS["auth_seconds"], REAL_COSTS["file_seconds"]
LISTED_SECONDS, BYTE_SECONDS = 30e-6, 10e-9
"""What a real server on two cores, with its files on a local disk, took for a request (it checks the key with 310,000
rounds of PBKDF2), for a file that it sends, for a file that a request lists as held, and for a plain byte of a file."""

TWO_AT_ONCE = 0.7
"""How long two downloads at once took there, in terms of the same two in turn."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """A study: participants, each with so many days of data."""

    participants: int
    days: int

    @property
    def participant_weeks(self) -> float:
        return self.participants * self.days / 7

    @property
    def windows(self) -> int:
        """Partitions of raw data, weekly."""
        return self.participants * math.ceil(self.days / 7)

    @property
    def runs(self) -> int:
        """Runs of a first backfill."""
        return math.ceil(self.windows / PARTITIONS_PER_RUN)


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A figure of a study as predicted from a smaller one, and as measured."""

    step: str
    figure: str
    small: float
    predicted: float
    measured: float

    @property
    def percent(self) -> float:
        """By how much the prediction is too high."""
        return 100 * (self.predicted / self.measured - 1) if self.measured else 0.0


WEEKS, PEOPLE, RUNS, ONCE = "participant-weeks", "participants", "runs", "study"

_UNITS: Mapping[str, str] = {
    "backfill": WEEKS,
    "audit of everything": WEEKS,
    "checks": WEEKS,
    "tables": WEEKS,
    "lake": WEEKS,
}
"""What the figures of a step grow with; those of other steps grow with the participants."""

_QUESTIONS: Mapping[str, str] = {"backfill": RUNS, "phones": PEOPLE}
"""The same of requests other than downloads, which are otherwise about everybody at once."""

_BASED = ("cpu_seconds", "sent_bytes", "received_bytes")
"""Figures that a step has even if there is nearly nothing to do."""


def unit_of(step: str, figure: str) -> str:
    """What a figure grows with. Memory is taken to stay the same, as it nearly does for raw data. A few more questions
    are asked for every 10,000 days of counts."""
    if figure in ("peak_bytes", "base_bytes"):
        return ONCE
    if figure == "questions":
        return _QUESTIONS.get(step, ONCE)
    if (step, figure) == ("phones", "received_bytes"):
        return WEEKS
    return _UNITS.get(step, PEOPLE)


def amount(step: str, figure: str, size: Size) -> float:
    """How much a study has of what a figure grows with."""
    amounts = {WEEKS: size.participant_weeks, PEOPLE: size.participants, RUNS: size.runs, ONCE: 1.0}
    return amounts[unit_of(step, figure)]


def each(steps: Steps, base: Steps, step: str, size: Size) -> dict[str, float]:
    """The figures of a step for one of what they grow with, without its ``base``; none for what does not grow."""
    return {
        name: (value - _base(base, step, name, value)) / amount(step, name, size)
        if unit_of(step, name) in (WEEKS, PEOPLE)
        else 0.0
        for name, value in steps[step].items()
    }


def extrapolate(steps: Steps, of: Size, to: Size, *, base: Steps) -> dict[str, dict[str, float]]:
    """The figures of a study of another size. ``base`` are those of a study with nearly nothing in it."""
    return {
        step: {
            name: (least := _base(base, step, name, value))
            + (value - least) * amount(step, name, to) / amount(step, name, of)
            for name, value in figures.items()
        }
        for step, figures in steps.items()
    }


def _base(base: Steps, step: str, figure: str, value: float) -> float:
    return min(value, base.get(step, {}).get(figure, 0.0)) if figure in _BASED else 0.0


def compared(small: Steps, predicted: Steps, measured: Steps) -> list[Difference]:
    """Each figure of the larger study beside its prediction."""
    return [
        Difference(step=step, figure=name, small=small[step][name], predicted=predicted[step][name], measured=value)
        for step, figures in measured.items()
        for name, value in figures.items()
        if name != "base_bytes"
    ]


def server_seconds(figures: Figures) -> float:
    """How long a real server works for a step."""
    return (
        REQUEST_SECONDS * (figures["downloads"] + figures["questions"])
        + FILE_SECONDS * figures["files_sent"]
        + LISTED_SECONDS * figures["files_listed"]
        + BYTE_SECONDS * figures["plain_bytes"]
    )


def size_of(facts: Mapping[str, Any]) -> Size:
    return Size(participants=facts["participants"], days=facts["days"])
