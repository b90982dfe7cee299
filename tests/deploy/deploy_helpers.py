"""A small study, and Dagster's own programs."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path

from typing_extensions import Self

from benchmarks.containers.settings import ROOT
from dagster_beiwe.simulator import ContentPlan, ParticipantPlan, StudyPlan, World

STUDY_ID = "DeployDeployDeployDeploy"
PASSPHRASE = "a passphrase for tests only"
PEOPLE = tuple(f"p{number}person" for number in range(1, 6))
_TODAY = datetime.now(timezone.utc).replace(hour=0, minute=0, second=0, microsecond=0)
START = _TODAY - timedelta(days=_TODAY.weekday() + 7)
WEEKS = tuple(f"{START + timedelta(weeks=number):%Y-%m-%d}" for number in range(2))


def small_world() -> World:
    """Five participants with one file of GPS on each day of last week; this week is still empty."""
    return World.build(
        StudyPlan(
            name="Deploy",
            id=STUDY_ID,
            participants=tuple(ParticipantPlan(id=name) for name in PEOPLE),
            start=START,
            end=START + timedelta(weeks=1),
            hours=(12,),
            streams=("gps",),
            content=ContentPlan(rows=5),
        )
    )


class Program:
    """One of Dagster's programs on this project, with all that it starts; ended at the end of the ``with``."""

    def __init__(self, name: str, *arguments: str, log: Path) -> None:
        self._log = log
        self._output = log.open("wb")
        self.process = subprocess.Popen(
            [str(Path(sys.executable).with_name(name)), *arguments],
            cwd=ROOT,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._output.close()

    def wait_until(self, condition: Callable[[], bool], *, what: str, seconds: float = 600) -> None:
        """Wait for something that the program is expected to do."""
        pause = threading.Event()
        for _ in range(int(seconds * 2)):
            if condition():
                return
            if self.process.poll() is not None:
                break
            pause.wait(0.5)
        raise AssertionError(f"Expected {what} within {seconds:.0f} s.\n{self.log()}")

    def succeeds(self, *, seconds: float = 600) -> bool:
        """Wait for its end."""
        return self.process.wait(seconds) == 0

    def log(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")[-4000:]


def partition_keys(people: Sequence[str] = PEOPLE) -> list[str]:
    return [f"{person}|{week}" for person in people for week in WEEKS]
