"""The numbers of a report, summed up from a coverage table. Nothing is expected of the current day yet."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import pandas as pd

from dagster_beiwe.coverage.frame import has_data
from dagster_beiwe.streams import StreamGroup, stream_named


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What was received in some rows of a coverage table, and the hours that were expected.

    Hours beyond the expected ones of a day do not make up for others. ``server_bytes`` is None if the server does not
    count them, and ``last_data`` if nothing was received.
    """

    hours_expected: float
    hours_received: float
    files: int
    lake_bytes: int
    server_bytes: int | None
    last_data: date | None

    @property
    def share(self) -> float | None:
        """The share of the expected hours that was received; None if nothing was expected."""
        return self.hours_received / self.hours_expected if self.hours_expected else None


@dataclass(frozen=True, kw_only=True)
class ParticipantFigures:
    """Of a participant. ``status`` is that of the last day in the table, ``first`` the first day in the study."""

    participant: str
    status: str
    first: date | None
    sums: Figures


@dataclass(frozen=True, kw_only=True)
class StreamFigures:
    """Of a stream. ``participants`` is how many have data of it."""

    stream: str
    group: StreamGroup
    participants: int
    sums: Figures


def total_figures(coverage: pd.DataFrame) -> Figures:
    """The whole table, which must not be empty."""
    ((_, sums),) = _sums(coverage, pd.Series("", coverage.index, dtype="category"))
    return sums


def participant_figures(coverage: pd.DataFrame) -> dict[str, ParticipantFigures]:
    """{participant: figures} of everybody in the table."""
    present = coverage[coverage["status"] != "not enrolled yet"]
    firsts = present.groupby("participant", observed=True)["day"].min()
    newest = coverage.loc[coverage.groupby("participant", observed=True)["day"].idxmax()]
    statuses = dict(zip(newest["participant"].astype(str), newest["status"].astype(str), strict=True))
    return {
        name: ParticipantFigures(
            participant=name, status=statuses[name], first=_date(firsts.get(name, pd.NaT)), sums=sums
        )
        for name, sums in _sums(coverage, coverage["participant"])
    }


def stream_figures(coverage: pd.DataFrame) -> list[StreamFigures]:
    """Of the streams that were expected or received, in alphabetical order."""
    participants = coverage[has_data(coverage)].groupby("stream", observed=True)["participant"].nunique()
    return [
        StreamFigures(
            stream=name, group=stream_named(name).group, participants=int(participants.get(name, 0)), sums=sums
        )
        for name, sums in sorted(_sums(coverage, coverage["stream"]), key=lambda pair: pair[0])
        if sums.hours_expected or name in participants
    ]


def _sums(coverage: pd.DataFrame, by: pd.Series[Any]) -> Iterator[tuple[str, Figures]]:
    """The figures of each group of rows."""
    expected = coverage["expected_hours"].where(coverage["day"] < coverage["day"].max()).fillna(0).astype(np.float64)
    measures = pd.DataFrame(
        {
            "hours_expected": expected,
            "hours_received": np.minimum(coverage["hours"], expected),
            "files": coverage["files"],
            "lake_bytes": coverage["lake_bytes"],
            "server_bytes": coverage["server_bytes"],
        }
    )
    last_data = coverage["day"].where(has_data(coverage)).groupby(by, observed=True).max()
    for key, row in measures.groupby(by, observed=True).sum(min_count=1).to_dict("index").items():
        yield (
            str(key),
            Figures(
                hours_expected=float(row["hours_expected"]),
                hours_received=float(row["hours_received"]),
                files=int(row["files"]),
                lake_bytes=int(row["lake_bytes"]),
                server_bytes=None if pd.isna(row["server_bytes"]) else int(row["server_bytes"]),
                last_data=_date(last_data[key]),
            ),
        )


def _date(day: pd.Timestamp) -> date | None:
    return None if pd.isna(day) else day.date()
