"""A run that is told to stop, as Ctrl-C, a service manager and the UI's Terminate do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import dagster as dg
import pytest
from stopping_lab import FIRST, KEYS, ROOT, WEEK, Lab

EXECUTORS = ("in_process", "multiprocess")
SECONDS = 10
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Dagster of itself


def test_a_demo_ends_in_the_middle_of_its_first_run(tmp_path: Path) -> None:
    """And does not begin the next one."""
    command = [sys.executable, "-u", "-m", "dagster_beiwe", "demo", "--once", "--folder", str(tmp_path)]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().startswith("study ")
            began = time.monotonic()
            process.send_signal(signal.SIGTERM)
            printed, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert time.monotonic() - began < SECONDS
    assert (process.returncode, printed) in [(130, ""), (143, "")]
    assert errors.endswith("Call the command again to go on.\n")


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_terminated_run_ends_and_is_not_retried(lab: Lab, executor: str) -> None:
    """Within seconds, in the middle of a download; what was committed is recorded, and the next run goes on."""
    with lab.held_run(executor) as process:
        run = lab.newest_run()
        lab.instance.report_run_canceling(run)  # what Terminate does before it sends the signal
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        assert time.monotonic() - began < SECONDS
    ended = lab.newest_run()
    assert ended.run_id == run.run_id
    assert ended.status == dg.DagsterRunStatus.CANCELED, lab.output()
    retries = (dg.DagsterEventType.STEP_UP_FOR_RETRY, dg.DagsterEventType.STEP_RESTARTED)
    assert not [log for kind in retries for log in lab.instance.all_logs(run.run_id, of_type=kind)]
    assert lab.recorded(run) == {f"{FIRST}|{WEEK}"}
    assert not [*(lab.folder / "lake").rglob("*.part"), *(lab.folder / "lake").rglob("*.run")]
    assert lab.recorded(lab.run_here()) == KEYS
