"""What the lake's own work costs, beside the files': seconds on a disk, requests to an S3 on loopback (moto).

``python -m benchmarks.lake --json PATH`` measures this alone, also of an older version that is first on the path.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.s3 import s3_on_loopback
from dagster_beiwe.client import BeiweClient
from dagster_beiwe.credentials import Credentials
from dagster_beiwe.lake import BeiweLake, StudyLake
from dagster_beiwe.maintenance.verify import verify_study
from dagster_beiwe.simulator import ContentPlan, SimulatedServer, StudyPlan, World
from dagster_beiwe.sync import Cell, StudySync
from dagster_beiwe.windows import windows_between

Costs = dict[str, Any]
SIZES = {"full": (20, 5), "quick": (6, 3), "tiny": (2, 1)}
"""Participants and weeks. Each window has a small file a day."""

_RUNS = {"full": 5, "quick": 3, "tiny": 1}
"""How often a folder is measured; the fastest of each counts, because other programs only make it slower."""
_NOW = datetime(2026, 3, 2, tzinfo=timezone.utc)  # a Monday
_PASSPHRASE = "benchmark"


def measure(scale: str, *, folder: Path) -> Costs:
    """Seconds and requests of what is done with a study's windows, in a folder and in an object store."""
    participants, weeks = SIZES[scale]
    folder.mkdir(exist_ok=True)
    found: Costs = {
        **machine.moment(),
        "windows": participants * weeks,
        "participants": participants,
    }
    runs = [
        _measure(str(folder / str(number)), Counter(), participants=participants, weeks=weeks)
        for number in range(_RUNS[scale])
    ]
    found["folder"] = {name: min((run[name] for run in runs), key=lambda cost: cost["seconds"]) for name in runs[0]}
    with s3_on_loopback() as counts:
        found["s3"] = _measure("s3://lake/a", counts, participants=participants, weeks=weeks)
        found["wide"] = _measure("s3://lake/b", counts, participants=participants * weeks, weeks=1, looks=False)
    return found


def _measure(place: str, requests: Counter[str], *, participants: int, weeks: int, looks: bool = True) -> Costs:
    """What runs cost, and ``looks`` at what they have committed."""
    start = _NOW - timedelta(weeks=weeks)
    plan = StudyPlan(participants=participants, start=start, streams=("gps",), hours=(9,), content=ContentPlan(rows=5))
    world = World.build(plan, now=_NOW)
    (study,) = world.studies.values()
    cells = [
        Cell(each, window) for each in sorted(study.participants) for window in windows_between("weekly", start, _NOW)
    ]
    costs: Costs = {}

    def lake() -> StudyLake:
        return BeiweLake(place).study(study.id, passphrase=_PASSPHRASE)

    def run(name: str, work: Callable[[], object]) -> None:
        requests.clear()
        began, cpu = time.perf_counter(), time.process_time()
        work()
        costs[name] = {
            "seconds": time.perf_counter() - began,
            "cpu_seconds": time.process_time() - cpu,
            "requests": requests["lake"],
            "of files": requests["files"],
        }

    with SimulatedServer(world) as server:
        keys = Credentials(url=server.url, access_key=server.access_key, secret_key=server.secret_key)
        with BeiweClient(keys) as client:

            def sync() -> None:
                reports = StudySync(client, lake(), streams=("gps",), run_id="benchmark").run(cells)
                assert all(report.complete for report in reports)

            run("first fetch", sync)
            for cell in cells:
                world.add_rows(cell.participant, "gps", cell.window.start + timedelta(hours=9))
            run("a file of each restated", sync)
            run("nothing new", sync)
    if not looks:
        return costs
    opened = lake()
    run("open", lambda: _look(opened))
    run("look again", lambda: _look(opened))
    run("verify", lambda: verify_study(lake()))
    run("verify sizes", lambda: verify_study(lake(), share=0.0))
    return costs


def _look(lake: StudyLake) -> int:
    """What is committed of everybody, as a sensor asks it."""
    with suppress(AttributeError):  # older versions have one state only
        lake = lake.at()
    return sum(len(lake.windows(each)) for each in lake.participants())


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lake", description=__doc__)
    parser.add_argument("--scale", choices=SIZES, default="full")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the results")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="beiwe-benchmark-") as folder:
        found = measure(options.scale, folder=Path(folder))
    for place in ("folder", "s3", "wide"):
        for name, cost in found[place].items():
            requests = f"{cost['requests']:6} requests, {cost['of files']:6} for files" if place != "folder" else ""
            print(f"{place:8}{name:26}{cost['seconds']:8.2f} s{requests}")
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
