"""``dagster-beiwe adopt``: an old tree is in the lake and in Dagster's history as if it had been fetched."""

from __future__ import annotations

import importlib
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from filled_lake import PASSPHRASE
from old_trees import save_by_hand

from dagster_beiwe import build_beiwe_definitions
from dagster_beiwe.cli import main
from dagster_beiwe.lake import BeiweLake, StudyLake
from dagster_beiwe.maintenance.verify import verify_study
from dagster_beiwe.member_names import short_key
from dagster_beiwe.partitions.definitions import participants_name
from dagster_beiwe.partitions.run_keys import rectangle_tags
from dagster_beiwe.runs.dagster_private import CODE_VERSION_TAG
from dagster_beiwe.runs.remembered_heads import head_metadata
from dagster_beiwe.simulator import SimulatedServer
from dagster_beiwe.sync import WindowReport
from dagster_beiwe.sync.study_run import StudyRun

STREAMS = ("accelerometer", "gps", "survey_answers")
WEEKS = ("2026-03-02", "2026-03-09")


@pytest.fixture(scope="session")
def old(server: SimulatedServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a script has unpacked."""
    folder = tmp_path_factory.mktemp("old")
    save_by_hand(server.world, folder, streams=STREAMS)
    return folder


@pytest.fixture
def home(environment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A lab whose Dagster has seen nothing yet."""
    assert not environment.exists()
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("DAGSTER_HOME", str(folder))
    monkeypatch.setenv("BEIWE_START", WEEKS[0])
    monkeypatch.chdir(folder)  # where no project is
    return folder


def adopt(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    status = main(["adopt", *arguments, "--json"])
    return status, json.loads(capsys.readouterr().out)


def events(instance: dg.DagsterInstance, key: dg.AssetKey) -> dict[str, dg.AssetMaterialization]:
    """The newest event of each partition."""
    found: dict[str, dg.AssetMaterialization] = {}
    for record in instance.fetch_materializations(key, limit=100).records:
        event = record.asset_materialization
        assert event is not None
        found.setdefault(str(event.partition), event)
    return found


def facts(event: dg.AssetMaterialization) -> Any:
    """What an event says, without what a run without changes says differently."""
    tags = {name: value for name, value in (event.tags or {}).items() if name != CODE_VERSION_TAG}
    return tags, {name: value for name, value in event.metadata.items() if name not in ("changes", "log_head")}


def test_adopted_windows_are_recorded_as_a_run_records_them(
    home: Path, old: Path, server: SimulatedServer, study_id: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Participants are partitions, and a run that follows finds everything up to date."""
    status, found = adopt(capsys, str(old))
    files = len(server.world.files(study_id))
    answers = sum(file.stream == "survey_answers" for file in server.world.files(study_id))
    assert (status, found["recorded"], found["windows"]) == (0, True, 4)
    assert (found["adopted"], found["sent_again"], found["missing"]) == (files - answers, answers, 0)
    key = dg.AssetKey(["beiwe", "sleep", "raw_data"])
    with dg.DagsterInstance.get() as instance:
        people = instance.get_dynamic_partitions(participants_name(study_id))
        adopted = events(instance, key)
        assert sorted(adopted) == [f"{who}|{week}" for who in sorted(people) for week in WEEKS]
        definitions = build_beiwe_definitions()
        job = definitions.resolve_implicit_global_asset_job_def().get_subset(asset_selection={key})
        server.requests.clear()
        tags = dict(rectangle_tags(people, WEEKS))
        assert job.execute_in_process(instance=instance, tags=tags).success
        fetched = events(instance, key)
    assert {name: facts(event) for name, event in adopted.items()} == {
        name: facts(event) for name, event in fetched.items()
    }
    assert max(each.bytes_sent for each in server.requests if "get-data/" in each.route and each.form) == 116


def test_what_was_adopted_without_dagster_is_recorded_later(
    home: Path, old: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is compared again."""
    monkeypatch.delenv("DAGSTER_HOME")
    monkeypatch.setenv("HOME", str(home))
    assert main(["adopt", str(old), "--participant", "anna1111"]) == 0
    assert "DAGSTER_HOME is not set" in capsys.readouterr().out
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    status, found = adopt(capsys, str(old), "--participant", "anna1111")
    assert (status, found["windows"], found["windows_held"], found["adopted"]) == (0, 0, 2, 0)
    with dg.DagsterInstance.get() as instance:
        assert sorted(instance.get_materialized_partitions(dg.AssetKey(["beiwe", "sleep", "raw_data"]))) == [
            f"anna1111|{week}" for week in WEEKS
        ]


def test_an_adoption_that_was_killed_is_continued(
    home: Path, old: Path, server: SimulatedServer, study_id: str, environment: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With SIGKILL, among the windows of the second participant. Those of the first are not compared again."""
    command = [sys.executable, str(Path(__file__).with_name("killed_command.py")), "80", "adopt", str(old)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    left = [path.read_bytes() for path in environment.rglob("*") if path.is_file()]
    assert not any(b"timestamp" in each[:200] for each in left)
    status, found = adopt(capsys, str(old))
    assert (status, found["recorded"]) == (0, True)
    assert 0 < found["windows_held"] < found["windows_held"] + found["windows"] == 4
    assert found["adopted"] + found["sent_again"] == found["files"]
    lake = BeiweLake(environment).study(study_id, passphrase=PASSPHRASE)
    assert verify_study(lake).findings == []
    held = {record.key for who in lake.participants() for each in lake.manifests(who) for record in each.files}
    assert held == {short_key(file.key) for file in server.world.files(study_id)}
    assert not [*environment.rglob("*.part"), *environment.rglob(".beiwe/runs/*")]
    with dg.DagsterInstance.get() as instance:
        assert len(events(instance, dg.AssetKey(["beiwe", "sleep", "raw_data"]))) == 4


def test_an_interrupted_adoption_tells_what_it_has_found(
    home: Path, old: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody compares these files again. What was not reached is not counted."""

    def interrupted(*arguments: Any) -> Iterator[WindowReport]:
        reports = run(*arguments)
        yield next(reports)
        raise KeyboardInterrupt

    run = StudyRun.sync
    with monkeypatch.context() as patch:
        patch.setattr(StudyRun, "sync", interrupted)
        status, found = adopt(capsys, str(old))
    assert (status, found["finished"], found["not_compared"]) == (130, False, 0)
    status, rest = adopt(capsys, str(old))
    assert (status, rest["finished"]) == (0, True)
    assert 0 < found["adopted"] + found["sent_again"] < found["files"]
    assert found["adopted"] + found["sent_again"] + rest["adopted"] + rest["sent_again"] == found["files"]


def test_a_dry_run_lists_what_the_folder_holds(
    home: Path, old: Path, tmp_path: Path, environment: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By size, days that differ are counted. Nothing is written."""
    copy = tmp_path / "copy"
    shutil.copytree(old, copy)
    (copy / "anna1111" / "gps" / "2026-03-02 09_00_00+00_00.csv").unlink()
    (copy / "notes.txt").write_bytes(b"")
    (copy / "zoe99999" / "gps").mkdir(parents=True)
    (copy / "zoe99999" / "gps" / "2026-03-02 09_00_00+00_00.csv").write_bytes(b"")
    assert main(["adopt", str(copy), "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert "in 4 weekly windows of 2 participants" in printed
    assert "1 file of participants who are not in the study, by participant:\n    zoe99999 (1)" in printed
    assert "notes.txt" in printed
    assert "By size, 83 of 84 days of streams are as the server counts them." in printed
    status, found = adopt(capsys, str(copy), "--dry-run")
    assert (status, found["dry_run"], found["unknown"]) == (0, True, ["notes.txt"])
    assert not environment.exists()


def test_files_that_stay_behind_are_named(
    home: Path, old: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The status is 1 then. A configuration in the project's own module counts."""
    (tmp_path / "lab_project.py").write_text(PROJECT, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    copy = tmp_path / "copy"
    shutil.copytree(old / "anna1111" / "gps", copy / "anna1111" / "gps")
    foreign = copy / "anna1111" / "gps" / "2026-03-02 10_00_00+00_00.csv"
    foreign.write_bytes(b"timestamp,UTC time,latitude,longitude,altitude,accuracy")
    status = main(["adopt", str(copy), "-m", "lab_project", "--study", "Sleep"])
    printed = capsys.readouterr().out
    assert status == 1
    assert "1 file not on the server (foreign)" in printed
    assert "anna1111/gps/2026-03-02 10_00_00+00_00.csv" in printed
    with dg.DagsterInstance.get() as instance:
        (event, *rest) = events(instance, dg.AssetKey(["lab", "raw_data"])).values()
    assert [event.partition, *rest] == ["anna1111|2026-03-01"], "the project's windows are months"
    (study_id,) = BeiweLake(tmp_path / "lake").studies()
    lake = BeiweLake(tmp_path / "lake").study(study_id, passphrase=PASSPHRASE)
    (manifest,) = lake.manifests("anna1111")
    assert {record.stream for record in manifest.files} == {"gps"}
    (home / "workspace.yaml").write_text("load_from:\n  - python_module: lab_project", encoding="utf-8")
    assert main(["adopt", str(copy)]) == 1
    printed = capsys.readouterr().out
    assert "1 file missing from windows that the lake holds as complete:" in printed
    assert "1 file not on the server (foreign)" in printed, "it is named again"
    with dg.DagsterInstance.get() as instance:
        assert len(instance.fetch_materializations(dg.AssetKey(["lab", "raw_data"]), limit=9).records) == 1


PROJECT = """
import dagster as dg
from dagster_beiwe import BeiweTranslator, BeiweTranslatorData, StudyConfig, build_beiwe_definitions


class Lab(BeiweTranslator):
    def get_asset_spec(self, data: BeiweTranslatorData) -> dg.AssetSpec:
        return super().get_asset_spec(data).replace_attributes(key=["lab", data.name])


@dg.definitions
def defs() -> dg.Definitions:
    study = StudyConfig("Sleep", start="2026-03-01", window="monthly", streams=("gps",))
    return build_beiwe_definitions([study], translator=Lab())
"""


MONTHLY = """
from dagster_beiwe import StudyConfig, build_beiwe_definitions

defs = build_beiwe_definitions([StudyConfig("Sleep", start="2026-03-02", window="monthly")])
"""


def raw_data(definitions: dg.Definitions, instance: dg.DagsterInstance, *windows: str) -> bool:
    key = dg.AssetKey(["beiwe", "sleep", "raw_data"])
    job = definitions.resolve_implicit_global_asset_job_def().get_subset(asset_selection={key})
    return job.execute_in_process(instance=instance, tags=dict(rectangle_tags(["anna1111"], windows))).success


def test_a_lake_is_adopted_into_longer_windows_in_the_same_dagster(
    home: Path,
    old: Path,
    environment: Path,
    study_id: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The new log continues the one that Dagster has seen. From a folder that has no log, or for some participants, all
    calls refuse."""
    (tmp_path / "monthly_lab.py").write_text(MONTHLY, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with dg.DagsterInstance.get() as instance:
        instance.add_dynamic_partitions(participants_name(study_id), ["anna1111"])
        assert raw_data(build_beiwe_definitions(), instance, *WEEKS)
    monkeypatch.setenv("BEIWE_LAKE", str(tmp_path / "monthly"))
    call = ["-m", "monthly_lab"]
    for more in ([str(old), "--dry-run"], [str(old)], [str(environment), "--participant", "anna1111"]):
        capsys.readouterr()
        assert main(["adopt", *call, *more]) == 1
        assert "though record" in capsys.readouterr().err
    assert not (tmp_path / "monthly").exists()
    assert main(["adopt", str(environment / study_id), *call, "--dry-run"]) == 0
    assert "in 1 monthly window of 1 participant" in capsys.readouterr().out
    status, found = adopt(capsys, str(environment), *call)
    assert (status, found["windows"], found["recorded"]) == (0, 1, True)
    assert main(["verify"]) == 0
    with dg.DagsterInstance.get() as instance:
        assert raw_data(importlib.import_module("monthly_lab").defs, instance, "2026-03-01")
    monkeypatch.setenv("BEIWE_LAKE", str(tmp_path / "other"))
    monkeypatch.setenv("BEIWE_LAKE_PASSPHRASE", "another")
    assert main(["adopt", str(environment), *call, "--dry-run"]) == 1
    assert "No passphrase that is known opens it" in caplog.text


def test_a_lake_whose_log_is_lost_is_adopted_on_purpose(
    home: Path,
    lake: StudyLake,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its files are proven by the server. What Dagster has seen of the log is given up by name."""
    with dg.DagsterInstance.get() as instance:
        key = dg.AssetKey(["beiwe", "sleep", "raw_data"])
        instance.report_runless_asset_event(dg.AssetMaterialization(key, metadata=head_metadata(lake)))
    (record,) = tmp_path.glob("lake/*/.beiwe/log/*/000")
    record.unlink()
    call = ["adopt", str(tmp_path / "lake")]
    monkeypatch.setenv("BEIWE_LAKE", str(tmp_path / "new"))
    assert main(call) == 1
    assert "though record" in capsys.readouterr().err
    monkeypatch.delenv("DAGSTER_HOME")
    assert main(call) == 0
    assert "does not continue the log" in caplog.text
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    assert main(["verify", "--share", "0"]) == 1
    assert main(["verify", "--accept", "--yes", "--share", "0"]) == 0
    capsys.readouterr()
    status, found = adopt(capsys, *call[1:])
    assert (status, found["windows_held"], found["recorded"]) == (0, 4, True)


def test_a_mistyped_home_of_dagster_is_not_made(
    home: Path, old: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody would look for the history there."""
    monkeypatch.setenv("DAGSTER_HOME", str(home / "mistyped"))
    assert main(["adopt", str(old), "--dry-run"]) == 2
    assert "not the absolute path of a folder" in capsys.readouterr().err
    assert not (home / "mistyped").exists()


def test_a_server_out_of_reach_is_said_to_be_that(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever loads a project is only warned."""
    monkeypatch.setenv("BEIWE_URL", "http://127.0.0.1:9")
    assert main(["adopt", str(tmp_path)]) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith("ConnectionFailedError: ")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["missing-folder"], "is not a folder"),
        ([".", "-m", "no_such_module"], "cannot be imported"),
        ([".", "-m", "json"], "has 0 definitions"),
        ([".", "--study", "Slep"], "Did you mean 'Sleep'"),
        ([".", "--participant", "nobody99"], "no participants nobody99"),
        (["."], "no file that could be one of the study's"),
        ([".."], "which is only read"),
    ],
)
def test_a_wrong_call_adopts_nothing(
    home: Path,
    environment: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    told: str,
) -> None:
    """The status is 2, and the message says what to do."""
    (tmp_path / "old").mkdir()
    monkeypatch.chdir(tmp_path / "old")
    assert main(["adopt", *arguments]) == 2
    assert told in capsys.readouterr().err
    assert not environment.exists()
