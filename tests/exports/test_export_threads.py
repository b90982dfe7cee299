"""Threads of an export share the work where that is faster."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from threading import Barrier

import pytest
from core_helpers import PASSPHRASE, STUDY, commit

from dagster_beiwe.exports import raw_data
from dagster_beiwe.exports.folder import ExportFolder, Notes, Request, Written
from dagster_beiwe.exports.selection import Contents, Selection
from dagster_beiwe.lake import BeiweLake
from dagster_beiwe.lake.storage.local import LocalStorage
from dagster_beiwe.progress import Progress


def test_small_files_of_an_object_store_are_fetched_at_the_same_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is a request, which takes its time."""
    lake = BeiweLake(tmp_path / "lake").study(STUDY, passphrase=PASSPHRASE)
    commit(lake, dict.fromkeys(range(4), b"content"))
    together, real = Barrier(2), ExportFolder.write

    def write(self: ExportFolder, path: str, writer: Callable[..., Notes], *, sha256: str | None = None) -> Written:
        together.wait(timeout=30)
        return real(self, path, writer, sha256=sha256)

    monkeypatch.setattr(ExportFolder, "write", write)
    monkeypatch.setattr(LocalStorage, "locks", False)  # as a store
    monkeypatch.setattr(raw_data, "in_jobs", partial(raw_data.in_jobs, most_files=2))
    monkeypatch.setattr(raw_data, "BUSY_THREADS", 2)
    selection, request = Selection(form="tree"), Request(study_id=STUDY, form="tree")
    with ExportFolder.open(tmp_path / "plain", request, lake.state.head, temporary=False) as folder:
        result = raw_data.export(lake, selection, Contents.of(lake, selection), folder, Progress())
    assert result.files == 4
