"""Write a table of the lake into one file."""

from __future__ import annotations

from functools import cached_property
from typing import BinaryIO

import pandas as pd

from dagster_beiwe.exports.folder import ExportFolder, Notes, Written
from dagster_beiwe.exports.selection import Form
from dagster_beiwe.tables.joining import concat
from dagster_beiwe.tables.partitions import TablePartitions


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
            self.frame.to_csv(file, index=False)
        else:
            self.frame.to_parquet(file, index=False)
        return Notes(rows=len(self.frame))
