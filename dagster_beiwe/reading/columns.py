"""Rows appended to columns in pandas' types, so that a frame takes little more memory than its values.

Arrow's tables of all files beside the frame would take twice as much: each is given up when its rows are here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from dagster_beiwe.reading.parsing import arrow_type
from dagster_beiwe.streams import stream_named

TEXT_DTYPE: Final[Any] = (
    pd.StringDtype(na_value=np.nan) if int(pd.__version__.split(".")[0]) >= 3 else pd.StringDtype("pyarrow")
)

_NO_TIME: Final = np.iinfo(np.int64).min  # what numpy takes for no time
_Array = npt.NDArray[Any]


class Columns:
    """The rows of one stream. ``columns`` selects some, in their order, else there are all: those that the stream is
    known to have, then others as they appear."""

    def __init__(self, stream: str, columns: Sequence[str] | None) -> None:
        self._stream, self._rows = stream, 0
        known = (name for header in stream_named(stream).known_headers for name in header)
        self._selects = columns is not None
        self._columns = {name: self._column(name) for name in (known if columns is None else columns)}

    def append(self, table: pa.Table) -> None:
        """Add rows; a column that they lack is missing in them."""
        for name in table.column_names:
            if name not in self._columns and not self._selects:
                self._columns[name] = self._column(name)
            if name in self._columns:
                self._columns[name].append(table.column(name), self._rows)
        self._rows += table.num_rows

    def frame(self, *, more: bool = False) -> pd.DataFrame:
        """All rows, given up as they become a frame, or as a copy if ``more`` are to come."""
        columns = self._columns.copy() if more else self._columns
        found = {}
        for name in list(columns):
            found[name] = columns.pop(name).values(self._rows)
        frame: pd.DataFrame = pd.DataFrame(found, index=pd.RangeIndex(self._rows), copy=False)
        return frame.copy() if more else frame

    def _column(self, name: str) -> _Texts | _Numbers:
        kind = arrow_type(self._stream, name)
        if pa.types.is_string(kind):
            return _Texts()
        return _Integers() if pa.types.is_int64(kind) else _Floats() if pa.types.is_float64(kind) else _Times()


class _Growing:
    """An array that grows at its end. What it does not need yet, the system does not have to give."""

    def __init__(self, dtype: npt.DTypeLike, missing: float | bool) -> None:
        self._data: _Array = np.empty(0, dtype)
        self._rows, self._missing = 0, missing

    def put(self, values: _Array, at: int) -> None:
        end = at + len(values)
        if end > len(self._data):
            grown = np.empty(max(end, 2 * len(self._data)), self._data.dtype)
            grown[: self._rows] = self._data[: self._rows]
            self._data = grown
        self._data[self._rows : at] = self._missing
        self._data[at:end] = values
        self._rows = end

    def values(self, rows: int) -> _Array:
        self.put(self._data[:0], rows)
        return self._data[:rows]


class _Texts:
    """Arrow keeps texts for pandas, too."""

    def __init__(self) -> None:
        self._chunks: list[pa.Array] = []
        self._rows = 0

    def append(self, column: pa.ChunkedArray, at: int) -> None:
        self._fill(at)
        self._chunks += column.chunks
        self._rows += len(column)

    def values(self, rows: int) -> Any:
        self._fill(rows)
        return TEXT_DTYPE.__from_arrow__(pa.chunked_array(self._chunks, pa.string()))

    def _fill(self, rows: int) -> None:
        if rows > self._rows:
            self._chunks.append(pa.nulls(rows - self._rows, pa.string()))
            self._rows = rows


class _Numbers:
    dtype: npt.DTypeLike
    missing: float

    def __init__(self) -> None:
        self._values = _Growing(self.dtype, self.missing)

    def append(self, column: pa.ChunkedArray, at: int) -> None:
        self._values.put(column.to_numpy(), at)

    def values(self, rows: int) -> Any:
        return self._values.values(rows)


class _Floats(_Numbers):
    dtype, missing = np.float64, float("nan")


class _Times(_Numbers):
    dtype, missing = np.int64, _NO_TIME

    def append(self, column: pa.ChunkedArray, at: int) -> None:
        self._values.put(column.cast(pa.int64()).fill_null(_NO_TIME).to_numpy(), at)

    def values(self, rows: int) -> Any:
        moments = self._values.values(rows).view("datetime64[ms]")
        return pd.DatetimeIndex(moments, copy=False).tz_localize("UTC").array


class _Integers(_Numbers):
    dtype, missing = np.int64, 0

    def __init__(self) -> None:
        super().__init__()
        self._missing = _Growing(np.bool_, missing=True)

    def append(self, column: pa.ChunkedArray, at: int) -> None:
        missing = column.is_null().to_numpy() if column.null_count else np.zeros(len(column), np.bool_)
        self._missing.put(missing, at)
        self._values.put(column.fill_null(0).to_numpy(), at)

    def values(self, rows: int) -> Any:
        return pd.arrays.IntegerArray(self._values.values(rows), self._missing.values(rows))
