"""Which partitions and rows of a table are wanted: those of some participants, in a time range."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import reduce
from operator import and_
from typing import Final

import pyarrow as pa
from pyarrow import dataset

from dagster_beiwe.arguments import check_time
from dagster_beiwe.cells import dimensions
from dagster_beiwe.errors import ConfigurationError, TimeRangeError
from dagster_beiwe.windows import start_of_key

_TIME: Final = "UTC time"
PARTICIPANT: Final = "participant"
"""The column that tells participants where partitions do not."""
_LONGEST_WINDOW: Final = timedelta(days=31)
_MARGIN: Final = timedelta(days=1)
"""How far beyond its window a row may lie, whose time is not that of the file it came in."""


@dataclass(frozen=True, kw_only=True)
class Rows:
    """What is wanted of a table; None stands for no limit. Times are aware, and ranges half-open.

    ``by_column``: partitions are of something else than participants, whom only a column tells.
    Raises ``TimeRangeError`` for times without a zone, and a start that is not before the end.
    """

    participants: frozenset[str] | None = None
    start: datetime | None = None
    end: datetime | None = None
    time_column: str | None = None
    by_column: bool = False

    def __post_init__(self) -> None:
        for name, moment in (("start", self.start), ("end", self.end)):
            if moment is not None:
                check_time(name, moment)
        if self.start and self.end and self.start >= self.end:
            raise TimeRangeError(
                f"The start {self.start.isoformat()} is not before the end {self.end.isoformat()}. Nothing was read. "
                "Swap or correct them."
            )

    def may_be_in(self, partition: str | None) -> bool:
        """Whether a partition can hold wanted rows, as its key tells."""
        names, starts = _parts(partition)
        by_key = names and not self.by_column
        if by_key and self.participants is not None and not self.participants & {*names}:
            return False
        return not any(
            (self.end and start >= self.end + _MARGIN)
            or (self.start and start + _LONGEST_WINDOW + _MARGIN <= self.start)
            for start in starts
        )

    def are_all_in(self, partition: str | None) -> bool:
        """Whether all rows of a partition are wanted, as its key tells."""
        by_key = not self.by_column and bool(_parts(partition)[0])
        return not self.start and not self.end and (self.participants is None or by_key)

    def conditions(self, schema: pa.Schema, partitions: Iterable[str | None]) -> dict[str, dataset.Expression]:
        """What wanted rows of these partitions fulfill, by the column that tells; nothing if all of them are wanted.

        Raises ``ConfigurationError`` if no column tells times or participants.
        """
        found: dict[str, dataset.Expression] = {}
        by_key = not self.by_column and all(_parts(each)[0] for each in partitions)
        if self.participants is not None and not by_key:
            if PARTICIPANT not in schema.names:
                raise ConfigurationError(
                    f"The table has no column {PARTICIPANT!r}, and no partitions of participants. Nothing was read. "
                    "Leave out `participants`."
                )
            found[PARTICIPANT] = dataset.field(PARTICIPANT).isin(sorted(self.participants))
        if self.start or self.end:
            time = schema.field(self._time(schema))
            field = dataset.field(time.name)
            bounds = [field >= pa.scalar(self.start, time.type)] if self.start else []
            bounds += [field < pa.scalar(self.end, time.type)] if self.end else []
            found[time.name] = reduce(and_, bounds)
        return found

    def _time(self, schema: pa.Schema) -> str:
        times = [each.name for each in schema if pa.types.is_timestamp(each.type) and each.type.tz]
        if self.time_column in times:
            return str(self.time_column)
        if self.time_column is None and _TIME in times:
            return _TIME
        if self.time_column is None and len(times) == 1:
            return str(times[0])
        raise ConfigurationError(
            f"`start` and `end` need a column of times with a zone, and the table has {', '.join(times) or 'none'}. "
            "Nothing was read. Name one as `time_column`, or leave out `start` and `end`."
        )


def are_participants(partitions: Iterable[str | None], known: Collection[str]) -> bool:
    """Whether keys of partitions name participants: one of those who are known."""
    return any(name in known for each in partitions for name in names_in(each))


def names_in(partition: str | None) -> list[str]:
    """The dimensions of a partition key that are names, not windows."""
    return _parts(partition)[0]


def _parts(partition: str | None) -> tuple[list[str], list[datetime]]:
    """The dimensions of a partition key that are names, and the starts of those that are windows."""
    parts = [] if partition is None else dimensions(partition)
    starts = {part: start_of_key(part) for part in parts}
    return [part for part in parts if starts[part] is None], [start for start in starts.values() if start]
