"""The example project, as a lab runs it: materialized from end to end."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from worlds import START, WEEKS

from dagster_beiwe.partitions.definitions import participants_name
from dagster_beiwe.partitions.run_keys import rectangle_tags
from dagster_beiwe.simulator import SimulatedServer
from dagster_beiwe.studies.study import Study

ROOT = Path(__file__).parents[2]
KEY = ["beiwe", "sleep_and_mood"]


@pytest.fixture
def project(server: SimulatedServer, monkeypatch: pytest.MonkeyPatch) -> dg.Definitions:
    """The definitions of beiwe_project for the simulated server."""
    monkeypatch.syspath_prepend(ROOT)
    monkeypatch.setenv("BEIWE_START", START.isoformat())
    definitions: dg.Definitions = importlib.import_module("beiwe_project.definitions").defs()
    return definitions


class Project:
    """Materialises assets of the project in this process."""

    def __init__(self, definitions: dg.Definitions, instance: dg.DagsterInstance) -> None:
        self.definitions, self.instance = definitions, instance

    def run(self, *names: str, tags: dict[str, str] | None = None, partition: str | None = None) -> Any:
        keys = [dg.AssetKey([*KEY, name]) for name in names]
        job = self.definitions.resolve_implicit_job_def_def_for_assets(keys)
        assert job is not None
        return job.execute_in_process(
            instance=self.instance, asset_selection=keys, tags=tags, partition_key=partition, raise_on_error=True
        )


@pytest.fixture
def lab(project: dg.Definitions, instance: dg.DagsterInstance, study: Study) -> Project:
    """With the roster's partitions."""
    lab = Project(project, instance)
    lab.run("roster", "settings")
    return lab


@pytest.fixture
def participants(lab: Project, study: Study) -> list[str]:
    return list(lab.instance.get_dynamic_partitions(participants_name(study.id)))


def test_one_click_on_one_partition_does_everything_downstream(lab: Project, participants: list[str]) -> None:
    """Raw data and what is made of the same partition, in one run."""
    result = lab.run("raw_data", "daily_counts", partition=f"{participants[0]}|{WEEKS[1]}")
    recorded = {(event.asset_key.path[-1], event.partition) for event in result.get_asset_materialization_events()}
    assert recorded == {(name, f"{participants[0]}|{WEEKS[1]}") for name in ("raw_data", "daily_counts")}
    table = result.asset_value([*KEY, "daily_counts"])
    frame = next(iter(table.values())) if isinstance(table, dict) else table
    assert len(frame) == 7
    assert list(frame["gps_fixes"]) == [5] * 7


def test_tables_over_participants_windows_and_partitions(lab: Project, participants: list[str]) -> None:
    """Each partition mapping hands an asset its raw data: same partitions, one participant, one window."""
    rectangle = dict(rectangle_tags(participants, WEEKS))
    lab.run("raw_data", tags=rectangle)
    daily = lab.run("daily_counts", tags=rectangle)
    assert len(daily.get_asset_materialization_events()) == len(participants) * len(WEEKS)
    files = lab.run("participant_files", partition=participants[0]).asset_value([*KEY, "participant_files"])
    assert list(files["stream"]) == ["gps", "power_state"]
    assert min(files["files"]) >= 21
    overview = lab.run("window_overview", partition=WEEKS[0]).asset_value([*KEY, "window_overview"])
    assert sorted(overview["participant"]) == sorted(participants)
    assert set(overview["gps"]) == {7}
