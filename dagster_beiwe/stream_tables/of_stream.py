"""The table of one stream: both systems' shapes in one, with the types of the catalog. Pure."""

from __future__ import annotations

from functools import partial
from typing import Final

import numpy as np
import pandas as pd

from dagster_beiwe.column_types import ColumnType, column_type
from dagster_beiwe.reading.frames import FILE_TIME, PARTICIPANT, SURVEY_ID
from dagster_beiwe.reading.rows import TIMESTAMP, UTC_TIME
from dagster_beiwe.stream_tables.column_texts import column_text
from dagster_beiwe.stream_tables.definition import MadeTable, TableDefinition, TableSources, TypedColumns
from dagster_beiwe.stream_tables.framing import CATEGORY, COMMON, framed
from dagster_beiwe.stream_tables.names import TableName
from dagster_beiwe.streams import STREAMS, Stream

METHOD: Final = 1
"""Raise it when the same files make another table."""

_TYPES: Final[dict[ColumnType, str]] = {"integer": "Int64", "number": "float64"}
_NO_TIME: Final = np.iinfo(np.int64).min  # what numpy takes for no time
NOT_COUNTED: Final = frozenset({"files", "rows"})
"""What reading counts, and a table does not."""


def stream_table(name: TableName) -> TableDefinition:
    """The table of a stream of the catalog, ``streams/<stream>``."""
    stream = STREAMS[name]
    columns = columns_of(stream)
    return TableDefinition(
        name=name,
        asset=f"streams/{name}",
        description=stream.description,
        streams=(name,),
        columns=columns,
        make=partial(_make, stream, columns),
        sampled=stream.duty is not None and stream.duty.off is not None,
        method=METHOD,
    )


def columns_of(stream: Stream) -> TypedColumns:
    """Those that every table has, then those of either system; the times are in the former."""
    own = dict.fromkeys(name for header in stream.known_headers for name in header)
    if stream.survey_folder and not stream.chunked:
        own = {SURVEY_ID: None, **own}
    names = [name for name in own if name not in COMMON and name != TIMESTAMP]
    return {**COMMON, **{name: (_type_of(stream, name), column_text(stream.name, name)) for name in names}}


def _type_of(stream: Stream, column: str) -> str:
    """Texts are categories, because they repeat, except for what somebody wrote."""
    kind = _TYPES.get(column_type(stream.name, column), CATEGORY)
    return "string" if column == stream.text_column else kind


def _make(stream: Stream, columns: TypedColumns, sources: TableSources) -> MadeTable:
    frame = sources.window.read(stream.name)
    counts = {name: count for name, count in frame.attrs["beiwe"].items() if name not in NOT_COUNTED}
    more = set(frame.columns) - {*columns, TIMESTAMP, FILE_TIME, PARTICIPANT}
    table = framed(_with_time(frame), sources, columns)
    return MadeTable(frame=table, counts={**counts, "columns_left_out": len(more)})


def _with_time(frame: pd.DataFrame) -> pd.DataFrame:
    """With a ``UTC time`` in each row that has one: of its own, in the timestamp, or in the name of its file."""
    timed: pd.DataFrame = frame
    if TIMESTAMP not in frame:
        timed = frame.rename(columns={FILE_TIME: UTC_TIME})
    elif frame[UTC_TIME].isna().any():
        # pandas.to_datetime refuses damaged numbers, which may be in any year.
        moments = frame[TIMESTAMP].to_numpy("int64", na_value=_NO_TIME).view("datetime64[ms]")
        in_timestamps = pd.Series(moments, index=frame.index).dt.tz_localize("UTC")
        timed = frame.assign(**{UTC_TIME: frame[UTC_TIME].fillna(in_timestamps)})
    return timed
