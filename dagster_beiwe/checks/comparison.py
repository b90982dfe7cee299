"""What ``complete`` found, added up over batches of participants: only sums, keys, and the first gaps are kept."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timezone
from typing import Any

from dagster_beiwe.cells import CellKey
from dagster_beiwe.lake.catalog.versions import Version
from dagster_beiwe.streams import stream_named
from dagster_beiwe.sync import Completeness, Gap

SHOWN = 50
"""How many rows a check shows."""

Row = dict[str, Any]


@dataclass(kw_only=True)
class Comparison:
    """The lake compared with the server's bytes per day, and what is known about contents.

    ``today`` is the day in the study's time zone. Gaps of today and yesterday are ``recent``, because the data may be
    on its way; older ones are ``old``. What only the lake has is ``surplus``, except on these two days and except for
    streams that the server counts late (those that are not chunked).
    """

    today: date
    days: int = 0
    server_bytes: int = 0
    lake_bytes: int = 0
    missing_bytes: int = 0
    out_of_range_bytes: int = 0
    out_of_range_lake_bytes: int = 0
    old: int = 0
    recent: int = 0
    surplus: int = 0
    only_in_lake: int = 0
    windows: int = 0
    never_compared: int = 0
    compared_at: datetime | None = None
    """When the window was compared whose comparison by content is the longest ago. Others may never have been."""
    cells: set[CellKey] = field(default_factory=set)
    """Partitions to run again."""
    out_of_range_to_fetch: set[str] = field(default_factory=set)
    out_of_range_surplus: set[str] = field(default_factory=set)
    """Participants for whom the server counts more, or fewer, bytes of out-of-range files than the lake holds."""
    not_compared: set[str] = field(default_factory=set)
    """Streams in the lake that the server does not have or count, or that the study leaves out."""
    _first: dict[str, list[Row]] = field(default_factory=lambda: {"old": [], "recent": [], "surplus": []})

    @property
    def complete(self) -> bool:
        return not (self.old or self.recent or self.surplus or self.out_of_range)

    @property
    def out_of_range(self) -> set[str]:
        """Participants whose out-of-range files must be fetched or compared again."""
        return self.out_of_range_to_fetch | self.out_of_range_surplus

    @property
    def first_rows(self) -> list[Row]:
        return [row for rows in self._first.values() for row in rows][:SHOWN]

    def add(self, part: Completeness, reason: Callable[[Gap], str]) -> None:
        """Add what was measured for some participants; ``reason`` says why a day differs."""
        self.days += part.days
        self.server_bytes += part.server_bytes
        self.lake_bytes += part.lake_bytes
        self.out_of_range_bytes += part.out_of_range_bytes
        self.out_of_range_lake_bytes += part.out_of_range_lake_bytes
        self.only_in_lake += len(part.surplus)
        self.not_compared |= part.not_compared
        for gap in part.gaps:
            self.missing_bytes += gap.server_bytes - gap.lake_bytes
            kind = "old" if self._is_old(gap) else "recent"
            self.old += kind == "old"
            self.recent += kind == "recent"
            self._note(kind, gap, reason)
            if gap.cut:
                self.out_of_range_to_fetch.add(gap.participant)
        for gap in part.surplus:
            if self._is_old(gap) and stream_named(gap.stream).chunked:
                self.surplus += 1
                self._note("surplus", gap, reason)
                if gap.cut:
                    self.out_of_range_surplus.add(gap.participant)
        for gap in part.out_of_range:
            if gap.server_bytes > gap.lake_bytes:
                self.out_of_range_to_fetch.add(gap.participant)
            elif stream_named(gap.stream).chunked:
                self.out_of_range_surplus.add(gap.participant)

    def add_contents(self, index: Mapping[str, Version], windows: Collection[str]) -> None:
        """Add when the contents of a participant's windows were compared."""
        for version in (version for key, version in index.items() if key in windows):
            self.windows += 1
            if not version.compared:
                self.never_compared += 1
            else:
                compared_at = datetime.fromtimestamp(version.compared, timezone.utc)
                self.compared_at = min(filter(None, (self.compared_at, compared_at)))

    def _note(self, kind: str, gap: Gap, reason: Callable[[Gap], str]) -> None:
        self.cells |= {CellKey(gap.participant, window) for window in gap.windows}
        if len(self._first[kind]) < SHOWN:
            self._first[kind].append(_row(gap, reason(gap)))

    def _is_old(self, gap: Gap) -> bool:
        return (self.today - gap.day).days > 1


def _row(gap: Gap, why: str) -> Row:
    return {
        "participant": gap.participant,
        "day": gap.day.isoformat(),
        "stream": gap.stream,
        "server bytes": gap.server_bytes,
        "lake bytes": gap.lake_bytes,
        "windows": ", ".join(gap.windows),
        "why": why,
    }
