"""Raw files are copied into another lake batch by batch, each of them once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from core_helpers import PASSPHRASE, PERSON, STUDY, commit

from dagster_beiwe.lake import BeiweLake, LakeWriter, StudyLake
from dagster_beiwe.maintenance.file_copies import FileCopier


@pytest.mark.parametrize("batch_bytes", [1, 300, 10**6])
def test_every_file_is_copied_once_in_batches_of_any_size(lake: StudyLake, tmp_path: Path, batch_bytes: int) -> None:
    """A batch that was written does not come again with the next one."""
    files = {hour: f"content of hour {hour} ".encode() * 7 for hour in range(1, 6)}
    records = commit(lake, files).files
    target = BeiweLake(tmp_path / "new").study(STUDY, passphrase=f"new {PASSPHRASE}")
    with LakeWriter(target, run_id="copy") as writer, ThreadPoolExecutor(2) as pool:
        copier = FileCopier(lake, target, writer, pool, None, encrypt_all=False, batch_bytes=batch_bytes)
        copies = [record for record, _ in copier.copy(PERSON, records)]
        read = [target.read(PERSON, record) for record in copies]  # what is not committed does not stay
    assert [record.key for record in copies] == [record.key for record in records]
    assert read == list(files.values())
    assert len({record.path for record in copies}) == 5
