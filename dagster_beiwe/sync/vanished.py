"""Tell files that were withdrawn from the server from those that it has only lost. No side effects.

A file that is missing from an archive proves nothing: since October 2025 a server leaves out an object that is lost
from its storage as silently as one that was withdrawn, and the lake may then hold the last copy. But it goes on
counting what it lost. So a file has vanished only where what came of its local day and stream is, to the byte, all that
the server counts for them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date

from dagster_beiwe.lake import Arrival, FileRecord
from dagster_beiwe.sync.daily import DailyIndex
from dagster_beiwe.sync.pieces import Piece
from dagster_beiwe.windows import Window


def withdrawn(
    daily: DailyIndex, participant: str, unlisted: Iterable[FileRecord], arrivals: Iterable[Arrival]
) -> set[str]:
    """Keys of those ``unlisted`` files whose day and stream are complete without them.

    ``arrivals`` are all files that came of the days in question.
    """
    came: dict[tuple[date, str], int] = {}
    for arrival in arrivals:
        place = (daily.day_of(arrival.member.time), arrival.member.stream)
        came[place] = came.get(place, 0) + arrival.staged.size_bytes
    found = set()
    for record in unlisted:
        day = daily.day_of(record.moment)
        if record.stream in daily.uncounted:
            continue
        if came.get((day, record.stream), 0) == daily.bytes_of(participant, day, record.stream):
            found.add(record.key)
    return found


def days_to_list(daily: DailyIndex, participant: str, span: Window, unlisted: Iterable[FileRecord]) -> list[Piece]:
    """What is left to ask for of the days of ``unlisted`` files, after all of ``span`` was asked for."""
    places = sorted({(daily.day_of(record.moment), record.stream) for record in unlisted})
    return [
        Piece(participant, part, (stream,)) for day, stream in places for part in _outside(daily.day_hours(day), span)
    ]


def _outside(hours: Window, span: Window) -> Sequence[Window]:
    """The parts of ``hours`` before and after ``span``."""
    parts = ((hours.start, min(hours.end, span.start)), (max(hours.start, span.end), hours.end))
    return [Window(start, end) for start, end in parts if start < end]
