"""Write a table of the lake into one file."""

from __future__ import annotations

import json
from functools import cached_property
from typing import Any, BinaryIO

import numpy as np
import pandas as pd

from dagster_beiwe.exports.folder import ExportFolder, Notes, Written
from dagster_beiwe.exports.selection import Form
from dagster_beiwe.tables.joining import concat
from dagster_beiwe.tables.partitions import TablePartitions


def with_written_lists(frame: pd.DataFrame) -> pd.DataFrame:
    """With lists as JSON, for CSV, which has none: pandas would write them as a program cannot read them."""
    objects = {name: frame[name] for name, kind in frame.dtypes.items() if pd.api.types.is_object_dtype(kind)}
    lists = {name: each for name, each in objects.items() if any(isinstance(value, np.ndarray) for value in each)}
    written: pd.DataFrame = frame.assign(**{str(name): each.map(_written) for name, each in lists.items()})
    return written


def _written(value: Any) -> Any:
    return json.dumps(value.tolist(), ensure_ascii=False) if isinstance(value, np.ndarray) else value


class TableExport:
    """The rows of one table; a column ``partition`` tells its partitions apart."""

    def __init__(self, found: TablePartitions, form: Form) -> None:
        self._found, self._form = found, form
        self.table = "/".join(found.asset_key)
        self.missing = found.missing

    @cached_property
    def frame(self) -> pd.DataFrame:
        found = self._found
        return concat([found[key].assign(partition=key) if key else found[key] for key in found])

    def write(self, folder: ExportFolder) -> Written:
        """Write the file, unless an interrupted export has completed it."""
        path = f"{self._found.asset_key[-1]}.{self._form}"
        return folder.kept(path) or folder.write(path, self._write)

    def _write(self, file: BinaryIO) -> Notes:
        if self._form == "csv":
            with_written_lists(self.frame).to_csv(file, index=False)
        else:
            self.frame.to_parquet(file, index=False)
        return Notes(rows=len(self.frame))
