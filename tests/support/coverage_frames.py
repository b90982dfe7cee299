"""Coverage tables written down as text: one character per day, as a heat map shows them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, time, timedelta, timezone

import numpy as np
import pandas as pd

from dagster_beiwe.coverage.frame import AS_OF, STATES, STATUSES, TIME_ZONE, TYPES

_BYTES_PER_HOUR = 1000
_HOURS = {"#": 24, "+": 7, ".": 0, "?": 0, " ": 0, "~": 3}
_STATES = {"#": "complete", "+": "partial", ".": "missing", "?": "not yet", " ": "not expected", "~": "not expected"}

Marks = Mapping[str, str | Mapping[str, str]]


def coverage_frame(
    marks: Marks,
    *,
    today: date = date(2026, 3, 20),
    statuses: Mapping[str, str] | None = None,
    time_zone: str = "America/New_York",
) -> pd.DataFrame:
    """The coverage table of participants, from ``{participant: {stream: days}}``, or days of GPS alone.

    ``days`` ends with ``today``: ``#`` complete, ``+`` partial, ``.`` missing, ``?`` not yet, space not expected and
    nothing came, ``~`` not expected and something came. ``statuses`` has one letter per day (``n`` not enrolled yet,
    ``e`` enrolled, ``r`` retired, ``w`` withdrawn), for participants who are not enrolled throughout.
    """
    rows = []
    for participant, streams in marks.items():
        for stream, days in ({"gps": streams} if isinstance(streams, str) else streams).items():
            letters = (statuses or {}).get(participant, "e" * len(days))
            for number, (mark, letter) in enumerate(zip(days, letters, strict=True)):
                day = today - timedelta(days=len(days) - 1 - number)
                rows.append((participant, day, stream, _status(letter), *_numbers(mark), _STATES[mark]))
    frame: pd.DataFrame = pd.DataFrame(rows, columns=list(TYPES))
    for name, words in (("status", STATUSES), ("state", STATES)):
        frame[name] = pd.Categorical(frame[name], categories=words)
    frame = frame.astype({name: kind for name, kind in TYPES.items() if name not in ("status", "state")})
    frame = frame.sort_values(["participant", "day", "stream"], ignore_index=True)  # as the table has them
    noon = datetime.combine(today, time(12), timezone.utc)
    frame.attrs = {AS_OF: noon.isoformat(), TIME_ZONE: time_zone}
    return frame


def _status(letter: str) -> str:
    return next(status for status in STATUSES if status.startswith(letter))


def _numbers(mark: str) -> tuple[int, int, int, int, float, None]:
    hours = _HOURS[mark]
    expected = np.nan if _STATES[mark] == "not expected" else 24.0
    return hours, hours, hours * _BYTES_PER_HOUR, hours * _BYTES_PER_HOUR, expected, None
