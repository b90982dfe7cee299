"""How long the coverage table of a large study takes to make, and how much memory.

The lake has manifests alone: nothing of a file but its record is looked at. ``python -m benchmarks.coverage`` is the
process in which the table is made; its standard input tells of which lake.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.made_files import made_file, made_manifest
from benchmarks.process import is_real_time, measured, run_module
from benchmarks.server import Served, ServerProcess
from benchmarks.worlds import COVERAGE_DAYS, NOW, Scale
from dagster_beiwe.client import BeiweClient
from dagster_beiwe.coverage import enrollments, find_silent
from dagster_beiwe.coverage.earlier import NUMBERS
from dagster_beiwe.coverage.expected import SettingsRecord
from dagster_beiwe.coverage.measure import Basis, Counts, measure_coverage
from dagster_beiwe.credentials import Credentials
from dagster_beiwe.lake import BeiweLake, FileRecord, LakeWriter, StudyLake
from dagster_beiwe.studies.config import StudyConfig
from dagster_beiwe.studies.roster import roster_rows
from dagster_beiwe.studies.server_counts import counts_in_batches
from dagster_beiwe.studies.settings import switches_and_numbers
from dagster_beiwe.studies.study import Study
from dagster_beiwe.studies.time_zones import StudyZone
from dagster_beiwe.tables.store import TableStore
from dagster_beiwe.windows import Window, windows_between

Costs = dict[str, Any]

FILES_A_DAY: Mapping[Scale, tuple[int, ...]] = {"full": (24,), "quick": (24, 85), "tiny": (24,)}
"""Files of a participant's day: of one sensor, and as many as phones of a typical study send."""

_PASSPHRASE = "benchmark"
_HOUR = timedelta(hours=1)


def measure(scale: Scale, *, folder: Path) -> Costs:
    """Seconds and memory of making the table, for each number of files a day: the first time, and later, after the
    newest window of everybody has changed."""
    costs: Costs = machine.moment() | {"real_time": is_real_time()}
    start = NOW - timedelta(days=COVERAGE_DAYS[scale])
    with ServerProcess("coverage", scale) as server:
        with _client(server.served) as client:  # which prepares the server's answers
            list(_asked(client, _study(server.served), start)[1])
        studies = [_measure(server, start, each, folder / str(each)) for each in FILES_A_DAY[scale]]
    return {**costs, "studies": studies}


def _measure(server: ServerProcess, start: datetime, files_a_day: int, folder: Path) -> Costs:
    windows = list(windows_between("weekly", start, NOW))
    lake = _lake(folder, server.served)
    write(lake, server.served, windows, files_a_day=files_a_day)
    first = _made(server, start, folder)
    write(lake, server.served, windows[-1:], files_a_day=files_a_day)
    return {
        "participants": len(server.served.participants),
        "days": (NOW - start).days,
        "files_a_day": files_a_day,
        **first,
        "later": _made(server, start, folder),
    }


def _made(server: ServerProcess, start: datetime, folder: Path) -> Costs:
    job = {"folder": str(folder), "start": start.isoformat(), "served": vars(server.served)}
    server.counts()
    costs = run_module("benchmarks.coverage", given=job)
    served = server.counts()
    return {"requests": served.requests, "server_cpu_seconds": served.cpu_seconds, **costs}


def write(lake: StudyLake, served: Served, windows: Sequence[Window], *, files_a_day: int) -> None:
    """Commit a manifest for each window, of files that are nowhere."""
    for participant in served.participants:
        with LakeWriter(lake, run_id="benchmark", participants=[participant]) as writer:
            plan = writer.plan(participant, windows)
            for window in windows:
                files = _records(served, participant, window, files_a_day)
                writer.adopt(plan, made_manifest(served, participant, window, files), [], compared=0)


def _records(served: Served, participant: str, window: Window, files_a_day: int) -> Iterator[FileRecord]:
    for day in range(window.hours // 24):
        for number in range(files_a_day):
            stream, moment = served.streams[number // 24], window.start + (24 * day + number % 24) * _HOUR
            digest = hashlib.sha256(f"{participant}{stream}{moment}".encode()).hexdigest()
            yield made_file(
                served, participant, stream, moment, at=window.end, zone="America/New_York", size_bytes=50_000,
                stored_size_bytes=20_000, stored_sha256=digest,
            )  # fmt: skip


def _lake(folder: Path, served: Served) -> StudyLake:
    return BeiweLake(folder).study(served.study_id, passphrase=_PASSPHRASE)


def _study(served: Served) -> Study:
    return Study(id=served.study_id, name="Benchmark", key="benchmark", config=StudyConfig(served.study_id))


def _client(served: Served) -> BeiweClient:
    return BeiweClient(Credentials(url=served.url, access_key=served.access_key, secret_key=served.secret_key))


def _asked(client: BeiweClient, study: Study, start: datetime) -> tuple[Basis, Counts]:
    """What the server says of a study."""
    roster = enrollments(roster_rows(client.participants(study.id), client.participant_table(study.id)))
    settings = switches_and_numbers(client.settings(study.id))
    basis = Basis(
        windows=list(windows_between("weekly", start, NOW)),
        streams=client.choose_streams(study.id),
        roster=roster,
        history=[SettingsRecord(seen=start, values=settings)],
        zone=StudyZone(name="America/New_York", source="server"),
        now=NOW - _HOUR,
    )
    return basis, counts_in_batches(client, study, basis.zone, basis.windows, list(roster))


def make(lake: StudyLake, served: Served, start: datetime) -> Costs:
    """Make and store the table as a run does, with the help of the last one, and find who is silent.

    Returns seconds, bytes of memory, and rows.
    """
    costs: Costs = {}
    with measured(costs):
        began = time.perf_counter()
        study = _study(served)
        tables, key = TableStore.of_study(lake), ["beiwe", study.key, "coverage"]
        with _client(served) as client:
            basis, counts = _asked(client, study, start)
            earlier = tables.read(key, columns=NUMBERS) if tables.exists(key) else None
            frame = measure_coverage(lake, basis, counts, earlier=earlier)
            del earlier
        costs["made_seconds"] = time.perf_counter() - began
        find_silent(frame, basis.roster)
        tables.write(key, frame)
    return {**costs, "rows": len(frame), "files": int(frame["files"].sum())}


def _main() -> None:
    job = json.load(sys.stdin)
    served = job["served"]
    lists = {name: tuple(served[name]) for name in ("participants", "streams")}
    found = Served(**{**served, **lists})
    print(json.dumps(make(_lake(Path(job["folder"]), found), found, datetime.fromisoformat(job["start"]))))


if __name__ == "__main__":
    _main()
