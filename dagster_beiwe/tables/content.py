"""Hashes of what a table holds, in whatever way it is stored."""

from __future__ import annotations

import hashlib
import io

import pandas as pd
import pyarrow as pa
from pyarrow import ipc

from dagster_beiwe.encryption import Bytes


def content_version(frame: pd.DataFrame) -> str:
    """A hash that changes with the columns and rows of a table, and with their order; not with the unit of times, which
    is another one after a table was stored."""
    digest = hashlib.sha256("\n".join(map(str, frame.columns)).encode())
    for place in range(frame.shape[1]):  # one after the other: together they would take as much memory as the table
        column = frame.iloc[:, place]
        column = column.dt.as_unit("us") if column.dtype.kind == "M" else column
        digest.update(pd.util.hash_pandas_object(column, index=False).to_numpy().tobytes())
    return digest.hexdigest()[:16]


def content_hash(table: pa.Table) -> tuple[int, str]:
    """Size in bytes and SHA-256 of a table as an Arrow stream, without what only pandas knows of it."""
    notes = {name: note for name, note in (table.schema.metadata or {}).items() if name != b"pandas"}
    digest = _Digest()
    with ipc.new_stream(pa.PythonFile(digest, mode="w"), table.schema.with_metadata(notes)) as stream:
        stream.write_table(table.replace_schema_metadata(notes))
    return digest.size_bytes, digest.sha256.hexdigest()


class _Digest(io.RawIOBase):
    """Counts and hashes what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.size_bytes, self.sha256 = 0, hashlib.sha256()

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.size_bytes

    def write(self, data: Bytes) -> int:  # type: ignore[override]
        self.size_bytes += len(data)
        self.sha256.update(data)
        return len(data)
