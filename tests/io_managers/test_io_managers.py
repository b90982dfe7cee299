"""Raw data in real Dagster runs: which windows arrive, and what is refused."""

# Without `from __future__ import annotations`: Dagster reads the types of contexts when it decorates.

from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pytest
from io_project import Project, seen_windows
from reading_helpers import ANDROID, IOS, START, WEEKS, cells_of, fill, study_lake

from dagster_beiwe.cells import CellKey
from dagster_beiwe.partitions.definitions import participant_partitions, raw_data_partitions, window_partitions
from dagster_beiwe.reading import BeiwePartitions
from dagster_beiwe.simulator import SimulatedServer, World


def test_the_same_partition_gives_one_window(project: Project) -> None:
    """A downstream asset with the partitions of raw_data."""
    key = str(CellKey(IOS, WEEKS[1]))
    assert seen_windows(project, raw_data_partitions(project.study), key) == [f"{IOS}|{WEEKS[1]}"]


def test_a_participant_gives_all_windows(project: Project) -> None:
    """Dagster infers the mapping from the shared dimension; no other participant's data arrives."""
    seen = seen_windows(project, participant_partitions(project.study.id), IOS)
    assert seen == [f"{IOS}|{week}" for week in WEEKS]


def test_a_window_gives_all_participants(project: Project) -> None:
    """The other dimension."""
    weeks = window_partitions("weekly", START.date())
    assert seen_windows(project, weeks, WEEKS[0]) == [f"{each}|{WEEKS[0]}" for each in (ANDROID, IOS)]


def test_no_partitions_give_everything(project: Project) -> None:
    """Windows that were never filled are there without files."""
    assert seen_windows(project, None, None) == [f"{each}|{week}" for each in (ANDROID, IOS) for week in WEEKS]


def test_before_the_first_commit_everything_is_nothing(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A study without data yet is no mistake of an asset over all of it."""
    monkeypatch.setenv("BEIWE_LAKE", str(tmp_path / "not yet there"))
    rows: list[int] = []

    @dg.asset(ins=project.raw_input())
    def downstream(raw: BeiwePartitions) -> None:
        rows.append(len(raw.read("gps")))

    assert project.run(downstream).success
    assert rows == [0]


def test_loading_raw_data_is_logged_once(project: Project) -> None:
    """Not a line per partition."""

    @dg.asset(ins=project.raw_input())
    def downstream(raw: BeiwePartitions) -> None:
        return None

    result = project.run(downstream)
    messages = [event.user_message for event in project.instance.all_logs(result.run_id)]
    lines = [message for message in messages if message.startswith("Raw data of")]
    assert len(lines) == 1
    assert "2 participants" in lines[0]


def test_the_lake_io_manager_stores_nothing(project: Project) -> None:
    """With the advice to take the other one."""

    @dg.asset(key=["beiwe", "sleep", "wrong"], io_manager_key="beiwe_lake_io_manager")
    def wrong() -> pd.DataFrame:
        table: pd.DataFrame = pd.DataFrame({"n": [1]})
        return table

    result = project.run(wrong, raise_on_error=False)
    assert "beiwe_table_io_manager" in str(result.all_events)


def test_raw_data_of_no_study_is_refused(project: Project) -> None:
    """The IO manager needs to know whose passphrase to take."""
    other = dg.AssetSpec("other", metadata={"dagster/io_manager_key": "beiwe_lake_io_manager"})

    @dg.asset(ins={"raw": dg.AssetIn("other")})
    def downstream(raw: Any) -> None: ...

    project.raw = other
    result = project.run(downstream, raise_on_error=False)
    assert "raw_data" in str(result.all_events)


def test_a_filled_lake_is_what_these_tests_read(environment: Path, shared_world: World, tmp_path: Path) -> None:
    """The copy verifies: its manifests are those of the original."""
    lake = study_lake(environment, shared_world)
    fresh = study_lake(tmp_path / "fresh", shared_world)
    with SimulatedServer(shared_world) as server:
        fill(server, fresh, cells_of(ANDROID, weeks=1))
    copied, made = lake.manifest(ANDROID, WEEKS[0]), fresh.manifest(ANDROID, WEEKS[0])
    assert copied is not None
    assert made is not None
    assert copied.data_version == made.data_version
