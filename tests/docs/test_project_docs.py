"""The pages about a project of one's own and about scripts: their code and files do what they say."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from dagster._cli import create_dagster_cli
from dagster_dg_cli.cli import create_dg_cli

from dagster_beiwe import BeiweLake
from dagster_beiwe.runs.dagster_private import DefinitionsLoadContext
from dagster_beiwe.simulator import ContentPlan, SimulatedServer, StudyPlan, World

REPOSITORY = Path(__file__).parents[2]
PASSPHRASE = "a passphrase for tests only"


def blocks(page: str, language: str) -> list[str]:
    text = (REPOSITORY / "docs" / page).read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimulatedServer]:
    """A server with the study of the pages, which sends gps and power state since last week."""
    now = datetime.now(timezone.utc).replace(minute=0, second=0, microsecond=0)
    streams = ("gps", "power_state")
    plan = StudyPlan(
        name="Sleep and Mood",
        participants=2,
        start=now - timedelta(days=7),
        hours=(9,),
        streams=streams,
        content=ContentPlan(rows=3),
    )
    with SimulatedServer(World.build(plan, now=now)) as running:
        monkeypatch.setenv("BEIWE_URL", running.url)
        monkeypatch.setenv("BEIWE_ACCESS_KEY", running.access_key)
        monkeypatch.setenv("BEIWE_SECRET_KEY", running.secret_key)
        yield running


def test_a_project_in_yaml(server: SimulatedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The component of the page, a lab's assets beside it, and a subclass of it, as `dg` loads them."""
    component, local = (yaml.safe_load(text) for text in blocks("project.md", "yaml")[:2])
    lab, subclass, _ = blocks("project.md", "python")
    component["attributes"]["defs_state"] = local["attributes"]["defs_state"]
    package = tmp_path / "src" / "clinic"
    for folder in (package, package / "defs", package / "defs" / "beiwe", package / "components"):
        folder.mkdir(parents=True)
        (folder / "__init__.py").touch()
    (tmp_path / "dg.toml").write_text('directory_type = "project"\n[project]\nroot_module = "clinic"\n')
    (package / "definitions.py").write_text((REPOSITORY / "beiwe_project" / "definitions.py").read_text())
    (package / "components" / "beiwe.py").write_text(subclass)
    (package / "defs" / "beiwe" / "lab.py").write_text(lab)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    monkeypatch.setenv("DAGSTER_IS_DEV_CLI", "1")  # `dg` sets it for good
    monkeypatch.setenv("DAGSTER_DISABLE_TELEMETRY", "1")
    monkeypatch.setattr(DefinitionsLoadContext, "_instance", None)  # what earlier tests loaded
    monkeypatch.chdir(tmp_path)
    with monkeypatch.context() as path:
        path.syspath_prepend(tmp_path / "src")
        for kind in (component["type"], "clinic.components.beiwe.ClinicComponent"):
            (package / "defs" / "beiwe" / "defs.yaml").write_text(yaml.safe_dump({**component, "type": kind}))
            for command in (["check", "yaml"], ["utils", "refresh-defs-state"], ["list", "defs", "--json"]):
                done = CliRunner().invoke(create_dg_cli(), command)
                assert done.exit_code == 0, f"{done.output}\n{done.exception}"
            listed = {each["asset_key"]: each for each in json.loads(done.stdout)["assets"]}
            assert {"beiwe/sleep/streams/gps", "lab/sleep/gps_rows"} < listed.keys()
            overridden = {"key": "clinic", "value": "north"} in listed["beiwe/sleep/roster"]["tags"]
            assert overridden is (kind != component["type"])
    for name in [each for each in sys.modules if each.split(".")[0] == "clinic"]:
        del sys.modules[name]


@pytest.mark.filterwarnings("ignore:Function `definitions_validate_command` is superseded")
def test_three_files_are_a_project(server: SimulatedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In Python: Dagster's own command loads them, in a folder with nothing else."""
    *_, definitions = blocks("project.md", "python")
    *_, workspace, instance = blocks("project.md", "yaml")
    home, lab = tmp_path / "home", tmp_path / "lab"
    home.mkdir()
    lab.mkdir()
    (lab / "definitions.py").write_text(definitions)
    (lab / "workspace.yaml").write_text(workspace)
    (home / "dagster.yaml").write_text(instance)
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    monkeypatch.chdir(lab)
    done = CliRunner().invoke(create_dagster_cli(), ["definitions", "validate"])
    assert done.exit_code == 0, done.output[-2000:]
    assert "Validation successful for code location beiwe" in done.output


def test_the_instance_that_is_shown_is_the_repositorys() -> None:
    """One text, in two places."""
    shown = yaml.safe_load(blocks("project.md", "yaml")[-1])
    assert shown == yaml.safe_load((REPOSITORY / "dagster.yaml").read_text(encoding="utf-8"))


def run_script(number: int, start: datetime, **names: Any) -> dict[str, Any]:
    code = blocks("scripts.md", "python")[number]
    for month, day in ((3, start), (4, start + timedelta(days=30))):
        code = code.replace(f"datetime(2024, {month}, 1,", f"datetime({day.year}, {day.month}, {day.day},")
    code = code.replace("/data/lake", str(names.pop("folder", "/data/lake")))
    exec(compile(code, "docs/scripts.md", "exec"), names)
    return names


def test_the_download_is_a_whole_archive(server: SimulatedServer) -> None:
    """Every file of one stream of one participant, and the registry last."""
    start = server.world.now - timedelta(days=10)
    names = run_script(0, start)
    assert list(names["sizes"])[-1] == "registry"
    assert len(names["sizes"]) == 1 + 7
    assert all("/gps/" in name and size for name, size in names["sizes"].items() if name != "registry")


def test_the_backfill_fills_a_lake_and_is_the_refresh_as_well(
    server: SimulatedServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The second time nothing is new."""
    start = server.world.now - timedelta(days=10)
    for new in (True, False):
        names = run_script(1, start, passphrase=PASSPHRASE, folder=tmp_path / "lake")
        assert names["unfinished"] == []
        assert any(not line.endswith(" 0 new") for line in capsys.readouterr().out.splitlines()) is new
    (study_id,) = server.world.studies
    lake = BeiweLake(tmp_path / "lake").study(study_id, passphrase=PASSPHRASE)
    files = [record for who in lake.participants() for each in lake.manifests(who) for record in each.files]
    assert len(files) == 2 * 2 * 7
    assert {(record.stream, record.encryption) for record in files} == {("gps", "cryptease"), ("power_state", "none")}


def test_the_comparison_finds_what_has_the_same_size(server: SimulatedServer, tmp_path: Path) -> None:
    """On the lake of the backfill; the second time nothing differs."""
    start = server.world.now - timedelta(days=10)
    run_script(1, start, passphrase=PASSPHRASE, folder=tmp_path / "lake")
    file = next(file for file in server.world.files(*server.world.studies) if file.stream == "gps")
    server.world.set_content(file.participant_id, "gps", file.bin, file.read()[:-1] + b"#")
    for restated in (1, 0):
        names = run_script(2, start, passphrase=PASSPHRASE, folder=tmp_path / "lake")
        assert names["failed"] == []
        assert [report.changed for report in names["restated"]] == [1] * restated
