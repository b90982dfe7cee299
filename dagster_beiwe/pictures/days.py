"""Tables with rows per participant and day, as matrices: one row per participant, one column per day."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from dagster_beiwe.coverage.frame import has_data
from dagster_beiwe.parts import ROWS_AT_ONCE, row_parts
from dagster_beiwe.pictures.charts import BLANK, MOST, MOST_SHARE, NOTHING, PART, Levels

Numbers: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Days:
    """What the rows and columns of matrices are: participants in some order, and calendar days."""

    participants: tuple[str, ...]
    first: date
    count: int

    @classmethod
    def of(cls, coverage: pd.DataFrame, participants: Sequence[str]) -> Days:
        """All days of a coverage table, which must not be empty."""
        first, last = coverage["day"].min(), coverage["day"].max()
        return cls(tuple(participants), first.date(), (last - first).days + 1)

    @property
    def last(self) -> date:
        return self.first + timedelta(days=self.count - 1)

    def newest(self, count: int | None) -> Days:
        """The last days, at most so many; None: all of them."""
        kept = min(count or self.count, self.count)
        return replace(self, first=self.first + timedelta(days=self.count - kept), count=kept)

    def sums(self, table: pd.DataFrame, values: npt.ArrayLike, *, rows_at_once: int = ROWS_AT_ONCE) -> Numbers:
        """The sum of a table's values by participant and day. Rows of other participants and days are left out."""
        participants = table["participant"].astype("category").cat
        places = pd.Index(self.participants).get_indexer(participants.categories.astype(object))
        codes, day, weights = participants.codes.to_numpy(), table["day"].to_numpy(), np.asarray(values)
        shape = (len(self.participants), self.count)
        found = np.zeros(shape[0] * shape[1])
        for part in row_parts(len(table), at_once=rows_at_once):
            row = places[codes[part]]
            column = (day[part].astype("datetime64[D]") - np.datetime64(self.first)).astype(np.intp)
            inside = (row >= 0) & (column >= 0) & (column < self.count)
            cells = row[inside] * self.count + column[inside]
            found += np.bincount(cells, np.asarray(weights[part], np.float64)[inside], minlength=len(found))
        return np.reshape(found, shape)


def data_levels(days: Days, coverage: pd.DataFrame) -> Levels:
    """How much of what was expected was received, of all streams of a coverage table together.

    A stream cannot make up for another: hours beyond the expected ones do not count. Where nothing is expected, any
    data counts. A day that is still going on is blank until something arrives.
    """
    expected_hours = coverage["expected_hours"].fillna(0).to_numpy()
    expected = days.sums(coverage, expected_hours)
    received = days.sums(coverage, np.minimum(coverage["hours"], expected_hours))
    something = days.sums(coverage, has_data(coverage)) > 0
    going_on = days.sums(coverage, coverage["state"] == "not yet") > 0
    levels = np.full(expected.shape, BLANK, np.uint8)
    levels[(expected > 0) & ~going_on] = NOTHING
    levels[something & (expected > 0)] = PART
    levels[something & (received >= MOST_SHARE * expected)] = MOST
    return levels


def hours_levels(expected: npt.NDArray[np.bool_], hours: Numbers) -> Levels:
    """In which third of a day's 24 hours each number is. None is a level of its own if any hours are expected."""
    thirds = np.ceil(np.minimum(hours, 24) / 8).astype(np.uint8)
    levels: Levels = np.where(expected | (hours > 0), thirds + 1, BLANK).astype(np.uint8)
    return levels


def since_enrollment(levels: Levels, starts: Sequence[int]) -> Levels:
    """The same rows, each from its own first column on."""
    moved = np.full_like(levels, BLANK)
    for row, start in enumerate(starts):
        moved[row, : levels.shape[1] - start] = levels[row, start:]
    return moved
