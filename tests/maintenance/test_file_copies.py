"""Raw files are copied into another lake batch by batch, each of them once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from core_helpers import PASSPHRASE, PERSON, STUDY, commit
from damage import flip
from hypothesis import given
from hypothesis import strategies as st

from dagster_beiwe.errors import IntegrityError
from dagster_beiwe.lake import BeiweLake, LakeWriter, StudyLake
from dagster_beiwe.lake.manifest import FileRecord
from dagster_beiwe.lake.staging import SMALL_BYTES
from dagster_beiwe.maintenance.file_copies import FileCopier, even_batches, processes_to_copy

FACTS: dict[str, Any] = {
    **dict.fromkeys(("member", "path", "stream", "time", "sha1", "sha256", "stored_sha256"), ""),
    **dict.fromkeys(("encryption", "compression", "first_seen", "fetched_at", "run_id"), ""),
    "survey_id": None, "md5": None, "size_bytes": 0,
}  # fmt: skip


@pytest.mark.parametrize("batch_bytes", [1, 300, 10**6])
def test_every_file_is_copied_once_in_batches_of_any_size(lake: StudyLake, tmp_path: Path, batch_bytes: int) -> None:
    """A batch that was written does not come again with the next one."""
    files = {hour: f"content of hour {hour} ".encode() * 7 for hour in range(1, 6)}
    records = commit(lake, files).files
    target = BeiweLake(tmp_path / "new").study(STUDY, passphrase=f"new {PASSPHRASE}")
    with LakeWriter(target, run_id="copy") as writer, processes_to_copy(lake.files, target.files, number=0) as here:
        writer.plan(PERSON, [])
        copier = FileCopier(lake, target, writer, here, None, encrypt_all=False, batch_bytes=batch_bytes)
        batches = [*copier.batches(PERSON, records)]
        copies = [copied.copy for batch in batches for copied in copier.copy(PERSON, batch)]
        read = [target.read(PERSON, record) for record in copies]  # what is not committed does not stay
    assert len(batches) == {1: 5, 10**6: 1}.get(batch_bytes, len(batches))
    assert [record.key for record in copies] == [record.key for record in records]
    assert read == list(files.values())
    assert len({record.path for record in copies}) == 5


@pytest.mark.parametrize("content", [b"small", b"large" * SMALL_BYTES])
@pytest.mark.parametrize(("change", "said"), [(flip, "is not what was committed"), (Path.unlink, "is missing")])
def test_a_batch_that_fails_leaves_nothing(
    lake: StudyLake, folder: Path, tmp_path: Path, content: bytes, change: Callable[[Path], object], said: str
) -> None:
    """Whichever file it fails at, and in whatever way files are copied; nothing is in doubt afterwards."""
    records = commit(lake, {hour: content + b"%d" % hour for hour in range(1, 4)}).files
    change(folder / lake.folder(PERSON, records[1].path))
    target = BeiweLake(tmp_path / "new").study(STUDY, passphrase=f"new {PASSPHRASE}")
    with LakeWriter(target, run_id="copy") as writer, processes_to_copy(lake.files, target.files, number=0) as here:
        copier = FileCopier(lake, target, writer, here, None, encrypt_all=False)
        (batch,) = copier.batches(PERSON, records)
        with pytest.raises(IntegrityError, match=said):
            copier.copy(PERSON, batch)
        assert not [*(tmp_path / "new").rglob("*.lock")]
    assert not [*(tmp_path / "new").rglob(".beiwe/runs/*")]


@given(sizes=st.lists(st.integers(0, 50), min_size=1, max_size=60), size_bytes=st.integers(1, 200))
def test_batches_are_of_about_the_same_size(sizes: list[int], size_bytes: int) -> None:
    """A small rest would be encrypted slowly. Every file is in one batch, in order."""
    records = [FileRecord(**FACTS, key=str(number), stored_size_bytes=size) for number, size in enumerate(sizes)]
    batches = [*even_batches(records, size_bytes=size_bytes)]
    assert [record for batch in batches for record in batch] == records
    totals = [sum(record.stored_size_bytes for record in batch) for batch in batches]
    share = sum(sizes) / max(1, round(sum(sizes) / size_bytes))
    assert all(abs(total - share) <= max(1, *sizes) for total in totals if len(totals) > 1)
    assert max(totals) <= 1.5 * size_bytes + max(1, *sizes)
