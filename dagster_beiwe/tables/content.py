"""Hashes of what a table holds, in whatever way it is stored."""

from __future__ import annotations

import hashlib

import pandas as pd
import pyarrow as pa
from pyarrow import ipc

from dagster_beiwe.parts import ROWS_AT_ONCE, row_parts
from dagster_beiwe.tables.sinks import HashingSink


def content_version(frame: pd.DataFrame, *, rows_at_once: int = ROWS_AT_ONCE) -> str:
    """A hash of a table's columns and rows in their order. It ignores the unit of times, which storing may change."""
    digest = hashlib.sha256("\n".join(map(str, frame.columns)).encode())
    for place in range(frame.shape[1]):
        for part in row_parts(len(frame), at_once=rows_at_once):
            column = frame.iloc[part, place]
            column = column.dt.as_unit("us") if column.dtype.kind == "M" else column
            digest.update(pd.util.hash_pandas_object(column, index=False).to_numpy().data)
    return digest.hexdigest()[:16]


def content_hash(table: pa.Table) -> tuple[int, str]:
    """Size in bytes and SHA-256 of a table as an Arrow stream, without what only pandas knows of it."""
    notes = {name: note for name, note in (table.schema.metadata or {}).items() if name != b"pandas"}
    digest = HashingSink()
    with ipc.new_stream(pa.PythonFile(digest, mode="w"), table.schema.with_metadata(notes)) as stream:
        stream.write_table(table.replace_schema_metadata(notes))
    return digest.size_bytes, digest.sha256.hexdigest()
