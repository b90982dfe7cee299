"""What a stream table is: its columns, what it reads, and the function that makes one partition."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import pandas as pd

from dagster_beiwe.reading import RawFiles, TimeRange
from dagster_beiwe.stream_tables.names import TableName

TypedColumns = Mapping[str, tuple[str, str]]
"""{column: (its type, as pandas calls it, and what it holds)}, in the order of the columns."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TableSources:
    """What one partition is made from. Nothing is decrypted before raw data is asked for rows or content.

    ``zone`` is the IANA name of the participant's time zone, None if it is not known. ``tables`` are those of the study
    that the definition names; None for one that was never made. ``span`` is the time of the partition, and ``before``
    what the lake holds of the time that the definition looks back to.
    """

    participant: str
    window: RawFiles
    zone: str | None
    tables: Mapping[str, pd.DataFrame | None]
    span: TimeRange = field(default_factory=TimeRange)
    before: RawFiles | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class MadeTable:
    """A partition: the ``frame`` with the definition's columns, sorted by ``UTC time``, and counts such as
    ``set_aside_rows``."""

    frame: pd.DataFrame
    counts: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class TableDefinition:
    """A stream table. ``asset`` is what its asset is called below its study, ``sampled`` says that a sensor makes its
    rows at a rate. ``columns_from`` says where columns come from that are not those of the same name in the raw data:
    {column: [(asset, its column)]}. With ``looks_back``, rows may depend on raw data of that time before the window.

    Raise ``method`` when the same files make another table: every partition is made again.
    """

    name: TableName
    asset: str
    description: str
    streams: tuple[str, ...]
    columns: TypedColumns
    make: Callable[[TableSources], MadeTable]
    sampled: bool = False
    tables: tuple[str, ...] = ()
    columns_from: Mapping[str, Sequence[tuple[str, str]]] = field(default_factory=dict)
    looks_back: timedelta = timedelta(0)
    method: int = 1
