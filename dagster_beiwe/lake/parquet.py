"""DataFrames as Parquet: types, categories and attributes survive, and no error message holds a value.

Types come back as they were, except that Parquet knows no times in whole seconds (they become milliseconds).
"""

from __future__ import annotations

import difflib
import io
from collections.abc import Sequence
from typing import Any, Final

import pandas as pd
import pyarrow as pa
from pyarrow import ipc, parquet

from dagster_beiwe.errors import ConfigurationError

_CATEGORIES: Final = b"beiwe/categories"
_ROWS_PER_GROUP: Final = 128 * 1024


def arrow_table(frame: pd.DataFrame) -> pa.Table:
    """The frame as Parquet will hold it. Raises ``ConfigurationError`` that names the column which it can't hold."""
    names = list(frame.columns)
    if not all(isinstance(name, str) for name in names) or len(set(names)) != len(names):
        raise ConfigurationError(
            "Expected a DataFrame whose column names are texts and differ, got others; nothing was stored. Rename the "
            "columns (a MultiIndex can be joined: frame.columns = ['_'.join(name) for name in frame.columns])."
        )
    try:
        table = pa.Table.from_pandas(frame)
        return table.replace_schema_metadata({**table.schema.metadata, _CATEGORIES: _packed_categories(frame)})
    except (pa.ArrowException, TypeError, ValueError):  # its message may hold a value
        bad = next((name for name in names if not _convertible(frame[[name]])), "the index")
        raise ConfigurationError(
            f"Expected columns of one type each, got a mixture in {bad!r} ({frame.dtypes.get(bad, 'index')}); nothing "
            "was stored. Convert it, for instance with .astype('string')."
        ) from None


def _packed_categories(frame: pd.DataFrame) -> bytes:
    """The categories of all categorical columns, which Parquet keeps only in part: an Arrow stream of one row."""
    kinds = {name: dtype for name, dtype in frame.dtypes.items() if isinstance(dtype, pd.CategoricalDtype)}
    values = [pa.array(dtype.categories, from_pandas=True) for dtype in kinds.values()]
    lists = [pa.ListArray.from_arrays(pa.array([0, len(each)], pa.int32()), each) for each in values]
    fields = [
        pa.field(name, each.type, metadata={"ordered": str(bool(dtype.ordered))})
        for (name, dtype), each in zip(kinds.items(), lists, strict=True)
    ]
    sink = io.BytesIO()
    with ipc.new_stream(sink, pa.schema(fields)) as stream:
        stream.write_table(pa.table(lists, schema=pa.schema(fields)))
    return sink.getvalue()


def _with_categories(frame: pd.DataFrame, packed: bytes) -> pd.DataFrame:
    with ipc.open_stream(packed) as stream:
        table = stream.read_all()
    kinds = {
        field.name: pd.CategoricalDtype(
            table[field.name].chunk(0).values.to_pandas(), ordered=field.metadata[b"ordered"] == b"True"
        )
        for field in table.schema
        if field.name in frame
    }
    typed: pd.DataFrame = frame.astype(kinds)
    return typed


def _convertible(frame: pd.DataFrame) -> bool:
    try:
        pa.Table.from_pandas(frame, preserve_index=False)
    except (pa.ArrowException, TypeError, ValueError):
        return False
    return True


def write_parquet(table: pa.Table, sink: Any) -> None:
    """Write the table to a file-like object, in groups of rows of bounded size."""
    parquet.write_table(table, pa.PythonFile(sink, mode="w"), row_group_size=_ROWS_PER_GROUP, compression="zstd")


def read_parquet(data: bytes, *, columns: Sequence[str] | None, name: str) -> pd.DataFrame:
    """The frame in a Parquet file that ``arrow_table`` made; ``name`` is for messages.

    Raises ``ConfigurationError`` for columns that it does not have, with the nearest right one.
    """
    file = parquet.ParquetFile(pa.BufferReader(data))
    for column in columns or ():
        if column not in file.schema_arrow.names:
            close = difflib.get_close_matches(column, file.schema_arrow.names, n=1, cutoff=0.4)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise ConfigurationError(
                f"Expected columns of the table {name}, got {column[:60]!r}; nothing was read.{hint} Its columns are: "
                f"{', '.join(file.schema_arrow.names)}."
            )
    chosen = None if columns is None else list(columns)
    frame = file.read(columns=chosen, use_pandas_metadata=True).to_pandas()
    attributes, frame = frame.attrs, _with_categories(frame, file.schema_arrow.metadata[_CATEGORIES])
    frame.attrs = attributes
    return frame if chosen is None else frame[chosen]
