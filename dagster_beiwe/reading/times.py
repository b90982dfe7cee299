"""Times of raw data: aware moments as Unix milliseconds, and a table's two columns of them set right."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from functools import reduce
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dagster_beiwe.arguments import check_time
from dagster_beiwe.reading.rows import TIMESTAMP, UTC_TIME

UTC_MILLISECONDS: Final[Any] = pa.timestamp("ms", tz="UTC")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MILLISECOND: Final = timedelta(milliseconds=1)
_HOUR_MS: Final = 3_600_000
_LARGEST_SECONDS: Final = 10_000_000_000  # in milliseconds, that is April 1970


def milliseconds(name: str, moment: datetime | None) -> int | None:
    """Unix milliseconds, rounded up, which keeps half-open ranges exact. Raises ``TimeRangeError`` unless aware."""
    if moment is None:
        return None
    check_time(name, moment)
    return -((_EPOCH - moment) // _MILLISECOND)


def with_right_times(table: pa.Table, hour: int | None) -> tuple[pa.Table, int]:
    """``timestamp`` in milliseconds, and ``UTC time`` the same moment; and in how many rows they were not.

    ``hour`` is the start of the hour that the file's name says its rows are of.
    """
    at, utc_at = (table.schema.get_field_index(name) for name in (TIMESTAMP, UTC_TIME))
    if at < 0 or not table.num_rows or _are_right([table.column(place) for place in (at, utc_at) if place >= 0]):
        return table, 0
    stamps = table.column(at)
    written = table.column(utc_at).cast(pa.int64()) if utc_at >= 0 else None
    wrong = _in_seconds(stamps, written, hour)
    if wrong is not None:
        stamps = pc.if_else(wrong, pc.multiply(stamps, 1000), stamps)
        table = table.set_column(at, TIMESTAMP, stamps)
    if written is not None and not written.equals(stamps):
        differs = pc.and_(pc.is_valid(stamps), pc.fill_null(pc.not_equal(written, stamps), fill_value=True))
        right = pc.if_else(differs, stamps, written).cast(UTC_MILLISECONDS)
        table = table.set_column(utc_at, UTC_TIME, right)
        wrong = differs if wrong is None else pc.or_(wrong, differs)
    return table, 0 if wrong is None else pc.sum(wrong).as_py() or 0


def _are_right(times: Sequence[pa.ChunkedArray]) -> bool:
    """Whether a glance shows that all times are present, agree and are no seconds, as in nearly every file."""
    if any(column.null_count or column.num_chunks != 1 for column in times):
        return False
    stamps, *written = (column.chunk(0).to_numpy().view(np.int64) for column in times)
    return bool(stamps.min() >= _LARGEST_SECONDS) and all(np.array_equal(stamps, each) for each in written)


def _in_seconds(stamps: pa.ChunkedArray, written: pa.ChunkedArray | None, hour: int | None) -> pa.ChunkedArray | None:
    """Which stamps are seconds, as the file's hour or ``UTC time`` proves; None if none is."""
    smallest = pc.min(stamps).as_py()
    if smallest is None or smallest >= _LARGEST_SECONDS:
        return None
    scaled = pc.multiply(stamps, 1000)
    proofs = []
    if hour is not None:
        proofs.append(pc.and_(pc.greater_equal(scaled, hour), pc.less(scaled, hour + _HOUR_MS)))
    if written is not None:
        proofs.append(pc.and_(pc.equal(scaled, written), pc.not_equal(stamps, 0)))
    found = [pc.fill_null(proof, fill_value=False) for proof in proofs]
    proven = reduce(pc.or_, found) if found else None
    return proven if proven is not None and pc.any(proven).as_py() else None
