"""A backfill by a real daemon: how many runs download at once, and what the server sees."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from benchmarks.scale.process import measure
from benchmarks.scale.server import STUDY_VARIABLE, WEEKS_VARIABLE, Plan, ServerProcess
from dagster_beiwe.ids import host_slug
from dagster_beiwe.runs.pools import limit_pool

_ROOT = Path(__file__).parents[2]
_PATIENCE_SECONDS = 900


def measure_pool(folder: Path, *, size: int, change: Mapping[str, Any]) -> dict[str, Any]:
    """A backfill in ``size`` runs, all of which might run at once but for the pool.

    The settings are the project's own ``dagster.yaml``; ``change`` replaces some of its pools, for comparison.
    """
    settings = yaml.safe_load((_ROOT / "dagster.yaml").read_text(encoding="utf-8"))
    settings["concurrency"]["runs"]["max_concurrent_runs"] = size
    settings["concurrency"]["pools"] |= change
    plan = Plan(participants=size, days=7 * size, latency_seconds=3)
    with tempfile.TemporaryDirectory(dir=folder, prefix="beiwe-pool-") as own, ServerProcess(plan) as server:
        ((study, people),) = server.studies.items()
        environment = server.environment(Path(own))
        environment |= {STUDY_VARIABLE: study, WEEKS_VARIABLE: str(size), "PYTHONPATH": str(_ROOT)}
        (Path(own) / "home" / "dagster.yaml").write_text(yaml.safe_dump(settings))
        measure("request_backfill", environment, study=study, people=people, weeks=size)
        daemon = subprocess.Popen(
            [str(Path(sys.executable).with_name("dagster-daemon")), "run", "-m", "benchmarks.scale.served"],
            env=environment,
            cwd=_ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            ended = measure("wait_for_runs", environment, count=size, seconds=_PATIENCE_SECONDS)
        finally:
            daemon.terminate()
            daemon.wait(60)
        return ended | {
            "pools": settings["concurrency"]["pools"],
            "peak_downloads": server.counts().peak_downloads,
        }


def request_backfill(study: str, people: list[str], weeks: int) -> dict[str, Any]:
    """Ask for everything, as the button in the UI does."""
    from benchmarks.scale.project import add_backfill, history, raw_data
    from benchmarks.scale.served import defs

    built = defs()
    with history({study: people}) as instance:
        partitions = built.get_assets_def(raw_data()).partitions_def
        assert partitions is not None
        keys = list(partitions.get_partition_keys(dynamic_partitions_store=instance))
        assert len(keys) == len(people) * weeks
        limit_pool(instance, f"beiwe_{host_slug(os.environ['BEIWE_URL'])}")  # as roster does
        add_backfill(instance, built, keys, name="benchmark")
    return {"partitions": len(keys)}


def wait_for_runs(count: int, seconds: float) -> dict[str, Any]:
    """Wait until so many runs have ended; how they ended, and how many were in progress at once at most."""
    import dagster as dg

    from benchmarks.scale.project import history

    active = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED]
    peak, began = 0, time.monotonic()
    with history({}) as instance:
        while time.monotonic() - began < seconds:
            peak = max(peak, instance.get_runs_count(dg.RunsFilter(statuses=active)))
            runs = instance.get_runs()
            if len(runs) >= count and all(run.is_finished for run in runs):
                break
            time.sleep(0.5)
        succeeded = sum(run.is_success for run in instance.get_runs())
    return {"runs": len(runs), "succeeded": succeeded, "peak_runs": peak, "seconds": time.monotonic() - began}
