"""The benchmarks of whole lakes run, and both sides of a ratio do the same work. No test asserts a time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import lake_report, maintenance, watch
from benchmarks.server import Served
from benchmarks.worlds import build
from dagster_beiwe.lake import BeiweLake
from dagster_beiwe.maintenance.verify import verify_study
from dagster_beiwe.simulator import SimulatedServer


def _served(server: SimulatedServer, workload: str) -> Served:
    data = build(workload, "tiny")
    (study,) = server.world.studies.values()
    return Served(
        url=server.url,
        access_key=server.access_key,
        secret_key=server.secret_key,
        study_id=study.id,
        participants=tuple(study.participants),
        streams=data.streams,
        start=data.start.isoformat(),
        end=data.end.isoformat(),
        files=0,
        size_bytes=0,
    )


def test_each_work_and_its_limit_handle_every_file(tmp_path: Path) -> None:
    """``measure_works`` itself compares the number of files and bytes of both sides."""
    with SimulatedServer(build("lake of small", "tiny").world) as server:
        served = _served(server, "lake of small")
        works = maintenance.measure_works(served, "small", "tiny", folder=tmp_path / "lakes", run=maintenance.carry_out)
    assert {*works} == {*maintenance.WORKS}
    assert {sides[side]["files"] for sides in works.values() for side in sides} == {8}
    costs = {"taken": "2026-01-01", "load": 0.0, "data": {"small": {"title": "Small files, a few", "works": works}}}
    head, rows = lake_report.maintenance_table(costs)
    assert {len(row) for row in rows} == {len(head)}
    assert "8 files" in lake_report.maintenance_facts(costs)


def test_the_watched_lake_is_intact(tmp_path: Path) -> None:
    """Files that are one on the disk, and that nothing has fetched, are what their manifests say."""
    data = build("watched, 1 a day", "tiny")
    with SimulatedServer(data.world) as server:
        served = _served(server, "watched, 1 a day")
        windows = watch.fill(tmp_path / "lake", replace(served, participants=served.participants[:1]), files_a_day=1)
    lake = BeiweLake(tmp_path / "lake").study(served.study_id, passphrase=watch.PASSPHRASE)
    found = verify_study(lake)
    assert found.intact, found.findings
    assert found.windows == windows
    assert found.files >= 7


@pytest.mark.large
def test_a_watching_run_passes_its_checks(tmp_path: Path) -> None:
    """Twice: the second run finds nothing new."""
    costs = watch.measure("tiny", folder=tmp_path / "watch")
    head, rows = lake_report.watch_table(costs)
    assert {len(row) for row in rows} == {len(head)}
    assert "4 windows" in lake_report.watch_facts(costs)
