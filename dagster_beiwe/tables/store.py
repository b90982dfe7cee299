"""Tables at rest, as DataFrames. ``files`` shows how they are stored in the lake."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timezone

import pandas as pd

from dagster_beiwe.errors import PassphraseMissingError, TableMissingError
from dagster_beiwe.lake.manifest import TableManifest
from dagster_beiwe.tables.files import TableContent, TableFiles
from dagster_beiwe.tables.parquet import arrow_table, read_parquet, write_parquet


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
        return read_parquet(self.load(asset_key, partition=partition)[1], columns=columns, name="/".join(asset_key))

    def find(
        self, asset_key: Sequence[str], *, partition: str | None = None, columns: Sequence[str] | None = None
    ) -> pd.DataFrame | None:
        """A table as ``read`` returns it; None if it was never written."""
        try:
            return self.read(asset_key, partition=partition, columns=columns)
        except TableMissingError:
            return None


def _content(frame: pd.DataFrame, written_at: str, run_id: str) -> TableContent:
    table = arrow_table(frame)
    return TableContent(
        fill=lambda sink: write_parquet(table, sink), rows=table.num_rows, written_at=written_at, run_id=run_id
    )


def require_passphrase(asset_key: Sequence[str], passphrase: str | None, *, variable: str) -> str:
    """The passphrase for a table of no study; raises ``PassphraseMissingError`` if there is none."""
    if passphrase:
        return passphrase
    raise PassphraseMissingError(
        f"No passphrase to encrypt the table {'/'.join(asset_key)}. Nothing was stored. Set {variable}, or say which "
        "study it belongs to: give the asset `metadata=study.to_metadata()`."
    )
