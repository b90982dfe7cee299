"""Every command of ``dg`` that a new user types, in a project that begins with ``dg scaffold defs``."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from click.testing import CliRunner, Result
from dagster_dg_cli.cli import create_dg_cli
from requests.adapters import HTTPAdapter
from urllib3 import Retry
from worlds import ASSETS, PASSPHRASE, START, small_world

from dagster_beiwe import BeiweComponent
from dagster_beiwe.runs.dagster_private import DefinitionsLoadContext
from dagster_beiwe.simulator import SimulatedServer

pytestmark = pytest.mark.filterwarnings("ignore::dagster.BetaWarning")

Dg = Callable[..., Result]
TYPE = "dagster_beiwe.BeiweComponent"
PROJECT = """
[project]
name = "clinic"
version = "0.1"

[tool.dg]
directory_type = "project"

[tool.dg.project]
root_module = "clinic"
"""
DEFINITIONS = """
from pathlib import Path

import dagster as dg


@dg.definitions
def defs():
    return dg.load_from_defs_folder(path_within_project=Path(__file__).parent)
"""
EXECUTOR = """
import dagster as dg

defs = dg.Definitions(executor=dg.in_process_executor)
"""
ASSETS_OF_LAB = """
import dagster as dg


def lab_assets(study):
    @dg.asset(key=["lab", study.key, "days"], deps=[study.asset_key("raw_data")])
    def days() -> None: ...

    return [days]
"""


@pytest.fixture(scope="module")
def server() -> Iterator[SimulatedServer]:
    with SimulatedServer(small_world("Sleep and Mood")) as running:
        yield running


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, server: SimulatedServer) -> Iterator[Path]:
    """A project as ``create-dagster`` makes it, and the environment of a lab."""
    folder = tmp_path_factory.mktemp("project")
    package = folder / "src" / "clinic"
    (package / "defs").mkdir(parents=True)
    for each in (package, package / "defs"):
        (each / "__init__.py").touch()
    (folder / "pyproject.toml").write_text(PROJECT)
    (package / "definitions.py").write_text(DEFINITIONS)
    (package / "defs" / "executor.py").write_text(EXECUTOR)
    (folder / "home").mkdir()
    (folder / "home" / "dagster.yaml").write_text("telemetry: {enabled: false}\nnux: {enabled: false}\n")
    variables = {
        "BEIWE_URL": server.url,
        "BEIWE_ACCESS_KEY": server.access_key,
        "BEIWE_SECRET_KEY": server.secret_key,
        "BEIWE_LAKE": str(folder / "lake"),
        "BEIWE_LAKE_PASSPHRASE": PASSPHRASE,
        "DAGSTER_HOME": str(folder / "home"),
        "DAGSTER_IS_DEV_CLI": "1",  # `dg` sets it for good
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        patch.setattr(DefinitionsLoadContext, "_instance", None)  # what earlier tests loaded
        for name in ("BEIWE_STUDIES", "BEIWE_START", "BEIWE_KEYRING_SECTION", "BEIWE_STRICT"):
            patch.delenv(name, raising=False)
        for each in (folder / "src", folder):  # Dagster leaves out the first place, that of a script
            patch.syspath_prepend(each)
        patch.chdir(folder)
        yield folder
    for name in [each for each in sys.modules if each.split(".")[0] == "clinic"]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def dg(project: Path) -> Dg:
    def run(*arguments: str, status: int = 0) -> Result:
        done = CliRunner().invoke(create_dg_cli(), list(arguments))
        assert done.exit_code == status, f"{done.output}\n{done.exception}"
        return done

    return run


@pytest.fixture(scope="module")
def scaffolded(dg: Dg, project: Path) -> Path:
    """The file that the scaffolder wrote."""
    start = START.isoformat()
    dg("scaffold", "defs", TYPE, "beiwe", "--study", "Sleep and Mood", "--start", start)
    return project / "src" / "clinic" / "defs" / "beiwe" / "defs.yaml"


@pytest.fixture
def defs_yaml(scaffolded: Path) -> Iterator[Path]:
    """The file to change, for one test."""
    before = scaffolded.read_text()
    yield scaffolded
    scaffolded.write_text(before)


def replace(file: Path, before: str, after: str) -> None:
    assert before in file.read_text()
    file.write_text(file.read_text().replace(before, after))


def asset_keys(done: Result) -> set[str]:
    listed: list[dict[str, Any]] = json.loads(done.stdout)["assets"]
    return {each.get("asset_key") or each["key"] for each in listed}


def test_the_component_is_listed_and_explained(dg: Dg) -> None:
    """With what each setting means."""
    assert TYPE in dg("list", "components", "--json").output
    assert "After how many whole days without data" in dg("utils", "inspect-component", TYPE).output
    assert "per_study:" in dg("utils", "inspect-component", TYPE, "--defs-yaml-schema").output


def test_the_scaffolder_fills_in_the_environment_and_a_study(dg: Dg, scaffolded: Path) -> None:
    """Names of variables and no secret; each choice that it shows is one of the schema."""
    written = yaml.safe_load(scaffolded.read_text())
    assert written["attributes"]["studies"][0]["study"] == "Sleep and Mood"
    assert written["attributes"]["deployments"]["beiwe"]["passphrase_variable"] == "BEIWE_LAKE_PASSPHRASE"
    assert "BEIWE_SECRET_KEY" in written["requirements"]["env"]
    assert PASSPHRASE not in scaffolded.read_text()
    dg("check", "yaml", "--validate-requirements")


@pytest.mark.parametrize("options", [(), ("--keyring-section", "lab: one"), ("--format", "python")])
def test_the_scaffolder_writes_what_loads(dg: Dg, project: Path, options: tuple[str, ...]) -> None:
    """Without options every study; the keyring in place of variables; Python in place of YAML."""
    folder = project / "src" / "clinic" / "defs" / "other"
    dg("scaffold", "defs", TYPE, "other", *options)
    if "python" not in options:
        text = (folder / "defs.yaml").read_text()
        component = BeiweComponent.from_attributes_dict(attributes=yaml.safe_load(text)["attributes"])
        assert [study.study for study in component.studies] == ["*"]
        assert component.deployments["beiwe"].keyring_section == (options[1] if options else None)
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()


def test_definitions_are_listed_from_the_state(dg: Dg, scaffolded: Path, server: SimulatedServer) -> None:
    """After one refresh, also while the server is down."""
    dg("utils", "refresh-defs-state")
    server.forget_requests()
    with server.misbehave("status", route="/get-studies/v1", status=503):
        keys = asset_keys(dg("list", "defs", "--json"))
    assert keys == {"beiwe/studies", *(f"beiwe/sleep_and_mood/{name}" for name in (*ASSETS, "streams/gps"))}


def test_a_lab_adds_its_own_assets_in_yaml(dg: Dg, defs_yaml: Path) -> None:
    """With a function in a module beside the file, or anywhere; a wrong path is named."""
    (defs_yaml.parent / "own.py").write_text(ASSETS_OF_LAB)
    replace(defs_yaml, "  automation:", "  per_study: .own.lab_assets\n  automation:")
    assert "lab/sleep_and_mood/days" in asset_keys(dg("list", "defs", "--json"))
    replace(defs_yaml, ".own.lab_assets", "clinic.defs.beiwe.own.lab_assets")
    assert "lab/sleep_and_mood/days" in asset_keys(dg("list", "defs", "--json"))
    replace(defs_yaml, "own.lab_assets", "own.assets")
    assert "own.assets', which cannot be imported" in messages(dg("list", "defs", status=1).exception)


def test_strict_checks_fail_for_a_study_without_assets(
    dg: Dg, defs_yaml: Path, server: SimulatedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For CI: without it, definitions load with a warning."""
    replace(defs_yaml, "management_type:", "key: another\n    management_type:")
    with server.misbehave("status", route="/get-studies/v1", status=403):
        dg("check", "defs")
        monkeypatch.setenv("BEIWE_STRICT", "1")
        dg("check", "defs", status=1)


