"""Dagster's own loops in this process: what its daemon does, an evaluation at a time."""

from __future__ import annotations

import logging
import sys
from collections import Counter
from contextlib import ExitStack
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import dagster as dg
import life_lab
from dagster._core.instance.ref import InstanceRef
from dagster._core.remote_origin import InProcessCodeLocationOrigin
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import InProcessWorkspaceLoadTarget
from dagster._daemon.sensor import execute_sensor_iteration
from dagster._scheduler.scheduler import launch_scheduled_runs

from dagster_beiwe.runs.check_history import recorded_results

_SETTINGS = """
telemetry: {enabled: false}
run_launcher: {module: life_lab, class: KillingLauncher}
run_coordinator: {module: dagster._core.run_coordinator, class: DefaultRunCoordinator}
compute_logs: {module: dagster._core.storage.noop_compute_log_manager, class: NoOpComputeLogManager}
"""
"""Runs one after the other, in this process; what they print is not kept, which takes four processes a run."""

_OPEN = [dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED]


class Daemon:
    """The sensors, the schedules and the instance that they work on."""

    def __init__(self, home: Path) -> None:
        home.mkdir()
        (home / "dagster.yaml").write_text(_SETTINGS)
        self.died = 0
        self._home = home
        self._logger = logging.getLogger("life")
        self._stack = ExitStack()
        self._schedules: dict[str, Any] = {}
        self.start()

    def start(self) -> None:
        instance = dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(self._home)))
        self.instance = self._stack.enter_context(instance)
        origin = LoadableTargetOrigin(executable_path=sys.executable, python_file=life_lab.__file__)
        target = InProcessWorkspaceLoadTarget(InProcessCodeLocationOrigin(origin, location_name="life"))
        self._workspace = self._stack.enter_context(WorkspaceProcessContext(instance, target))

    def stop(self) -> None:
        self._stack.close()
        self._schedules.clear()

    def tick(self) -> None:
        """Runs that died are found, and every schedule and sensor that is due is evaluated."""
        for run in self.instance.get_runs(filters=dg.RunsFilter(statuses=_OPEN)):
            self.instance.report_run_failed(run, "The process of the run is gone.")  # what run monitoring does
            self.died += 1
        now = datetime.now(timezone.utc)
        for _ in launch_scheduled_runs(self._workspace, self._logger, now, self._schedules):
            pass
        for _ in execute_sensor_iteration(self._workspace, self._logger, None, None):
            pass

    def runs(self) -> Counter[str]:
        """{status: how many}."""
        return Counter(run.status.value for run in self.instance.get_runs())

    def failed_checks(self) -> set[str]:
        """Checks that failed at some time."""
        keys = life_lab.defs().resolve_asset_graph().asset_check_keys
        return {
            key.name for key in keys if not all(each.evaluation.passed for each in recorded_results(self.instance, key))
        }

    def ticks(self) -> Counter[str]:
        """{status: how many}, of all that runs by itself."""
        return Counter(
            tick.status.value
            for state in self.instance.all_instigator_state()
            for tick in self.instance.get_ticks(state.instigator_origin_id, state.selector_id)
        )
