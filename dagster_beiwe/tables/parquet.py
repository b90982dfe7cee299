"""DataFrames as Parquet: types, categories and attributes survive, and no error message holds a value.

Types come back as they were, except that Parquet knows no times in whole seconds (they become milliseconds) and that
Arrow's decimals come back as Python's.
"""

from __future__ import annotations

import difflib
import io
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import pandas as pd
import pyarrow as pa
from pyarrow import dataset, ipc, parquet

from dagster_beiwe.errors import ConfigurationError
from dagster_beiwe.tables.keys import FileKey

_CATEGORIES: Final = b"beiwe/categories"
_ROWS_PER_GROUP: Final = 128 * 1024
_REFUSALS: Final = (pa.ArrowException, TypeError, ValueError, OverflowError)


def arrow_table(frame: pd.DataFrame) -> pa.Table:
    """The frame as Parquet will hold it. Raises a ``ConfigurationError`` that names the column that it can't hold.

    The result can be read back: types that Parquet accepts but pandas can't restore are refused here.
    """
    _check_names(frame)
    try:
        return _readable_table(frame)
    except _REFUSALS:  # its message may hold a value
        pass
    raise ConfigurationError(f"{_diagnosis(frame)} Nothing was stored.")


def _check_names(frame: pd.DataFrame) -> None:
    names = list(frame.columns)
    if isinstance(frame.columns, pd.MultiIndex):
        problem = f"The columns of the table have names of {frame.columns.nlevels} levels."
        advice = "Join them: frame.columns = ['_'.join(map(str, name)) for name in frame.columns]."
    elif not all(isinstance(name, str) for name in names):
        kinds = sorted({type(name).__name__ for name in names} - {"str"})
        problem = f"Names of the table's columns are not strings, but of the type {', '.join(kinds)}."
        advice = "Rename them: frame.columns = frame.columns.map(str)."
    elif len(set(names)) != len(names):
        repeated = sorted({name for name in names if names.count(name) > 1})
        problem = f"Several columns of the table have the same name: {', '.join(repeated)[:200]}."
        advice = "Rename or drop the duplicates."
    else:
        return
    raise ConfigurationError(f"{problem} Nothing was stored. {advice}")


def _readable_table(frame: pd.DataFrame) -> pa.Table:
    """Raises one of ``_REFUSALS`` for what Parquet can't hold, or what pandas could not read back."""
    kinds = {str(name): dtype for name, dtype in frame.dtypes.items() if isinstance(dtype, pd.CategoricalDtype)}
    lost = [name for name, dtype in kinds.items() if _is_lost_as_category(dtype)]
    levels = [frame.index.get_level_values(number).dtype for number in range(frame.index.nlevels)]
    if any(isinstance(level, pd.CategoricalDtype) and _is_lost_as_category(level) for level in levels):
        raise TypeError("index")
    stored = frame.assign(**{name: frame[name].cat.codes for name in lost})
    if isinstance(frame.columns.dtype, pd.CategoricalDtype):  # names in such an index can be written, but not read
        stored = stored.set_axis(pd.Index(list(frame.columns), name=frame.columns.name), axis=1)
    table = pa.Table.from_pandas(stored)
    objects = [name for name, dtype in frame.dtypes.items() if pd.api.types.is_object_dtype(dtype)]
    if any("struct<" in str(table.schema.field(name).type) for name in objects):
        raise TypeError("dictionaries would come back with each other's keys")
    table = table.replace_schema_metadata({**table.schema.metadata, _CATEGORIES: _packed_categories(kinds)})
    sink = io.BytesIO()
    parquet.write_table(table.slice(0, 0), sink)
    read_parquet(partial(parquet.ParquetFile, pa.BufferReader(sink.getvalue())), columns=None, name="")
    return table


def _is_lost_as_category(dtype: pd.CategoricalDtype) -> bool:
    """Whether Parquet loses a dictionary of this type (durations come back as numbers): then positions are stored.

    Times with a zone come back with another one, which pandas before 3 does not find among the categories.
    """
    values = dtype.categories.dtype
    return values.kind == "m" or isinstance(values, (pd.PeriodDtype, pd.IntervalDtype, pd.DatetimeTZDtype))