def test_state_in_the_folder_of_the_project(dg: Dg, defs_yaml: Path, server: SimulatedServer) -> None:
    """For images that are built with it: Dagster keeps it out of git. A refresh moves no key there either."""
    replace(defs_yaml, "VERSIONED_STATE_STORAGE", "LOCAL_FILESYSTEM")
    dg("utils", "refresh-defs-state")
    state = defs_yaml.parents[1] / ".local_defs_state" / "BeiweComponent" / "state"
    assert state.stat().st_mode & 0o077 == 0
    replace(state, '"key": "sleep_and_mood"', '"key": "of_its_first_name"')
    dg("utils", "refresh-defs-state")
    with server.misbehave("status", route="/get-studies/v1", status=503):
        assert "beiwe/of_its_first_name/raw_data" in asset_keys(dg("list", "defs", "--json"))


def test_a_launch_materializes(dg: Dg, scaffolded: Path, project: Path) -> None:
    """Studies and a roster, encrypted in the lake."""
    dg("launch", "--assets", "beiwe/studies,beiwe/sleep_and_mood/roster")
    assert list((project / "lake").rglob("*.parquet"))


def test_the_development_server_shows_the_studies(project: Path, scaffolded: Path) -> None:
    """``dg dev``: its UI answers with the assets."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(project / "src"), *sys.path])}
    program = [sys.executable, "-c", "from dagster_dg_cli.cli import main; main()", "dev", "--port", str(port)]
    session = requests.Session()
    session.mount("http://", HTTPAdapter(max_retries=Retry(connect=10, backoff_factor=0.1)))
    with subprocess.Popen(
        program, cwd=project, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert any("Serving dagster-webserver" in line for line in process.stdout)
            query = {"query": "{ assetNodes { assetKey { path } } }"}
            answer = session.post(f"http://127.0.0.1:{port}/graphql", json=query, timeout=60).json()
            keys = [node["assetKey"]["path"] for node in answer["data"]["assetNodes"]]
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=60)
    assert ["beiwe", "sleep_and_mood", "raw_data"] in keys


def messages(error: BaseException | None) -> str:
    """Of an error and all of its causes."""
    return "" if error is None else f"{error}\n{messages(error.__cause__ or error.__context__)}"
