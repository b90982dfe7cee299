"""A run that is told to stop, as Ctrl-C, a service manager and the UI's Terminate do."""

from __future__ import annotations

import os
import signal
import threading
import time

import dagster as dg
import pytest
from stopping_definitions import defs
from stopping_lab import DEADLINE_SECONDS, FIRST, KEY, KEYS, SECOND, SOON_SECONDS, WEEK, Lab

from dagster_beiwe.demo.headless import execute
from dagster_beiwe.partitions.run_keys import rectangle_tags

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Dagster of itself


def test_a_terminated_run_ends_and_is_not_retried(lab: Lab) -> None:
    """Within seconds, in the middle of a download; what was committed is recorded, and the next run goes on. How a run
    ends that has a process per step is seen where a daemon terminates one."""
    with lab.held_run("in_process") as process:
        run = lab.newest_run()
        lab.instance.report_run_canceling(run)  # what Terminate does before it sends the signal
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        process.wait(DEADLINE_SECONDS)
        assert time.monotonic() - began < SOON_SECONDS
    lab.was_canceled(run)
    assert lab.recorded(lab.run_here()) == KEYS


def test_a_command_that_runs_assets_ends_with_its_run(lab: Lab) -> None:
    """Dagster takes an interrupt for the failure of one run; the demo must not begin the next one."""
    main = os.getpid()

    def interrupt() -> None:
        lab.server.held.acquire()
        os.kill(main, signal.SIGINT)

    tags = dict(rectangle_tags([FIRST, SECOND], [WEEK]))
    with lab.variables(), lab.server.holding():
        thread = threading.Thread(target=interrupt)
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            execute(defs(), lab.instance, [KEY], tags=tags)
        thread.join()
    assert lab.recorded(lab.newest_run()) == {f"{FIRST}|{WEEK}"}
    assert lab.newest_run().status == dg.DagsterRunStatus.FAILURE
