"""Lakes that earlier releases wrote: each stays readable, provable, and writable.

``0.1.0.dev1`` was never released. Its manifests do not end with their sizes.
"""

from __future__ import annotations

import re
import tarfile
from pathlib import Path

import pandas as pd
import pytest
from kept_lakes import ARCHIVES, FRAME, PEOPLE, ROSTER, TABLE, contents, opened

from dagster_beiwe.lake import StudyLake
from dagster_beiwe.lake.snapshots import contents_of, snapshots
from dagster_beiwe.maintenance.verify import verify_study
from dagster_beiwe.tables.store import TableStore

KEPT = sorted(ARCHIVES.glob("*.tar.xz"))


@pytest.fixture(params=KEPT, ids=[path.name.removesuffix(".tar.xz") for path in KEPT])
def lake(request: pytest.FixtureRequest, tmp_path: Path) -> StudyLake:
    """A kept lake, unpacked."""
    folder = tmp_path / "lake"
    with tarfile.open(request.param) as archive:
        archive.extraction_filter = getattr(tarfile, "data_filter", None)  # from 3.11.4 on
        archive.extractall(folder)
    return opened(folder, request.param.name.removesuffix(".tar.xz").rpartition("-")[2])


def test_every_release_left_a_lake_of_each_cipher() -> None:
    """The version of this code, too, before it is released."""
    ciphers: dict[str, set[str]] = {}
    for path in KEPT:
        version, _, cipher = path.name.removesuffix(".tar.xz").rpartition("-")
        ciphers.setdefault(version, set()).add(cipher)
    assert all(each == {"cryptease", "age"} for each in ciphers.values())
    project = (ARCHIVES.parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    assert re.findall(r'(?m)^version = "(.*)"', project)[0] in ciphers


def test_kept_lake_is_read_in_every_state(lake: StudyLake) -> None:
    """All files, those of the snapshot, and the tables."""
    now, before = contents(lake), contents(lake.at("before"))
    assert set(now) == set(before)
    assert [name for name in now if now[name] != before[name]] == ["kept0001/gps/2026-03-02 09_00_00+00_00.csv"]
    (kept,) = snapshots(lake)
    assert contents_of(lake.at("before")).content == kept.snapshot.content
    store = TableStore.of_study(lake)
    pd.testing.assert_frame_equal(store.read(ROSTER), FRAME)
    pd.testing.assert_frame_equal(store.read(TABLE, partition=f"{PEOPLE[0]}|2026-03-02"), FRAME)


def test_kept_lake_is_proven_and_goes_on(lake: StudyLake) -> None:
    assert verify_study(lake).findings == []
    TableStore.of_study(lake).write(ROSTER, FRAME[:1])
    assert len(TableStore.of_study(lake.reopened()).read(ROSTER)) == 1
    assert verify_study(lake.reopened()).findings == []
