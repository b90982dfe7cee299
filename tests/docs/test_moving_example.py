"""The transcript of a lab that moves from mano, with the files that mano itself has saved."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import ModuleType

import pytest
from old_trees import mano, save_with_mano
from transcripts import Terminal, transcript

from dagster_beiwe.encryption import encrypt_bytes
from dagster_beiwe.simulator import ContentPlan, SimulatedServer, StudyPlan, World

__all__ = ["mano"]

ROOT = Path(__file__).parents[2]
PEOPLE = ["abcd1234", "wxyz9876"]
STREAMS = ("accelerometer", "gps", "survey_answers", "audio_recordings")
START = datetime(2026, 3, 2, tzinfo=timezone.utc)
PLAN = StudyPlan(
    name="Sleep and Mood",
    id="5873fe38644ad7557b168e43",
    participants=PEOPLE,
    start=START,
    end=START + timedelta(days=14),
    hours=(9, 21),
    streams=STREAMS,
    content=ContentPlan(rows=20),
)


@pytest.fixture
def server() -> Iterator[SimulatedServer]:
    with SimulatedServer(World.build(PLAN, now=START + timedelta(days=14))) as running:
        yield running


@pytest.fixture
def terminal(
    mano: ModuleType,
    server: SimulatedServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Terminal:
    """In a lab with mano's keyring, and the folder that mano has filled."""
    span = {"start": "2026-03-02T00:00:00", "end": "2026-03-14T00:00:00"}
    locked = ["gps", "audio_recordings"]
    save_with_mano(mano, server, tmp_path / "mano", PEOPLE, streams=STREAMS, lock=locked, passphrase="old", **span)
    section = {"URL": server.url, "ACCESS_KEY": server.access_key, "SECRET_KEY": server.secret_key}
    ring = json.dumps({"beiwe.study": {**section, "SECRETS": {"Sleep and Mood": "old"}}})
    (tmp_path / ".nrg-keyring.enc").write_bytes(encrypt_bytes(ring.encode(), "ring"))
    (tmp_path / "secure" / "dagster-home").mkdir(mode=0o700, parents=True)
    shutil.copy(ROOT / "dagster.yaml", tmp_path / "secure" / "dagster-home")
    for name in ("BEIWE_URL", "BEIWE_KEYRING_FILE", "BEIWE_LAKE_PASSPHRASE", "BEIWE_OLD_PASSPHRASE", "BEIWE_STUDIES"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"HOME": str(tmp_path), "NRG_KEYRING_PASS": "ring"}.items():
        monkeypatch.setenv(name, value)
    return Terminal(monkeypatch, capsys, {"/data/mano": str(tmp_path / "mano"), "/secure": str(tmp_path / "secure")})


@pytest.mark.filterwarnings("ignore:Function `asset_materialize_command` is superseded")
def test_each_command_prints_what_the_page_shows(terminal: Terminal, server: SimulatedServer) -> None:
    """Of what mano had, only survey answers travel, which no server compares; then only the late hour."""
    world = server.world
    look, adopt, verify, refresh, after = transcript(ROOT / "docs" / "moving-example.md")
    world.add_rows(PEOPLE[0], "gps", START + timedelta(days=1, hours=9))
    server.forget_requests()
    terminal.play(look)
    assert downloaded(server) == []
    terminal.play(adopt)
    terminal.play(verify)
    server.forget_requests()
    world.add_hour(PEOPLE[1], "gps", START + timedelta(days=2, hours=12))
    terminal.play(refresh)
    assert sum(downloaded(server)) < 2_000
    terminal.play(after)


def downloaded(server: SimulatedServer) -> list[int]:
    """The bytes of each archive."""
    return [each.bytes_sent for each in server.requests if "get-data/" in each.route and each.form]
