"""The table of daily byte counts, which the server writes when it processes files and never recounts by itself.

A row is one participant's calendar day. Processing writes the rows of the days it touched: the day in the zone that the
study has then, and the sizes of the streams with files on that day. So a change of the study's zone leaves every row as
it is, and a stream whose last file of a day was deleted keeps its count.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta, timezone
from zoneinfo import ZoneInfo

from dagster_beiwe.simulator.files import StoredFile

_DAY = timedelta(days=1)


@dataclass(kw_only=True)
class CountedDay:
    """One row: the zone (IANA name) in which the day was last counted, and plain bytes by stream."""

    zone: str
    sizes: dict[str, int] = field(default_factory=dict)

    def abbreviation(self, day: date) -> str:
        """The zone as the row names it: its abbreviation at the end of the day."""
        return datetime.combine(day, time.max, ZoneInfo(self.zone)).strftime("%Z")


Counts = dict[date, CountedDay]


def count_days(counts: Counts, files: Iterable[StoredFile], zone: str, days: Iterable[date] | None = None) -> None:
    """Write the rows of some days, or of all days with files, from the present files."""
    local = ZoneInfo(zone)
    wanted = None if days is None else set(days)
    first_ms, last_ms = _around(wanted) if wanted else (-math.inf, math.inf)
    memory: dict[int, date] = {}
    found: dict[date, dict[str, int]] = {}
    for file in files:
        if not first_ms <= file.start_ms < last_ms:
            continue
        day = memory.get(file.bin_ms)
        if day is None:
            day = memory[file.bin_ms] = file.bin.astimezone(local).date()
        if wanted is None or day in wanted:
            sizes = found.setdefault(day, {})
            sizes[file.stream] = sizes.get(file.stream, 0) + file.size_bytes
    for day, sizes in found.items():
        row = counts.setdefault(day, CountedDay(zone=zone))
        row.zone = zone
        row.sizes.update(sizes)


def _around(days: set[date]) -> tuple[float, float]:
    """The milliseconds between which these days lie in any zone, to skip other files quickly."""
    first, last = (datetime.combine(day, time(), timezone.utc) for day in (min(days), max(days)))
    return (first - _DAY).timestamp() * 1000, (last + 2 * _DAY).timestamp() * 1000
