"""Ctrl-C in the middle of long work: it says what stands and how to go on, and the next call goes on."""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from filled_lake import PASSPHRASE
from old_trees import save_by_hand
from tasks_elsewhere import force

from dagster_beiwe.cli import main, progress
from dagster_beiwe.lake import BeiweLake, StudyLake
from dagster_beiwe.maintenance.verify import verify_study
from dagster_beiwe.simulator import SimulatedServer

STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143}


class Log(io.StringIO):
    """Standard error, whose reader sends this process a signal at the first line that begins like this."""

    def __init__(self, beginning: str, number: signal.Signals) -> None:
        super().__init__()
        self._beginning, self._number, self._sent = beginning, number, False

    def write(self, text: str) -> int:
        if text.startswith(self._beginning) and not self._sent:
            self._sent = True
            os.kill(os.getpid(), self._number)  # in whatever thread this is
        return super().write(text)


@pytest.fixture
def interrupted(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Runs a command that is ended at a line of its progress, and returns the last line that it says."""

    def run(arguments: list[str], *, at: str, number: signal.Signals = signal.SIGINT) -> str:
        log = Log(at, number)
        with monkeypatch.context() as patched:
            patched.setattr(progress, "_LINE_SECONDS", 1e-9)
            patched.setattr(sys, "stderr", log)
            assert main(arguments) == STATUS[number]
        return log.getvalue().splitlines()[-1]

    return run


def test_verify(lake: StudyLake, interrupted: Callable[..., str]) -> None:
    """It tells how much was verified."""
    said = interrupted(["verify"], at="2 of 4 windows and tables", number=signal.SIGTERM)
    assert said == "Terminated. 2 of 4 windows and tables of the study were verified. Run the command again."


def test_export(lake: StudyLake, interrupted: Callable[..., str], capsys: pytest.CaptureFixture[str]) -> None:
    """Complete files stay, and the same command keeps them."""
    target = lake.storage.describe() + "-plain"
    command = ["export", "--study", "Sleep", "--to", target]
    said = interrupted(command, at="20 of ")
    assert said == (
        f"Interrupted. What is complete in {target} stays, unencrypted. Run the same command again to continue."
    )
    kept = len(list(Path(target).rglob("*.csv")))
    assert main(command) == 0
    assert f"; {kept} were there already" in capsys.readouterr().out
    assert 20 <= kept < len(list(Path(target).rglob("*.csv")))  # not all: what was begun is completed


@pytest.mark.parametrize("elsewhere", [False, True])
def test_rekey(
    lake: StudyLake, tmp_path: Path, interrupted: Callable[..., str], monkeypatch: pytest.MonkeyPatch, elsewhere: bool
) -> None:
    """Windows that were copied stay, and the same command copies the others. It may be at work in several processes."""
    if elsewhere:
        force(2, monkeypatch.setattr)
    monkeypatch.setenv("BEIWE_LAKE_PASSPHRASE_NEW", "another passphrase")
    command = ["rekey", "--to", str(tmp_path / "new")]
    said = interrupted(command, at="3 of 4 windows")
    assert said.startswith("Interrupted. The old lake is unchanged, and the windows that were copied stay in the new")
    assert main(command) == 0
    new = BeiweLake(tmp_path / "new").study(lake.study_id, passphrase="another passphrase")
    assert new.participants() == lake.participants()
    assert verify_study(new).intact


def test_purge(lake: StudyLake, interrupted: Callable[..., str]) -> None:
    """The participant is in no state any more; the same command removes the files that are left."""
    command = ["purge", "--study", "Sleep", "--participant", "anna1111", "--yes"]
    said = interrupted(command, at="0 of ")
    assert said == (
        "Interrupted. What was removed so far stays removed. Run the same command again to remove the rest."
    )
    assert lake.storage.list(f"{lake.study_id}/anna1111")
    assert main(command) == 0
    assert not lake.storage.list(f"{lake.study_id}/anna1111")
    assert verify_study(lake).intact


def test_adopt(
    environment: Path,
    server: SimulatedServer,
    study_id: str,
    tmp_path: Path,
    interrupted: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Complete windows are in the lake, and the same command goes on after them."""
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.setenv("BEIWE_START", "2026-03-02")
    save_by_hand(server.world, tmp_path / "old", streams=("gps",))
    command = ["adopt", str(tmp_path / "old")]
    files = len(server.world.files(study_id, streams=["gps"]))
    said = interrupted([*command, "--dry-run"], at="1 of ")
    assert said == "Interrupted. Nothing was written."
    assert not environment.exists()
    said = interrupted(command, at=f"{files - 1} of ")
    assert said.startswith("Interrupted. The old folder is unchanged, and the windows that were complete are in the")
    lake = BeiweLake(environment).study(study_id, passphrase=PASSPHRASE)
    assert lake.participants() == ["anna1111"]
    assert main(command) == 0
    assert lake.reopened().participants() == ["anna1111", "bert2222"]
    assert "in 2 windows that the lake holds already" in capsys.readouterr().out
