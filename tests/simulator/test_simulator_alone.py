"""The simulator as a process of its own, steered over HTTP; and mano as a client of it."""

from __future__ import annotations

import importlib
import locale
import re
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import requests
from simulator_helpers import ALPHA, BETA, Client, hour

from dagster_beiwe.simulator import SimulatedServer, World
from dagster_beiwe.simulator.control import MUTATIONS
from dagster_beiwe.simulator.misbehavior import NAMES


@pytest.fixture
def steered(world: World) -> Iterator[Client]:
    with SimulatedServer(world, control=True) as server, requests.Session() as session:
        yield Client(server, session)


def steer(client: Client, action: str, **arguments: object) -> requests.Response:
    return client.session.post(f"{client.server.url}/_simulator/{action}", json=arguments, timeout=10)


def test_world_can_be_changed_over_http(steered: Client) -> None:
    """Mutations and misbehaviors, with times as ISO 8601; nothing of it is in the request log."""
    when = hour(8).isoformat()
    before = steered.registry(user_ids='["andr1aaa"]', data_streams='["gps"]')
    steer(steered, "add_rows", participant_id="andr1aaa", stream="gps", hour=when, rows=4).raise_for_status()
    after = steered.registry(user_ids='["andr1aaa"]', data_streams='["gps"]')
    assert sum(before[key] != after[key] for key in before) == 1
    steer(steered, "misbehave", name="status", status=503, times=1).raise_for_status()
    assert steered.post("get-studies/v1").status_code == 503
    added = steer(steered, "add_participant", study_id=BETA, os="IOS").json()["id"]
    assert added in steer(steered, "world").json()[BETA]["participants"]
    assert [record["status"] for record in steer(steered, "requests").json()] == [200, 200, 503]


def test_mistakes_in_steering_are_explained(steered: Client) -> None:
    """400 with the reason; nothing happens."""
    assert "no such action" in steer(steered, "explode").json()["error"]
    assert steer(steered, "add_rows", participant_id="zzz", stream="gps", hour="2026-10-05").status_code == 400
    assert steer(steered, "misbehave", name="explode").status_code == 400


def test_steering_is_off_unless_asked_for(client: Client) -> None:
    """A server in a test has no control route."""
    assert steer(client, "world").status_code == 404


def test_module_runs_alone_until_sigterm() -> None:
    """Prints where it is and its synthetic keys, answers, and ends cleanly."""
    command = [sys.executable, "-W", "error", "-m", "dagster_beiwe.simulator", "--seed", "7", "--profile", "2025-06"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        settings = dict(process.stdout.readline().strip().split("=", 1) for _ in range(5))
        keys = {"access_key": settings["BEIWE_ACCESS_KEY"], "secret_key": settings["BEIWE_SECRET_KEY"]}
        studies = requests.post(f"{settings['BEIWE_URL']}/get-studies/v1", data=keys, timeout=10).json()
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=120)
    assert (process.returncode, errors) == (0, "")
    assert len(studies) == 3
    assert set(studies) == set(World.demo(seed=7).studies)


def test_import_is_cheap() -> None:
    """Neither Dagster nor anything else that a lab's tests would have to wait for."""
    code = "import sys, dagster_beiwe.simulator as s; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert not loaded & {"dagster", "pandas", "pyarrow", "requests", "zstandard", "numpy"}


@pytest.fixture
def mano(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """mano 0.6.0 as an oracle; its import asks for a locale that may not be installed."""
    pytest.importorskip("cryptease")
    with monkeypatch.context() as patch:
        patch.setattr(locale, "setlocale", lambda *_: "C")
        yield importlib.import_module("mano")


@pytest.mark.filterwarnings("ignore")
def test_mano_lists_and_downloads(server: SimulatedServer, mano: ModuleType) -> None:
    """The other client of this protocol finds studies, participants and a zip that it can read."""
    sync = importlib.import_module("mano.sync")
    keyring = {
        "URL": server.url,
        "ACCESS_KEY": server.access_key,
        "SECRET_KEY": server.secret_key,
        "USERNAME": server.username,
        "PASSWORD": server.password,
    }
    assert dict(mano.studies(keyring)) == {"Alpha Study": ALPHA, "Beta Étude": BETA}
    assert set(mano.users(keyring, ALPHA)) == {"andr1aaa", "iphn2aaa", "12345678", "nodt4aaa"}
    archive = sync.download(
        keyring,
        ALPHA,
        ["andr1aaa"],
        data_streams=["gps"],
        time_start="2026-10-05T00:00:00",
        time_end="2026-10-05T07:59:59",
    )
    assert isinstance(archive, zipfile.ZipFile)
    assert archive.testzip() is None
    assert re.fullmatch(r"andr1aaa/gps/2026-10-05 00_00_00\+00_00\.csv", archive.namelist()[0])


def test_example_of_the_documentation_runs() -> None:
    """What docs/simulator.md shows first works as it stands."""
    text = (Path(__file__).parents[2] / "docs" / "simulator.md").read_text(encoding="utf-8")
    examples = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    assert examples
    for example in examples:
        exec(compile(example, "docs/simulator.md", "exec"), {})


def test_every_misbehavior_and_change_is_documented() -> None:
    """A name that is not in docs/simulator.md will not be found."""
    text = (Path(__file__).parents[2] / "docs" / "simulator.md").read_text(encoding="utf-8")
    for name in (*NAMES, *MUTATIONS):
        assert f"`{name}" in text, name
