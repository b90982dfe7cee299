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

_UTC: Final = pd.DatetimeTZDtype("ms", "UTC")
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

    def __init__(self, dtype: npt.DTypeLike) -> None:
        self._data: _Array = np.empty(0, dtype)
        self.size = 0

    def extend(self, values: _Array) -> None:
        self._put(self.size + len(values), values)

    def fill(self, size: int, value: float | bool) -> None:
        """Repeat a value until the array has this size."""
        self._put(size, value)

    def _put(self, size: int, values: _Array | float | bool) -> None:
        if size > len(self._data):
            grown = np.empty(max(size, 2 * len(self._data)), self._data.dtype)
            grown[: self.size] = self._data[: self.size]
            self._data = grown
        self._data[self.size : size] = values
        self.size = size

    def values(self) -> _Array:
        return self._data[: self.size]


class _Texts:
    """Texts in Arrow's form, which pandas takes without a copy: where each of them ends, and the bytes of all."""

    def __init__(self) -> None:
        self._ends, self._bytes, self._missing = _Growing(np.int64), _Growing(np.uint8), _Growing(np.bool_)
        self._ends.fill(1, 0)  # each text begins where the one before ends

    def append(self, column: pa.ChunkedArray, at: int) -> None:
        self._fill(at)
        for chunk in filter(len, column.chunks):
            _, ends, data = chunk.buffers()
            places = np.frombuffer(ends, np.int32)[chunk.offset :][: len(chunk) + 1].astype(np.int64)
            self._ends.extend(places[1:] + (self._bytes.size - places[0]))
            if data is not None:
                self._bytes.extend(np.frombuffer(data, np.uint8)[places[0] : places[-1]])
            self._missing.extend(chunk.is_null().to_numpy(zero_copy_only=False))

    def values(self, rows: int) -> Any:
        self._fill(rows)
        missing = self._missing.values()
        valid = pa.array(~missing).buffers()[1] if missing.any() else None
        ends, data = pa.py_buffer(self._ends.values()), pa.py_buffer(self._bytes.values())
        return TEXT_DTYPE.__from_arrow__(pa.LargeStringArray.from_buffers(rows, ends, data, valid))

    def _fill(self, rows: int) -> None:
        self._ends.fill(rows + 1, self._bytes.size)
        self._missing.fill(rows, value=True)


class _Numbers:
    dtype: npt.DTypeLike
    missing: float

    def __init__(self) -> None:
        self._values = _Growing(self.dtype)

    def append(self, column: pa.ChunkedArray, at: int) -> None:
        self._values.fill(at, self.missing)
        self._values.extend(self._numbers(column))

    def values(self, rows: int) -> Any:
        self._values.fill(rows, self.missing)
        return self._values.values()

    @staticmethod
    def _numbers(column: pa.ChunkedArray) -> _Array:
        numbers: _Array = column.to_numpy()
        return numbers


class _Floats(_Numbers):
    dtype, missing = np.float64, float("nan")


class _Times(_Numbers):
    dtype, missing = np.int64, _NO_TIME

    def values(self, rows: int) -> Any:
        # pandas copies datetime64 values to give them a zone, but takes integers as they are
        return pd.DatetimeIndex(super().values(rows), dtype=_UTC, copy=False).array

    @staticmethod
    def _numbers(column: pa.ChunkedArray) -> _Array:
        numbers: _Array = column.cast(pa.int64()).fill_null(_NO_TIME).to_numpy()
        return numbers


class _Integers(_Numbers):
    dtype, missing = np.int64, 0

    def __init__(self) -> None:
        super().__init__()
        self._missing = _Growing(np.bool_)

    def append(self, column: pa.ChunkedArray, at: int) -> None:
        super().append(column, at)
        self._missing.fill(at, value=True)
        self._missing.extend(column.is_null().to_numpy())

    def values(self, rows: int) -> Any:
        self._missing.fill(rows, value=True)
        return pd.arrays.IntegerArray(super().values(rows), self._missing.values())

    @staticmethod
    def _numbers(column: pa.ChunkedArray) -> _Array:
        numbers: _Array = column.fill_null(0).to_numpy()
        return numbers
