"""Small files are encrypted together: as many as fit into a batch's memory once they are checked."""

from __future__ import annotations

from pathlib import Path

import pytest
from core_helpers import HOUR, PASSPHRASE, PERSON, START, STUDY

from dagster_beiwe.archive import Member
from dagster_beiwe.lake import BeiweLake, LakeWriter
from dagster_beiwe.lake.staging import StagedFile
from dagster_beiwe.member_names import parse_member_name
from dagster_beiwe.sync import FetchPolicy
from dagster_beiwe.sync.staging_pool import Intake, Threads

FILES, CONTENT = 60, b"0,0,0\n" * 30_000


@pytest.mark.parametrize(("compression", "batches"), [("zstd", 1), ("none", 15)])
def test_a_batch_counts_what_its_files_hold(
    folder: Path, compression: str, batches: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is compressed here makes room for more: the more files, the faster they are encrypted."""
    lake = BeiweLake(folder).study(STUDY, passphrase=PASSPHRASE, compression=compression)  # type: ignore[arg-type]
    sizes: list[int] = []
    real = LakeWriter.stage_all

    def count(self: LakeWriter, files: list[object], **options: object) -> object:
        sizes.append(len(files))
        return real(self, files, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(LakeWriter, "stage_all", count)
    policy = FetchPolicy(batch_bytes=4 * len(CONTENT), buffer_bytes=10 * len(CONTENT))
    with LakeWriter(lake, run_id="run") as writer, Threads(2) as threads:
        writer.plan(PERSON, [])
        with Intake(lake, writer, threads, policy, md5=False) as intake:
            for number in range(FILES):
                name = f"{PERSON}/gps/{START + number * HOUR:%Y-%m-%d %H_%M_%S}+00_00.csv"
                member = Member(name, len(CONTENT), iter([CONTENT]))
                intake.add(parse_member_name(name), member, compressed=False)
        assert all(isinstance(each, StagedFile) and each.size_bytes == len(CONTENT) for each in intake.outcomes())
    assert (len(sizes), sum(sizes)) == (batches, FILES)
