"""``python -m benchmarks.audit``: what comparing contents by hash costs, in requests and bytes.

Measured on a participant with a year of files, and multiplied for a study of 500: each participant has requests of
their own, so that it is linear.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from benchmarks import machine
from dagster_beiwe.client import BeiweClient
from dagster_beiwe.credentials import Credentials
from dagster_beiwe.lake import BeiweLake, StudyLake
from dagster_beiwe.simulator import ContentPlan, SimulatedServer, StudyPlan, World
from dagster_beiwe.sync import Cell, StudySync
from dagster_beiwe.sync.audit import DEFAULT_AUDIT, Taken
from dagster_beiwe.windows import windows_between

Facts = dict[str, Any]

SHAPES = {
    "few streams": ("gps", "power_state", "accelerometer"),
    "many streams": (
        "accelerometer", "app_log", "bluetooth", "gps", "gyro", "magnetometer", "power_state", "wifi",
    ),
}  # fmt: skip
STUDY_PARTICIPANTS, STUDY_WEEKS, NEWEST_WEEKS = 500, 52, 3
PAGE = "docs/audit-cost.md"

_NOW = datetime(2026, 3, 2, tzinfo=timezone.utc)  # a Monday


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.audit", description=__doc__)
    parser.add_argument("--weeks", type=int, default=STUDY_WEEKS, help="how many each measured participant has")
    parser.add_argument("--participants", type=int, default=1, help="how many are measured")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the results")
    parser.add_argument("--doc", type=Path, metavar="PATH", help=f"write the results as documentation ({PAGE})")
    parser.add_argument("--from", dest="source", type=Path, metavar="PATH", help="take results from JSON, run nothing")
    options = parser.parse_args(arguments)
    if options.source:
        results = json.loads(options.source.read_text(encoding="utf-8"))
    else:
        with tempfile.TemporaryDirectory(prefix="beiwe-benchmark-") as folder:
            results = run(Path(folder), participants=options.participants, weeks=options.weeks)
    print(as_document(results))
    if options.json and not options.source:
        options.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    if options.doc:
        options.doc.write_text(as_document(results), encoding="utf-8")
    return 0


def run(folder: Path, *, participants: int, weeks: int, hours: Sequence[int] = range(24)) -> Facts:
    """Fill a lake for each shape of data, and compare it; ``hours`` are those of a day that have files."""
    return {
        "taken": datetime.now(timezone.utc).isoformat(timespec="minutes"),
        "machine": machine.describe(folder),
        "versions": machine.versions(),
        "shapes": {
            name: _measure(folder / name, streams, participants=participants, weeks=weeks, hours=hours)
            for name, streams in SHAPES.items()
        },
    }


def _measure(folder: Path, streams: tuple[str, ...], *, participants: int, weeks: int, hours: Sequence[int]) -> Facts:
    start = _NOW - timedelta(weeks=weeks)
    content = ContentPlan(rows=1)
    plan = StudyPlan(participants=participants, start=start, streams=streams, hours=tuple(hours), content=content)
    world = World.build(plan, now=_NOW)
    (study,) = world.studies.values()
    windows = list(windows_between("weekly", start, _NOW))
    with SimulatedServer(world) as server:
        keys = Credentials(url=server.url, access_key=server.access_key, secret_key=server.secret_key)
        lake = BeiweLake(folder).study(study.id, passphrase=None, cipher=None)
        people = sorted(study.participants)
        with BeiweClient(keys) as client:
            sync = StudySync(client, lake, streams=streams, run_id="benchmark")
            reports = list(sync.run(Cell(one, window) for one in people for window in windows))
            assert all(report.complete for report in reports)
            year = _compare(client, lake, streams, [Cell(one, each) for one in people for each in windows])
            newest = windows[-NEWEST_WEEKS:]
            recent = _compare(client, lake, streams, [Cell(one, each) for one in people for each in newest])
    return {
        "participants": participants,
        "weeks": weeks,
        "files": sum(report.files for report in reports),
        "year": year,
        "newest": recent,
    }


def _compare(client: BeiweClient, lake: StudyLake, streams: tuple[str, ...], cells: Sequence[Cell]) -> Facts:
    before, began, cpu = Taken.of(client.traffic), time.monotonic(), time.process_time()
    found = list(StudySync(client, lake, streams=streams, run_id="audit").compare(cells))
    assert {each.outcome for each in found} == {"equal"}
    taken = Taken.of(client.traffic)
    return {
        "windows": len(found),
        "requests": taken.requests - before.requests,
        "bytes": taken.size_bytes - before.size_bytes,
        "seconds": time.monotonic() - began,
        "cpu_seconds": time.process_time() - cpu,
    }


def as_document(results: Facts) -> str:
    """The page ``docs/audit-cost.md``."""
    return "\n".join(_lines(results)) + "\n"


def _lines(results: Facts) -> Iterator[str]:
    taken_on = "; ".join(
        f"{name} {value}" for name, value in [*results["machine"].items(), *results["versions"].items()]
    )
    yield "# What comparing contents costs"
    yield ""
    yield (
        "This page is the output of `python -m benchmarks.audit --json benchmarks/audit.json --doc "
        "docs/audit-cost.md`. A participant with a year of hourly files is fetched once from the simulated server and "
        "then compared by hash, with nothing changed. [Completeness](completeness.md#same-size-different-content) "
        "explains what the audit is for."
    )
    yield ""
    yield f"Measured {results['taken']}: {taken_on}."
    yield ""
    yield "## A participant"
    yield ""
    yield from _table(results["shapes"], _participant)
    yield ""
    yield (
        "Nearly all of it is sent: the list of hashes. The answer to a request without differences is 116 bytes. "
        "Seconds include the client and the simulated server."
    )
    yield ""
    yield f"## A study of {STUDY_PARTICIPANTS} participants by {STUDY_WEEKS} weeks"
    yield ""
    yield (
        f"Extrapolated. Every day, the newest {NEWEST_WEEKS} weeks of every participant are compared (windows that "
        f"ended in the last {DEFAULT_AUDIT.recent_days} days), and all weeks of some participants, each of them once "
        f"in {DEFAULT_AUDIT.days} days."
    )
    yield ""
    yield from _table(results["shapes"], _study)
    yield ""
    yield (
        f"The defaults are a budget of {DEFAULT_AUDIT.requests:,} requests and {DEFAULT_AUDIT.size_bytes / 1e9:.0f} "
        "GB per day. If the contents of a lake were never compared, the first audit takes the days in the last row; "
        "after that, each participant has their own day. Dagster records one run per day, and no event for a window "
        "that is equal."
    )


def _participant(shape: Facts) -> dict[str, str]:
    """Numbers of one participant."""
    weeks = shape["participants"] * shape["weeks"]
    return {
        "files in a week": f"{shape['files'] / weeks:,.0f}",
        f"{shape['weeks']} weeks: requests": f"{shape['year']['requests'] / shape['participants']:,.0f}",
        f"{shape['weeks']} weeks: sent and received": _size(shape["year"]["bytes"] / shape["participants"]),
        f"{shape['weeks']} weeks: processor seconds": f"{shape['year']['cpu_seconds'] / shape['participants']:,.1f}",
        "bytes per file": f"{shape['year']['bytes'] / shape['files']:,.0f}",
        f"newest {NEWEST_WEEKS} weeks: requests": f"{shape['newest']['requests'] / shape['participants']:,.0f}",
        f"newest {NEWEST_WEEKS} weeks: sent and received": _size(shape["newest"]["bytes"] / shape["participants"]),
    }


def day_of_study(shape: Facts) -> dict[str, float]:
    """What a day takes of a whole study: the newest weeks of everybody, and a part of all windows."""
    year, everybody = _year_of_study(shape), STUDY_PARTICIPANTS / shape["participants"]
    return {name: shape["newest"][name] * everybody + year[name] / DEFAULT_AUDIT.days for name in year}


def _year_of_study(shape: Facts) -> dict[str, float]:
    """What it takes to compare all windows of a whole study once."""
    scale = STUDY_PARTICIPANTS / shape["participants"] * STUDY_WEEKS / shape["weeks"]
    return {name: shape["year"][name] * scale for name in ("requests", "bytes", "cpu_seconds")}


def _study(shape: Facts) -> dict[str, str]:
    """Numbers of a whole study."""
    year, day = _year_of_study(shape), day_of_study(shape)
    first = max(year["requests"] / DEFAULT_AUDIT.requests, year["bytes"] / DEFAULT_AUDIT.size_bytes)
    weeks = STUDY_PARTICIPANTS * STUDY_WEEKS
    return {
        "files": f"{shape['files'] * weeks / (shape['participants'] * shape['weeks']):,.0f}",
        "all windows once: requests": f"{year['requests']:,.0f}",
        "all windows once: sent and received": _size(year["bytes"]),
        "a day: requests": f"{day['requests']:,.0f}",
        "a day: sent and received": _size(day["bytes"]),
        "a day: processor minutes": f"{day['cpu_seconds'] / 60:,.0f}",
        "30 days: sent and received": _size(30 * day["bytes"]),
        "days of a first audit": f"{math.ceil(first):,}",
    }


def _table(shapes: Facts, column_of: Callable[[Facts], dict[str, str]]) -> Iterator[str]:
    yield "| | " + " | ".join(shapes) + " |"
    yield "|---|" + "---:|" * len(shapes)
    columns = [column_of(shape) for shape in shapes.values()]
    for name in columns[0]:
        yield f"| {name} | " + " | ".join(column[name] for column in columns) + " |"


def _size(size_bytes: float) -> str:
    for unit, factor in (("GB", 1e9), ("MB", 1e6)):
        if size_bytes >= factor:
            return f"{size_bytes / factor:,.1f} {unit}"
    return f"{size_bytes / 1e3:,.0f} kB"


if __name__ == "__main__":
    raise SystemExit(main())
