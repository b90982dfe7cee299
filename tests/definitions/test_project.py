"""The example project, as a lab runs it: materialized from end to end."""

from __future__ import annotations

import importlib
from datetime import datetime, time, timedelta, timezone
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from worlds import START, WEEKS

from dagster_beiwe.partitions.definitions import participants_name
from dagster_beiwe.partitions.run_keys import MOVED_ONLY, REFRESH_TAG, rectangle_tags, stretch_tags
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
    (files,) = lab.run("participant_files", partition=participants[0]).asset_value([*KEY, "participant_files"]).values()
    assert list(files["stream"]) == ["gps", "power_state"]
    assert min(files["files"]) >= 21
    (overview,) = lab.run("window_overview", partition=WEEKS[0]).asset_value([*KEY, "window_overview"]).values()
    assert sorted(overview["participant"]) == sorted(participants)
    assert set(overview["gps"]) == {7}


class Followers:
    """Evaluates the conditions of the lab's tables as the daemon does, and makes what they request."""

    def __init__(self, lab: Project) -> None:
        self._lab = lab
        self._cursor: Any = None

    def requested(self) -> dict[str, list[str]]:
        """What the next evaluation requests: partitions by table."""
        result = dg.evaluate_automation_conditions(
            self._lab.definitions, self._lab.instance, asset_selection=dg.AssetSelection.all(), cursor=self._cursor
        )
        self._cursor = result.cursor
        tables = ("daily_counts", "participant_files", "window_overview")
        found = {name: result.get_requested_partitions(dg.AssetKey([*KEY, name])) for name in tables}
        return {name: sorted(map(str, keys)) for name, keys in found.items() if keys}

    def follow(self) -> None:
        for name, keys in self.requested().items():
            for key in keys:
                self._lab.run(name, partition=key)


def test_tables_follow_new_content_by_themselves(
    lab: Project, participants: list[str], server: SimulatedServer, study: Study
) -> None:
    """Whatever has raw data is made first, then exactly what late data changes. Nothing is made again after a refresh
    that finds nothing new, when participants are fetched, when somebody joins, or after a run that made it, too."""
    rectangle, followers = dict(rectangle_tags(participants, WEEKS)), Followers(lab)
    assert followers.requested() == {}
    lab.run("raw_data", tags=rectangle)
    followers.follow()
    assert followers.requested() == {}
    lab.run("raw_data", tags={**rectangle, REFRESH_TAG: MOVED_ONLY})
    lab.run("participant", tags=dict(stretch_tags(participants)))
    newcomer = server.world.add_participant(study.id)
    lab.run("roster")
    assert followers.requested() == {}
    noon = datetime.combine(START + timedelta(weeks=1), time(12), timezone.utc)
    server.world.add_rows(participants[1], "gps", noon)
    lab.run("raw_data", tags={**rectangle, REFRESH_TAG: MOVED_ONLY})
    assert followers.requested() == {
        "daily_counts": [f"{participants[1]}|{WEEKS[1]}"],
        "participant_files": [participants[1]],
        "window_overview": [WEEKS[1]],
    }
    assert followers.requested() == {}
    lab.run("raw_data", "daily_counts", partition=f"{newcomer}|{WEEKS[2]}")
    assert followers.requested() == {"participant_files": [newcomer], "window_overview": [WEEKS[2]]}
