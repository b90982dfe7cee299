"""Commands that are told to stop: they end at once, with one line, and leave nothing half."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dagster_beiwe.cli import main
from dagster_beiwe.lake import StudyLake
from dagster_beiwe.maintenance.verify import verify_study
from dagster_beiwe.simulator import SimulatedServer
from dagster_beiwe.simulator.answers import Answer
from dagster_beiwe.simulator.forms import Request
from dagster_beiwe.simulator.misbehavior import Delivery

COMMANDS = {
    "verify": ["verify"],
    "export": ["export", "--study", "Sleep", "--to", "plain"],
    "rekey": ["rekey", "--to", "copy"],
    "purge": ["purge", "--study", "Sleep", "--participant", "anna1111", "--yes"],
}


INTERRUPTED_IMPORT = """
import os, signal, sys

class Interrupt:
    def find_spec(self, name, path, target=None):
        if name == sys.argv[1]:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupt())
from dagster_beiwe.cli import main
sys.exit(main(["verify"]))
"""


@pytest.mark.parametrize("module", ["click", "dagster_beiwe.cli.verify", "requests", "numpy"])
def test_a_command_that_is_still_starting_ends_with_one_line(module: str) -> None:
    """Ctrl-C is understood while modules are imported."""
    command = [sys.executable, "-c", INTERRUPTED_IMPORT, module]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "Interrupted. What was done so far is kept.\n")


HALF_MADE = """
import sys
from dagster_beiwe.cli import commands, main

class HalfMade:
    def __del__(self):
        raise AttributeError("it was never made")

def run(words):
    half_made = HalfMade()
    raise KeyboardInterrupt

commands.run = run
sys.exit(main(["verify"]))
"""


def test_what_an_interrupt_leaves_half_made_says_nothing() -> None:
    """Such as resources of Dagster, while definitions load."""
    done = subprocess.run([sys.executable, "-c", HALF_MADE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "Interrupted. What was done so far is kept.\n")


class InterruptingServer(SimulatedServer):
    """Sends this process a signal in the place of its first answer, and then nothing."""

    number = signal.SIGTERM

    def respond(self, request: Request) -> tuple[Answer, Delivery]:
        os.kill(os.getpid(), self.number)
        self.stopping.wait()
        return super().respond(request)


@pytest.fixture
def silent(server: SimulatedServer, environment: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[InterruptingServer]:
    with InterruptingServer(server.world) as running:
        monkeypatch.setenv("BEIWE_URL", running.url)
        yield running


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_ends_with_one_line(
    command: str,
    number: signal.Signals,
    status: int,
    silent: InterruptingServer,
    lake: StudyLake,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With the exit status that shells give; the lake is as it was."""
    silent.number = number
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BEIWE_LAKE_PASSPHRASE_NEW", "another passphrase")
    before = sorted(tmp_path.rglob("*"))
    handler = signal.getsignal(signal.SIGTERM)
    assert main(COMMANDS[command]) == status
    printed = capsys.readouterr()
    (line,) = printed.err.splitlines()
    assert line.startswith("Terminated. " if number == signal.SIGTERM else "Interrupted. ")
    assert sorted(tmp_path.rglob("*")) == before
    assert verify_study(lake).intact
    assert signal.getsignal(signal.SIGTERM) == handler
