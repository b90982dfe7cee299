"""What an earlier coverage table says of days whose windows have not changed since: their manifests are not read again.

The ``attrs`` of a table tell what its files were counted from, and where each participant's rows are. Of the table
itself, only numbers need to be read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from dagster_beiwe.coverage.days import StudyDays
from dagster_beiwe.coverage.participant import Held, StreamNumbers
from dagster_beiwe.lake import StudyLake

NUMBERS = ("files", "hours", "lake_bytes")
"""The columns of an earlier table that are read."""

_COUNTED_FROM = "counted_from"

_METHOD = 1
"""To be raised when files are counted in another way, or this is noted in another form: nothing follows from earlier
tables then."""

Mask = npt.NDArray[np.bool_]


class Stay(NamedTuple):
    """A participant in a table: the numbers of the first day, and of the last one as enrolled (None: not known).

    ``in_zone`` tells whether all days began as in the study's time zone.
    """

    first: int
    days: int
    enrolled_until: int | None
    in_zone: bool


def note_source(frame: pd.DataFrame, lake: StudyLake, days: StudyDays, stays: Mapping[str, Stay]) -> None:
    """Note in a table what its files were counted from. ``days`` are those of the study's time zone."""
    number, digest = lake.state.head
    count = len(days.lengths)
    frame.attrs[_COUNTED_FROM] = {
        "method": _METHOD,
        "record": number,
        "digest": digest,
        "days": count,
        "began": _fingerprint(days, count),
        "streams": list(map(str, frame["stream"].cat.categories)),
        "participants": {participant: list(stay) for participant, stay in stays.items()},
    }


class EarlierTable:
    """The numbers of an earlier table by participant. ``record`` is the number of the lake's state they are from.

    It has nobody's if nothing follows from the table: if the lake was another one, or the days began at other times.
    """

    def __init__(self, frame: pd.DataFrame | None, lake: StudyLake, days: StudyDays) -> None:
        self.record, self._over = -1, 0
        self._cells: dict[str, np.ndarray] = {}
        self._stays: dict[str, Stay] = {}
        source: dict[str, Any] = {} if frame is None else frame.attrs.get(_COUNTED_FROM, {})
        if frame is None or source.get("method") != _METHOD or not lake.follows(source["record"], source["digest"]):
            return
        stays = {participant: Stay(*stay) for participant, stay in source["participants"].items()}
        self._streams: list[str] = source["streams"]
        ends = list(accumulate(stay.days * len(self._streams) for stay in stays.values()))
        if source["began"] != _fingerprint(days, source["days"]) or ends[-1:] != [len(frame)]:
            return
        self.record, self._over, self._stays = source["record"], source["days"] - 1, stays
        self._rows = dict(zip(stays, map(slice, [0, *ends], ends), strict=False))
        self._cells = {name: frame[name].to_numpy() for name in NUMBERS}

    def forget(self) -> None:
        """Give back the memory of the numbers; they can't be asked for any more."""
        self._cells = {}

    def days_over(self, participant: str, days: int) -> Mask:
        """Which days were over when the table was made, if it has the participant with days of the study's zone."""
        stay = self._stays.get(participant)
        over: Mask = np.arange(days) < (self._over if stay and stay.in_zone else 0)
        return over

    def enrolled_until(self, participant: str) -> int | None:
        """The number of the last day on which the participant was known to be enrolled."""
        stay = self._stays.get(participant)
        return stay.enrolled_until if stay else None

    def completed(self, held: Held, participant: str, kept: Mask, numbers: StreamNumbers) -> Held:
        """What the lake holds of a participant, with the ``kept`` days as they are in the table."""
        if not kept.any():
            return held
        rows, first = self._rows[participant], self._stays[participant].first
        cells = {name: column[rows].reshape(-1, len(self._streams)) for name, column in self._cells.items()}
        wanted = np.flatnonzero(kept[first : first + len(cells["files"])])
        streams = np.flatnonzero(cells["files"][wanted].any(axis=0))
        columns = np.array([numbers[self._streams[stream]] for stream in streams.tolist()], dtype=np.intp)
        places = np.ix_(first + wanted, columns)

        def filled(own: np.ndarray, name: str) -> np.ndarray:
            every = np.zeros((len(kept), len(numbers)), dtype=own.dtype)
            every[~kept, : own.shape[1]] = own[~kept]
            every[places] = cells[name][np.ix_(wanted, streams)]
            return every

        return Held(
            files=filled(held.files, "files"),
            hours=filled(held.hours, "hours"),
            size_bytes=filled(held.size_bytes, "lake_bytes"),
        )


def _fingerprint(days: StudyDays, count: int) -> str:
    """Of when each of the first days began."""
    return hashlib.sha256(days.starts[:count].tobytes()).hexdigest()
