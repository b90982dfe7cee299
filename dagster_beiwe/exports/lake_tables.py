"""Write a table of the lake into one file, partition by partition."""

from __future__ import annotations

from functools import cached_property
from typing import BinaryIO, Final

import pandas as pd
import pyarrow as pa

from dagster_beiwe.exports.folder import ExportFolder, Notes, Written
from dagster_beiwe.exports.selection import Form
from dagster_beiwe.exports.sinks import SINKS
from dagster_beiwe.progress import Progress
from dagster_beiwe.tables.partitions import TablePartitions

_PARTITION: Final = "partition"


class TableExport:
    """The rows of one table; a column ``partition`` tells its partitions apart, unless it has one of its own."""

    def __init__(self, found: TablePartitions, form: Form) -> None:
        self._found, self._sink = found, SINKS[form]
        self.table = "/".join(found.asset_key)
        self.missing = found.missing

    def write(self, folder: ExportFolder, progress: Progress) -> Written:
        """Write the file, unless an interrupted export has completed it. ``progress`` counts partitions."""
        path = f"{self._found.asset_key[-1]}{self._sink.suffix}"
        return folder.kept(path) or folder.write(path, lambda file: self._write(file, progress))

    def _write(self, file: BinaryIO, progress: Progress) -> Notes:
        schema = self._schema()
        sink, rows = self._sink(file, schema), 0
        progress.expect(len(self._found))
        try:
            for key in self._found:
                frame = self._frame(key)
                sink.add(frame.reindex(columns=schema.names))
                rows += len(frame)
                progress.advance()
        finally:
            sink.complete()
        return Notes(rows=rows)

    def _schema(self) -> pa.Schema:
        schema = self._found.schema
        return schema.append(pa.field(_PARTITION, pa.string())) if self._is_keyed else schema

    @cached_property
    def _is_keyed(self) -> bool:
        return any(self._found) and _PARTITION not in self._found.schema.names

    def _frame(self, key: str) -> pd.DataFrame:
        return self._found[key].assign(**{_PARTITION: key}) if self._is_keyed else self._found[key]
