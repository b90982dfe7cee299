"""Pair what participants answered in surveys with what their phones noted of the survey while they did. Pure.

A phone sends each submitted survey twice: as a file of answers, and among the timings, which say when each question was
shown and answered, and when the survey was submitted. Either may lack what the other has.

Frames have the columns ``participant``, ``survey``, ``question``, and ``minute`` (since 1970, UTC).
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import numpy as np
import pandas as pd

from dagster_beiwe.quality.measuring import SUBMITTED
from dagster_beiwe.surveys.words import LONGEST_SITTING_MINUTES, SAME_SUBMISSION_MINUTES, UNKNOWN_SURVEYS

_SURVEY: Final = ["participant", "survey"]

_Numbers: TypeAlias = "np.ndarray[Any, np.dtype[np.int64]]"
_Flags: TypeAlias = "np.ndarray[Any, np.dtype[np.bool_]]"


def answers_without_timings(answers: pd.DataFrame, timings: pd.DataFrame) -> pd.DataFrame:
    """The answers whose question is not among the timings of the survey since it was last submitted.

    An answer that was sent twice counts once.
    """
    given, asked = _known(answers), _known(timings)
    given = given[given["question"] != ""]
    surveys = _numbers(given, _SURVEY)
    minutes = given["minute"].to_numpy()
    begun = np.maximum(_last_before(surveys, minutes), minutes - LONGEST_SITTING_MINUTES)
    questions = _numbers(pd.concat([given, asked]), [*_SURVEY, "question"])
    found = _any_between(
        questions[len(given) :],
        asked["minute"].to_numpy(),
        questions[: len(given)],
        begun + 1,
        minutes + SAME_SUBMISSION_MINUTES,
    )
    unpaired: pd.DataFrame = given[~found]
    return unpaired


def submissions_without_answers(timings: pd.DataFrame, answers: pd.DataFrame) -> pd.DataFrame:
    """The submissions among the timings that have no answers at about that time.

    ``answers`` may have no question: a file, or a recording, is one.
    """
    submitted, given = _known(timings), _known(answers)
    submitted = submitted[submitted["question"] == SUBMITTED]
    surveys = _numbers(pd.concat([submitted, given]), _SURVEY)
    minutes = submitted["minute"].to_numpy()
    found = _any_between(
        surveys[len(submitted) :],
        given["minute"].to_numpy(),
        surveys[: len(submitted)],
        minutes - SAME_SUBMISSION_MINUTES,
        minutes + SAME_SUBMISSION_MINUTES,
    )
    unpaired: pd.DataFrame = submitted[~found]
    return unpaired


def _known(frame: pd.DataFrame) -> pd.DataFrame:
    """Without repetitions, and without surveys that nobody knows, which can't be paired."""
    wanted = ~frame["survey"].isin(UNKNOWN_SURVEYS)
    different: pd.DataFrame = frame.loc[wanted, [*_SURVEY, "question", "minute"]].drop_duplicates()
    return different


def _numbers(frame: pd.DataFrame, columns: list[str]) -> _Numbers:
    """A number for each combination of values."""
    return frame.groupby(columns, sort=False, observed=True).ngroup().to_numpy(np.int64)


def _last_before(surveys: _Numbers, minutes: _Numbers) -> _Numbers:
    """When the survey was last submitted before, by more than the two times of one submission differ."""
    joined = np.sort(_joined(surveys, minutes))
    places = np.searchsorted(joined, _joined(surveys, minutes - SAME_SUBMISSION_MINUTES)) - 1
    before = np.append(joined, -1)[places]
    return np.where(before >> _BITS == surveys, before & ((1 << _BITS) - 1), 0)


def _any_between(keys: _Numbers, minutes: _Numbers, wanted: _Numbers, first: _Numbers, last: _Numbers) -> _Flags:
    """Whether among the minutes of the wanted keys one is from ``first`` to ``last``."""
    joined = np.append(np.sort(_joined(keys, minutes)), np.iinfo(np.int64).max)
    return joined[np.searchsorted(joined, _joined(wanted, first))] <= _joined(wanted, last)


_BITS: Final = 40
"""More than any minute has."""


def _joined(keys: _Numbers, minutes: _Numbers) -> _Numbers:
    """Key and minute as one number, in the order of both."""
    return (keys << _BITS) + minutes
