"""Tables at rest, as DataFrames. ``files`` shows how they are stored in the lake."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from functools import partial
from typing import BinaryIO

import pandas as pd

from dagster_beiwe.encryption import UNENCRYPTED
from dagster_beiwe.errors import PassphraseMissingError, TableMissingError
from dagster_beiwe.lake.manifest import TableManifest
from dagster_beiwe.tables.content import content_hash
from dagster_beiwe.tables.files import TableContent, TableFiles
from dagster_beiwe.tables.parquet import arrow_table, read_parquet, write_parquet
from dagster_beiwe.tables.stored import StoredTable


class TableStore(TableFiles):
    """Writes and reads tables of a study, or tables of no study, as DataFrames."""

    def write(
        self, asset_key: Sequence[str], frame: pd.DataFrame, *, partition: str | None = None, run_id: str = ""
    ) -> TableManifest:
        """Store a table, replacing its former version. Raises as ``write_all`` does."""
        return self.write_all(asset_key, {partition: frame}, run_id=run_id)[partition]

    def write_all(
        self, asset_key: Sequence[str], frames: Mapping[str | None, pd.DataFrame], *, run_id: str = ""
    ) -> dict[str | None, TableManifest]:
        """Store an asset's tables by partition (None: no partitions), each replacing its former version.

        Raises ``ConfigurationError`` for what Parquet can't hold, and ``WrongPassphraseError``, before anything is
        written; ``IntegrityError`` for a damaged log.
        """
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        contents = {partition: _content(frame, now, run_id) for partition, frame in frames.items()}
        return self.commit(asset_key, contents, run_id=run_id)

    def read(
        self, asset_key: Sequence[str], *, partition: str | None = None, columns: Sequence[str] | None = None
    ) -> pd.DataFrame:
        """A table with the types it was written with; ``columns`` selects some, in that order.

        Raises ``TableMissingError`` if it was never written, ``IntegrityError`` if it was changed,
        ``WrongPassphraseError``, and ``ConfigurationError`` for columns that it does not have.
        """
        table = self.opened(asset_key, partition=partition)
        opener = table.opener()
        with table.proven():
            return read_parquet(opener, columns=columns, name="/".join(asset_key))

    def find(
        self, asset_key: Sequence[str], *, partition: str | None = None, columns: Sequence[str] | None = None
    ) -> pd.DataFrame | None:
        """A table as ``read`` returns it; None if it was never written."""
        try:
            return self.read(asset_key, partition=partition, columns=columns)
        except TableMissingError:
            return None

    def adopt(self, source: StoredTable, *, run_id: str) -> None:
        """Store a table of another log with its history: the same file under a newly wrapped key, if it has one."""
        was, encrypts = source.manifest, self.ring.cipher is not None
        if (encrypts and source.key) or (not encrypts and was.encryption == UNENCRYPTED):
            fill = partial(_write_bytes, source.stored())
        else:
            with source.parquet() as file, source.proven():
                fill = partial(write_parquet, file.read())
        content = TableContent(
            fill=fill,
            rows=was.rows,
            size_bytes=was.size_bytes,
            sha256=was.sha256,
            written_at=was.written_at,
            run_id=was.run_id,
            key=source.key if encrypts else None,
        )
        self.commit(was.asset_key, {was.partition: content}, run_id=run_id)


def _write_bytes(data: bytes, sink: BinaryIO, _key: object) -> None:
    sink.write(data)


def _content(frame: pd.DataFrame, written_at: str, run_id: str) -> TableContent:
    table = arrow_table(frame)
    size_bytes, sha256 = content_hash(table)
    return TableContent(
        fill=partial(write_parquet, table),
        rows=table.num_rows,
        size_bytes=size_bytes,
        sha256=sha256,
        written_at=written_at,
        run_id=run_id,
    )


def require_passphrase(asset_key: Sequence[str], passphrase: str | None, *, variable: str) -> str:
    """The passphrase for a table of no study; raises ``PassphraseMissingError`` if there is none."""
    if passphrase:
        return passphrase
    raise PassphraseMissingError(
        f"No passphrase to encrypt the table {'/'.join(asset_key)}. Nothing was stored. Set {variable}, or say which "
        "study it belongs to: give the asset `metadata=study.to_metadata()`."
    )