def _packed_categories(kinds: Mapping[str, pd.CategoricalDtype]) -> bytes:
    """The categories of all categorical columns, which Parquet keeps only in part, as an Arrow stream of one row."""
    values = [_one_chunk(pa.array(dtype.categories, from_pandas=True)) for dtype in kinds.values()]
    lists = [pa.ListArray.from_arrays(pa.array([0, len(each)], pa.int32()), each) for each in values]
    fields = [
        pa.field(name, each.type, metadata=_notes(dtype))
        for (name, dtype), each in zip(kinds.items(), lists, strict=True)
    ]
    sink = io.BytesIO()
    with ipc.new_stream(sink, pa.schema(fields)) as stream:
        stream.write_table(pa.table(lists, schema=pa.schema(fields)))
    return sink.getvalue()


def _notes(dtype: pd.CategoricalDtype) -> dict[str, str]:
    notes = {"ordered": str(bool(dtype.ordered)), "dtype": str(dtype.categories.dtype)}
    return {**notes, "positions": "True"} if _is_lost_as_category(dtype) else notes


def _one_chunk(values: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Categories that were joined from several frames come in chunks."""
    return values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values


def _with_categories(frame: pd.DataFrame, packed: bytes) -> pd.DataFrame:
    with ipc.open_stream(packed) as stream:
        table = stream.read_all()
    restored: dict[str, Any] = {}
    for field in table.schema:
        if field.name in frame:
            categories = pd.Index(table[field.name].chunk(0).values.to_pandas())
            if b"dtype" in field.metadata:  # tables that were written before have none
                categories = categories.astype(field.metadata[b"dtype"].decode())
            dtype = pd.CategoricalDtype(categories, ordered=field.metadata[b"ordered"] == b"True")
            values = frame[field.name]
            restored[field.name] = (
                pd.Categorical.from_codes(values, dtype=dtype)
                if b"positions" in field.metadata
                else values.astype(dtype)
            )
    typed: pd.DataFrame = frame.assign(**restored)
    return typed


def _diagnosis(frame: pd.DataFrame) -> str:
    """Which part of a refused frame is at fault, and why: types only, never a value."""
    for name in frame.columns:
        if not _is_storable(frame[[name]].reset_index(drop=True)):
            return f"Column {name!r} of the table {_fault(frame[name])}."
    if not _is_storable(frame[[]]):
        faults = [_fault(frame.index.get_level_values(number)) for number in range(frame.index.nlevels)]
        return f"The index of the table {', and a level '.join(faults)}. reset_index(drop=True) leaves it out."
    return "Parquet cannot hold the table, though it could hold each of its columns alone."


def _is_storable(frame: pd.DataFrame) -> bool:
    try:
        _readable_table(frame)
    except _REFUSALS:
        return False
    return True


def _fault(values: pd.Series[Any] | pd.Index[Any]) -> str:
    dtype = values.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        return (
            f"has categories of the type {dtype.categories.dtype}, which can't be stored: convert it with .astype(str)"
        )
    if not pd.api.types.is_object_dtype(dtype):
        return f"has the type {dtype}, which can't be stored: convert it, for instance with .astype('string')"
    kinds = sorted({type(value).__name__ for value in values.dropna()})
    if len(kinds) > 1:
        return f"mixes values of the types {', '.join(kinds)}: convert it, for instance with .astype('string')"
    return f"has values of the type {kinds[0]} that can't be stored: convert it, for instance with .astype('string')"


def write_parquet(table: pa.Table, sink: Any, key: FileKey | None) -> None:
    """Write the table to a file-like object, in groups of rows of bounded size; without a key unencrypted."""
    encodings = _encodings(table.schema)
    parquet.write_table(
        pa.Table.from_arrays(table.columns, schema=_exact_schema(table)),
        pa.PythonFile(sink, mode="w"),
        row_group_size=_ROWS_PER_GROUP,
        compression="zstd",
        use_dictionary=[name for name in table.schema.names if name not in encodings],
        column_encoding=encodings,
        encryption_properties=key.encryption() if key else None,
    )


def _encodings(schema: pa.Schema) -> dict[str, str]:
    """Encodings for measurements, which hardly ever repeat: Arrow would look for repetitions, which takes ten times as
    long, and the files are a third larger."""
    numbers = {field.name: field.type for field in schema if not pa.types.is_float16(field.type)}
    deltas = [name for name, kind in numbers.items() if pa.types.is_timestamp(kind) or pa.types.is_integer(kind)]
    floats = [name for name, kind in numbers.items() if pa.types.is_floating(kind)]
    return {**dict.fromkeys(deltas, "DELTA_BINARY_PACKED"), **dict.fromkeys(floats, "BYTE_STREAM_SPLIT")}


def _exact_schema(table: pa.Table) -> pa.Schema:
    """The schema, with columns that have no missing values declared so: where values may be missing, readers ask for
    each one whether it is, which takes as long as reading it."""
    fields = [
        field.with_nullable(False) if _is_flat(field.type) and table.num_rows and not column.null_count else field
        for field, column in zip(table.schema, table.columns, strict=True)
    ]
    return pa.schema(fields, metadata=table.schema.metadata)


def _is_flat(kind: pa.DataType) -> bool:
    return bool(pa.types.is_primitive(kind) or _is_text(kind) or pa.types.is_dictionary(kind))


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def read_parquet(
    opener: Callable[..., parquet.ParquetFile], *, columns: Sequence[str] | None, name: str
) -> pd.DataFrame:
    """The frame in a Parquet file that ``arrow_table`` made; ``opener`` opens it with options of Arrow's.

    Raises ``ConfigurationError`` for columns that it does not have, with the nearest right one, calling it ``name``.
    """
    file = opener()
    schema, chosen = file.schema_arrow, None if columns is None else list(columns)
    check_columns(schema.names, chosen or (), name=name)
    repeated = _repeated_texts(file)
    file = opener(read_dictionary=repeated) if repeated else file
    table = file.read(columns=chosen, use_pandas_metadata=True)
    for place, field in enumerate(table.schema):
        if field.name in repeated:
            table = table.set_column(place, field.name, table.column(place).cast(schema.field(field.name).type))
    frame = table.to_pandas(split_blocks=True, self_destruct=True)  # else both would be in memory
    del table
    return _typed(frame, schema, chosen)


def _repeated_texts(file: parquet.ParquetFile) -> list[str]:
    """Columns of few different texts, which take less than a byte a row: they are read in half the time if Arrow
    decodes each text once."""
    sizes = Counter[str]()
    for number in range(file.metadata.num_row_groups):
        group = file.metadata.row_group(number)
        for place in range(group.num_columns):
            sizes[group.column(place).path_in_schema] += group.column(place).total_uncompressed_size
    texts = [field.name for field in file.schema_arrow if _is_text(field.type)]
    return [name for name in texts if sizes[name] < file.metadata.num_rows]


def read_fragment(
    fragment: dataset.ParquetFileFragment,
    *,
    columns: Sequence[str] | None,
    condition: dataset.Expression | None,
    name: str,
) -> pd.DataFrame:
    """The rows of such a file that fulfill a condition. Raises as ``read_parquet`` does."""
    schema = fragment.physical_schema
    check_columns(schema.names, columns or (), name=name)
    chosen = None if columns is None else list(columns)
    index = [level for level in (schema.pandas_metadata or {}).get("index_columns", ()) if isinstance(level, str)]
    wanted = None if chosen is None else list(dict.fromkeys([*chosen, *index]))
    frame = fragment.to_table(columns=wanted, filter=condition).replace_schema_metadata(schema.metadata).to_pandas()
    return _typed(frame, schema, chosen)


def check_columns(held: Sequence[str], columns: Sequence[str], *, name: str) -> None:
    """Raise ``ConfigurationError`` for columns that a table does not have."""
    for column in columns:
        if column not in held:
            close = difflib.get_close_matches(column, held, n=1, cutoff=0.4)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise ConfigurationError(
                f"The table {name} has no column {column[:60]!r}. Nothing was read.{hint} Its columns are: "
                f"{', '.join(held)}."
            )


def _typed(frame: pd.DataFrame, schema: pa.Schema, chosen: list[str] | None) -> pd.DataFrame:
    """A frame that Arrow made, with the types that it was stored with."""
    pa.default_memory_pool().release_unused()  # it would keep more memory than the frame takes
    attributes, frame = frame.attrs, _with_categories(frame, schema.metadata[_CATEGORIES])
    frame.attrs = attributes
    return frame if chosen is None else frame[chosen]
