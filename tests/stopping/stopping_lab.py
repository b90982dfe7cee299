"""A small lab whose runs are processes of their own: a server that can hold a download, and Dagster's own programs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path

import dagster as dg
import pytest

from dagster_beiwe.partitions.definitions import participants_name
from dagster_beiwe.partitions.run_keys import rectangle_tags
from dagster_beiwe.simulator import ContentPlan, ParticipantPlan, SimulatedServer, StudyPlan, World
from dagster_beiwe.simulator.answers import Answer
from dagster_beiwe.simulator.forms import Request
from dagster_beiwe.simulator.misbehavior import Delivery

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
STUDY_ID = "StoppingStoppingStopping"
PASSPHRASE = "a passphrase for tests only"
POOL = "beiwe_test"
FIRST, SECOND = "p1person", "p2person"
_TODAY = datetime.now(timezone.utc).replace(hour=0, minute=0, second=0, microsecond=0)
START = _TODAY - timedelta(days=_TODAY.weekday() + 7)
WEEK = f"{START:%Y-%m-%d}"
KEY = dg.AssetKey(["beiwe", "stopping", "raw_data"])
ROSTER = dg.AssetKey(["beiwe", "stopping", "roster"])
KEYS = {f"{FIRST}|{WEEK}", f"{SECOND}|{WEEK}"}
DEADLINE_SECONDS = 180
SOON_SECONDS = 30
"""Within some seconds, also of a machine that is busy; without being told, what is held would never end."""


class HoldingServer(SimulatedServer):
    """While it holds, downloads of the second participant begin and get no answer."""

    def __init__(self) -> None:
        people = (ParticipantPlan(id=FIRST), ParticipantPlan(id=SECOND))
        plan = StudyPlan(
            name="Stopping",
            id=STUDY_ID,
            participants=people,
            start=START,
            end=START + timedelta(days=2),
            hours=(12,),
            streams=("gps",),
            content=ContentPlan(rows=5),
        )
        super().__init__(World.build(plan))
        self.held = threading.Semaphore(0)
        self._go_on = threading.Event()
        self._go_on.set()

    def respond(self, request: Request) -> tuple[Answer, Delivery]:
        if request.route.startswith("/get-data/") and SECOND in (request.value("user_ids") or ""):
            if not self._go_on.is_set():
                self.held.release()
            while not self._go_on.wait(0.05) and not self.stopping.is_set():
                pass
        return super().respond(request)

    @contextmanager
    def holding(self) -> Iterator[None]:
        self._go_on.clear()
        try:
            yield
        finally:
            self.let_go()

    def let_go(self) -> None:
        self._go_on.set()


class Lab:
    """Dagster's history in a folder, and its command line on the definitions beside this file."""

    def __init__(self, folder: Path, server: HoldingServer, settings: str) -> None:
        self.folder, self.server = folder, server
        self.home = folder / "home"
        self.home.mkdir(parents=True)
        (self.home / "dagster.yaml").write_text(settings)
        self.environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(HERE)]),
            "DAGSTER_HOME": str(self.home),
            "BEIWE_URL": server.url,
            "BEIWE_ACCESS_KEY": server.access_key,
            "BEIWE_SECRET_KEY": server.secret_key,
            "BEIWE_LAKE": str(folder / "lake"),
            "BEIWE_LAKE_PASSPHRASE": PASSPHRASE,
        }
        self.instance = dg.DagsterInstance.from_config(str(self.home))
        self.instance.add_dynamic_partitions(participants_name(STUDY_ID), [FIRST, SECOND])

    def close(self) -> None:
        self.instance.dispose()

    @contextmanager
    def program(
        self, *command: str, name: str = "dagster", variables: Mapping[str, str] | None = None
    ) -> Iterator[subprocess.Popen[bytes]]:
        """One of Dagster's programs; it is gone at the end of the block."""
        with (self.folder / "output.txt").open("ab") as output:
            process = subprocess.Popen(
                [str(Path(sys.executable).with_name(name)), *command],
                cwd=self.folder,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**self.environment, **(variables or {})},
                start_new_session=True,
            )
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def materialize(self, executor: str) -> tuple[Sequence[str], dict[str, str]]:
        """Arguments and environment of a run of both participants."""
        keys = f"{FIRST}|{WEEK}...{SECOND}|{WEEK}"
        command = ("asset", "materialize", "--select", KEY.to_user_string(), "--partition-range", keys)
        return (*command, "-m", "stopping_definitions"), {"STOPPING_EXECUTOR": executor}

    @contextmanager
    def forks(self, executor: str) -> Iterator[Callable[[], int]]:
        """Gives what starts a run of both participants in a fork, and returns its process id."""
        arguments, variables = self.materialize(executor)
        with (self.folder / "output.txt").open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, str(HERE / "stopping_forks.py")],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                env={**self.environment, **variables},
                text=True,
            )
        assert process.stdin is not None
        assert process.stdout is not None
        answers = process.stdout
        assert answers.readline() == "ready\n", self.output()

        def fork() -> int:
            print(json.dumps(arguments), file=process.stdin, flush=True)
            return int(answers.readline())

        with process:
            yield fork
            process.stdin.close()

    @contextmanager
    def held_run(self, executor: str) -> Iterator[subprocess.Popen[bytes]]:
        """A run that has recorded the first participant and waits for the second's download."""
        command, variables = self.materialize(executor)
        with self.server.holding(), self.program(*command, variables=variables) as process:
            self.wait_until(lambda: self.server.held.acquire(timeout=0.1), "a download that is held", process)
            yield process

    @contextmanager
    def variables(self) -> Iterator[None]:
        """The lab's environment, in this process."""
        with pytest.MonkeyPatch.context() as patch:
            for name in ("URL", "ACCESS_KEY", "SECRET_KEY", "LAKE", "LAKE_PASSPHRASE"):
                patch.setenv(f"BEIWE_{name}", self.environment[f"BEIWE_{name}"])
            yield

    def run_here(self, key: dg.AssetKey = KEY, instance: dg.DagsterInstance | None = None) -> dg.DagsterRun:
        """Run an asset in this process; of raw data both participants."""
        from stopping_definitions import defs

        job = defs().resolve_implicit_job_def_def_for_assets([key])
        assert job is not None
        tags = dict(rectangle_tags([FIRST, SECOND], [WEEK])) if key == KEY else {}
        with self.variables():
            result = job.execute_in_process(instance=instance or self.instance, asset_selection=[key], tags=tags)
            return result.dagster_run

    def wait_until(
        self, happened: Callable[[], bool], what: str, process: subprocess.Popen[bytes] | None = None
    ) -> None:
        """Wait for something; fail with what was printed if it does not happen."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        pause = threading.Event()
        while not happened():
            gone = process is not None and process.poll() is not None
            assert not gone, f"Expected {what}.\n{self.output()}"
            assert time.monotonic() < deadline, f"Expected {what}.\n{self.output()}"
            pause.wait(0.05)

    def output(self) -> str:
        return (self.folder / "output.txt").read_text(encoding="utf-8", errors="replace")[-4000:]

    def newest_run(self) -> dg.DagsterRun:
        return self.instance.get_runs(limit=1)[0]

    def was_canceled(self, run: dg.DagsterRun) -> None:
        """Check that a held run was canceled, and that nobody took it up again."""
        assert self.newest_run().run_id == run.run_id
        assert self.newest_run().status == dg.DagsterRunStatus.CANCELED, self.output()
        retries = (dg.DagsterEventType.STEP_UP_FOR_RETRY, dg.DagsterEventType.STEP_RESTARTED)
        assert not [log for kind in retries for log in self.instance.all_logs(run.run_id, of_type=kind)]
        assert self.recorded(run) == {f"{FIRST}|{WEEK}"}
        lake = self.folder / "lake"
        assert not [*lake.rglob("*.part"), *lake.rglob("*.run")]

    def is_finished(self, run: dg.DagsterRun) -> bool:
        now = self.instance.get_run_by_id(run.run_id)
        return now is not None and now.is_finished

    def recorded(self, run: dg.DagsterRun) -> set[str]:
        """Partitions that a run recorded."""
        logs = self.instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
        return {str(log.dagster_event.partition) for log in logs if log.dagster_event}
