"""The transcript of a new lab: from an empty folder to a first encrypted window, and a second study."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
import yaml
from transcripts import Terminal, transcript

from dagster_beiwe.simulator import ContentPlan, ParticipantPlan, SimulatedServer, StudyPlan, World

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "new-lab.md"
START = datetime(2026, 3, 2, tzinfo=timezone.utc)
IDS = {"Sleep and Mood": "5873fe38644ad7557b168e43", "Walking": "61a0c5d2e4b07f3d9a1b2c3e"}
VARIABLES = ("BEIWE_URL", "BEIWE_ACCESS_KEY", "BEIWE_SECRET_KEY", "BEIWE_LAKE", "BEIWE_LAKE_PASSPHRASE")


@pytest.fixture
def server() -> Iterator[SimulatedServer]:
    plans = [
        StudyPlan(
            name=name,
            id=study_id,
            participants=[ParticipantPlan(id=f"{name[0].lower()}bcd123{number}") for number in range(2)],
            start=START,
            end=START + timedelta(days=14),
            hours=(9, 21),
            streams=("accelerometer", "gps"),
            content=ContentPlan(rows=20),
        )
        for name, study_id in IDS.items()
    ]
    with SimulatedServer(World.build(*plans, now=START + timedelta(days=14))) as running:
        yield running


@pytest.fixture
def terminal(
    server: SimulatedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Terminal]:
    """Somebody sits at it, in an empty folder, with the keys of the server at hand."""
    for name in (*VARIABLES, "BEIWE_KEYRING_SECTION", "BEIWE_KEYRING_FILE", "NRG_KEYRING_PASS", "DAGSTER_HOME"):
        monkeypatch.setenv(name, "")  # so that what commands set is undone
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    answers = {
        "Address": server.url,
        "Access key": server.access_key,
        "Secret key": server.secret_key,
        "Which study": "1",
        "Folder or URL": "",
        "New passphrase": "",
        "passphrase of the study": "of the second study",
        "Passphrase of the keyring file": "ring",
        "NRG_KEYRING_PASS": "ring",
    }
    host = server.url.partition("//")[2]
    places = {"https://studies.example.org": server.url, "studies.example.org": host, "/data": str(tmp_path)}
    yield Terminal(monkeypatch, capsys, places, answers)
    for name in [name for name in sys.modules if name.partition(".")[0] == "lab"]:
        del sys.modules[name]


@pytest.mark.filterwarnings("ignore:Parameter `execution_type`")  # of checks in Dagster's components
def test_each_command_prints_what_the_page_shows(terminal: Terminal, tmp_path: Path) -> None:
    """The first window of the first study is encrypted on the disk, and the second study needs only YAML."""
    init, check, first, coverage, passphrase, second = transcript(PAGE)
    for steps in (init, check, first):
        terminal.play(steps)
    lake = tmp_path / "sleep-lab" / "lake" / IDS["Sleep and Mood"]
    assert len(list(lake.rglob("*.csv.zst.lock"))) == 28
    assert not list(lake.rglob("*.csv"))
    terminal.play(coverage)
    terminal.play(passphrase)
    (entry,) = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    defs = tmp_path / "sleep-lab" / "lab" / "defs" / "beiwe" / "defs.yaml"
    component = yaml.safe_load(defs.read_text())
    component["attributes"]["studies"] += yaml.safe_load(entry)
    defs.write_text(yaml.safe_dump(component))
    for name in [name for name in sys.modules if name.partition(".")[0] == "lab"]:
        del sys.modules[name]  # as a new process would not have it
    terminal.play(second)
