"""What an earlier coverage table says of days whose windows have not changed since: their manifests are not read again.

The ``attrs`` of a table tell what its files were counted from: the state of the lake, and when each day began.
"""

from __future__ import annotations

import hashlib
from datetime import date
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from dagster_beiwe.coverage.days import StudyDays
from dagster_beiwe.coverage.participant import Held, StreamNumbers
from dagster_beiwe.lake import StudyLake

NEEDED = ("participant", "day", "stream", "status", "files", "hours", "lake_bytes")
"""The columns of an earlier table that are read."""

_COUNTED_FROM = "counted_from"

_METHOD = 1
"""To be raised when the same files are counted in another way: nothing follows from earlier tables then."""

Mask = npt.NDArray[np.bool_]


def note_source(frame: pd.DataFrame, lake: StudyLake, days: StudyDays, *, statuses_known: bool) -> None:
    """Note in a table what its files were counted from. ``days`` are those of all participants.

    ``statuses_known`` tells whether the server said who takes part.
    """
    number, digest = lake.state.head
    count = len(days.lengths)
    frame.attrs[_COUNTED_FROM] = {
        "record": number,
        "digest": digest,
        "days": count,
        "began": _fingerprint(days, count),
        "statuses_known": statuses_known,
    }


class EarlierTable:
    """The cells of an earlier table by participant. ``record`` is the number of the lake's state it was counted from.

    It has nobody's if nothing follows from the table: if the lake was another one, or the days began at other times.
    """

    def __init__(self, frame: pd.DataFrame | None, lake: StudyLake, days: StudyDays, *, first: date) -> None:
        self.record, self._over = -1, 0
        self._rows: dict[str, tuple[slice, int]] = {}
        source: dict[str, Any] = {} if frame is None or frame.empty else frame.attrs.get(_COUNTED_FROM, {})
        if frame is None or not source or not lake.follows(source["record"], source["digest"]):
            return
        if source["began"] != _fingerprint(days, source["days"]):
            return
        self.record, self._over = source["record"], source["days"] - 1
        self._streams = tuple(map(str, frame["stream"].cat.categories))
        self._cells = {name: frame[name].to_numpy() for name in ("files", "hours", "lake_bytes")}
        self._enrolled = (frame["status"] == "enrolled").to_numpy() & source["statuses_known"]
        participants, codes = frame["participant"].cat.categories, frame["participant"].cat.codes.to_numpy()
        edges = [*np.flatnonzero(np.diff(codes, prepend=-1)).tolist(), len(codes)]
        begun = (frame["day"].iloc[edges[:-1]] - pd.Timestamp(first)).dt.days
        self._rows = {
            str(participants[codes[start]]): (slice(start, stop), number)
            for (start, stop), number in zip(pairwise(edges), begun.tolist(), strict=True)
        }

    def days_over(self, participant: str, days: int) -> Mask:
        """Which days were over when the table was made, if it has the participant."""
        over: Mask = (np.arange(days) < self._over) if participant in self._rows else np.zeros(days, dtype=np.bool_)
        return over

    def enrolled_until(self, participant: str) -> int | None:
        """The number of the last day on which the participant was known to be enrolled."""
        rows, first = self._rows.get(participant, (slice(0), 0))
        found = np.flatnonzero(self._enrolled[rows][:: len(self._streams)]) if self._rows else ()
        return first + int(found[-1]) if len(found) else None

    def completed(self, held: Held, participant: str, kept: Mask, numbers: StreamNumbers) -> Held:
        """What the lake holds of a participant, with the ``kept`` days as they are in the table."""
        if not kept.any():
            return held
        rows, first = self._rows[participant]
        cells = {name: column[rows].reshape(-1, len(self._streams)) for name, column in self._cells.items()}
        wanted = np.flatnonzero(kept[first : first + len(cells["files"])])
        streams = np.flatnonzero(cells["files"][wanted].any(axis=0))
        places = np.ix_(first + wanted, [numbers[self._streams[stream]] for stream in streams.tolist()])

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
    """Of when each of the first days began, and of how files are counted."""
    return hashlib.sha256(bytes([_METHOD]) + days.starts[:count].tobytes()).hexdigest()
