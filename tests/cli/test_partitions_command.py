"""``dagster-beiwe partitions remove``: a mistyped participant, and nobody else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pandas as pd
import pytest
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill

from dagster_beiwe.cli import main
from dagster_beiwe.lake import StudyLake
from dagster_beiwe.partitions.definitions import participants_name
from dagster_beiwe.simulator import SimulatedServer
from dagster_beiwe.tables.store import TableStore

SLIP = "anna1l11"


@pytest.fixture
def instance(
    environment: Path, study_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dg.DagsterInstance]:
    """Dagster's history, with both participants and a mistyped one as partitions."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}")
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    with dg.DagsterInstance.get() as found:
        found.add_dynamic_partitions(participants_name(study_id), ["anna1111", "bert2222", SLIP])
        yield found


def remove(participant: str, *options: str) -> int:
    return main(["partitions", "remove", "--study", "Sleep", "--participant", participant, *(options or ("--yes",))])


def partitions(instance: dg.DagsterInstance, study_id: str) -> list[str]:
    return list(instance.get_dynamic_partitions(participants_name(study_id)))


def test_a_mistyped_participant_is_removed(
    instance: dg.DagsterInstance, study_id: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Once; the second call says that there is none, and which ids are similar."""
    assert remove(SLIP) == 0
    assert partitions(instance, study_id) == ["anna1111", "bert2222"]
    assert f"Removed {SLIP}" in capsys.readouterr().out
    assert remove(SLIP) == 2
    assert "Similar partitions: anna1111" in capsys.readouterr().err


def test_whoever_is_on_the_server_or_in_the_lake_stays(
    instance: dg.DagsterInstance,
    lake: StudyLake,
    server: SimulatedServer,
    study_id: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Participants of the roster; who has left it with data in the lake; and who has a table there."""
    assert remove("anna1111") == 2
    assert "The server lists this participant" in capsys.readouterr().err
    person = server.world.study(study_id).participants.pop("bert2222")
    try:
        assert remove("bert2222") == 2
    finally:
        server.world.study(study_id).participants["bert2222"] = person
    assert "The lake holds data" in capsys.readouterr().err
    TableStore.of_study(lake).write(
        ["beiwe", "sleep", "days"], pd.DataFrame({"n": [1]}), partition=f"{SLIP}|2024-03-04"
    )
    assert remove(SLIP) == 2
    assert "dagster-beiwe purge" in capsys.readouterr().err
    assert len(partitions(instance, study_id)) == 3


def test_nothing_is_removed_under_a_backfill_or_a_run(
    instance: dg.DagsterInstance, study_id: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Dagster fails backfills whose partitions are removed, and a run that waits could not begin."""
    backfill = PartitionBackfill(
        "abcdefgh", status=BulkActionStatus.REQUESTED, from_failure=False, tags={}, backfill_timestamp=0.0
    )
    instance.add_backfill(backfill)
    assert remove(SLIP) == 2
    assert "Still active: 1 backfill (abcdefgh)" in capsys.readouterr().err
    instance.update_backfill(backfill.with_status(BulkActionStatus.COMPLETED_SUCCESS))

    @dg.op
    def nothing() -> None: ...

    job = dg.GraphDefinition("waiting", node_defs=[nothing]).to_job()
    run = instance.create_run_for_job(job, tags={"dagster/asset_partition_range_end": f"{SLIP}|2024-03-04"})
    assert remove(SLIP) == 2
    assert run.run_id in capsys.readouterr().err
    instance.report_run_canceled(run)
    assert remove(SLIP) == 0
    assert SLIP not in partitions(instance, study_id)


def test_without_a_yes_or_a_home_nothing_happens(
    instance: dg.DagsterInstance, study_id: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody can be asked here, and without DAGSTER_HOME there is nothing to remove from."""
    command = ["partitions", "remove", "--study", "Sleep", "--participant", SLIP]
    assert main(command) == 2
    assert SLIP in partitions(instance, study_id)
    monkeypatch.delenv("DAGSTER_HOME")
    assert main(command) == 2
    assert "DAGSTER_HOME is not set" in capsys.readouterr().err


def test_a_mistyped_home_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A mistyped DAGSTER_HOME, or one whose disk is not mounted, is a message and no traceback."""
    (tmp_path / "file").touch()
    for home in ("not/absolute", f"{tmp_path}/absent", f"{tmp_path}/file"):
        monkeypatch.setenv("DAGSTER_HOME", home)
        for command in (["runs"], ["partitions", "remove", "--study", "S", "--participant", SLIP]):
            assert main(command) == 2
            assert f"DAGSTER_HOME is {home!r}" in capsys.readouterr().err
