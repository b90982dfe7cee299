"""The forms in which an export writes the rows of a table: frame by frame, so that one frame is in memory at a time."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, BinaryIO, Final

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import parquet

from dagster_beiwe.errors import ConfigurationError
from dagster_beiwe.exports.selection import Form
from dagster_beiwe.lake.layout import TABLE_SUFFIX

_LISTS: Final = (np.ndarray, list, dict)


class Sink(ABC):
    """Takes the frames of one table, which have the same columns. ``schema`` says their types if single frames may
    not: a column of theirs may be empty."""

    suffix: str

    def __init__(self, file: BinaryIO, schema: pa.Schema | None = None) -> None:
        self._file, self._schema = file, schema

    @abstractmethod
    def add(self, frame: pd.DataFrame) -> None:
        """Append rows."""

    def complete(self) -> None:  # noqa: B027  # there may be nothing left to write
        """Write what comes after the rows."""


class CSV(Sink):
    suffix = ".csv"

    def add(self, frame: pd.DataFrame) -> None:
        with_written_lists(frame).to_csv(self._file, index=False, header=self._file.tell() == 0)


class Parquet(Sink):
    """Plain Parquet, a group of rows for each frame. Categories are what they stand for."""

    suffix = TABLE_SUFFIX
    _writer: parquet.ParquetWriter | None = None

    def add(self, frame: pd.DataFrame) -> None:
        categorical = {name: kind for name, kind in frame.dtypes.items() if isinstance(kind, pd.CategoricalDtype)}
        plain = {name: kind.categories.dtype for name, kind in categorical.items()}
        table = self._table(frame.astype(plain))
        if self._writer is None:
            self._writer = parquet.ParquetWriter(self._file, table.schema)
        self._writer.write_table(table)

    def complete(self) -> None:
        if self._writer is not None:
            self._writer.close()

    def _table(self, frame: pd.DataFrame) -> pa.Table:
        try:
            return pa.Table.from_pandas(frame, schema=self._schema, preserve_index=False)
        except (pa.ArrowException, TypeError, ValueError, OverflowError):  # its message may hold a value
            pass
        raise ConfigurationError(
            "Not all rows fit the types that the columns of the table have together. The file was not written. Export "
            "it as csv, or materialize partitions with other types again."
        )


SINKS: Final[Mapping[Form, type[Sink]]] = {"csv": CSV, "parquet": Parquet}


def with_written_lists(frame: pd.DataFrame) -> pd.DataFrame:
    """With lists as JSON, for CSV, which has none: pandas would write them as a program cannot read them."""
    objects = {name: frame[name] for name, kind in frame.dtypes.items() if pd.api.types.is_object_dtype(kind)}
    lists = {name: each for name, each in objects.items() if any(isinstance(value, _LISTS) for value in each)}
    written: pd.DataFrame = frame.assign(**{str(name): each.map(_written) for name, each in lists.items()})
    return written


def _written(value: Any) -> Any:
    plain = value.tolist() if isinstance(value, np.ndarray) else value
    return json.dumps(plain, ensure_ascii=False) if isinstance(plain, _LISTS) else value
