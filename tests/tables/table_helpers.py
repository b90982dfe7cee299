"""What the tests of tables share: a place for them, and what lies there."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dagster_beiwe.encryption import recorded_name
from dagster_beiwe.lake.catalog.batch import Batch
from dagster_beiwe.lake.layout import ENCRYPTED_SUFFIX, TABLE_SUFFIX, planned_on
from dagster_beiwe.lake.manifest import TableManifest
from dagster_beiwe.lake.staging import EncryptedFile
from dagster_beiwe.maintenance.verify import Finding, verify_study
from dagster_beiwe.tables.files import TableContent, _subject
from dagster_beiwe.tables.store import TableStore

KEY = ["beiwe", "sleep", "daily_gps"]


def tables_below(folder: Path) -> list[str]:
    """Tables in the lake: everything but their tokens and manifests, without what makes their names unique."""
    paths = [path.relative_to(folder).as_posix() for path in folder.rglob("*.parquet*")]
    return sorted(re.sub(r"~\d+-[0-9a-f]{8}(?=\.parquet)", "", path) for path in paths)


def stored_file(folder: Path, name: str = "daily_gps") -> Path:
    """The newest file of a table."""
    paths = folder.glob(f"*/.tables/beiwe/sleep/{name}~*.parquet")
    return max(paths, key=lambda path: planned_on(path.name) or 0)


def stored(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def damaged(store: TableStore) -> list[Finding]:
    return verify_study(store).findings


def laid_back(folder: Path, files: dict[str, bytes]) -> None:
    for path, data in files.items():
        (folder / path).write_bytes(data)


class FormerStore(TableStore):
    """Stores tables as they were before Parquet encrypted them: each file as a whole."""

    def _stage(
        self, batch: Batch, asset_key: Sequence[str], partition: str | None, content: TableContent
    ) -> TableManifest:
        stem = self.layout.home(_subject(asset_key, partition)).manifests
        path = batch.own_name(stem, TABLE_SUFFIX + ENCRYPTED_SUFFIX)
        content.fill(plain := io.BytesIO(), None)
        with self.storage.create(path) as file:
            stored = EncryptedFile(file, self.ring.cipher)
            stored.write(plain.getvalue())
            stored.finish()
        batch.note(path)
        return TableManifest(
            asset_key=tuple(asset_key),
            partition=partition,
            file=path.rpartition("/")[2],
            encryption=recorded_name(self.ring.cipher),
            rows=content.rows,
            size_bytes=len(plain.getvalue()),
            sha256=hashlib.sha256(plain.getvalue()).hexdigest(),
            stored_size_bytes=stored.size_bytes,
            stored_sha256=stored.sha256.hexdigest(),
            written_at=content.written_at,
            run_id=content.run_id,
        )


ROWS = b"rows" + bytes(4) + b"PARE"
"""What has the end of a Parquet file, and no footer."""


def content(fill: Any = lambda sink, key: sink.write(ROWS)) -> TableContent:
    """A table to commit."""
    return TableContent(fill=fill, rows=1, size_bytes=4, sha256="", written_at="now", run_id="r")
