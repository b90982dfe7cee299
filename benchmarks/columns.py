"""What two columns of one week cost, and all of a participant's data: from raw files, and from tables.

Beside the table as it is stored stand its former form, encrypted as a whole, and plain Parquet.
"""

from __future__ import annotations

import importlib.util
import io
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
from fsspec import filesystem
from pyarrow import dataset, parquet

from benchmarks import machine
from benchmarks.s3 import s3_on_loopback
from benchmarks.worlds import Scale
from dagster_beiwe.client import BeiweClient
from dagster_beiwe.credentials import Credentials
from dagster_beiwe.encryption import decrypt_bytes, encrypt_bytes
from dagster_beiwe.lake import BeiweLake, StudyLake
from dagster_beiwe.reading import BeiwePartitions
from dagster_beiwe.simulator import ContentPlan, SimulatedServer, StudyPlan, World
from dagster_beiwe.sync import Cell, StudySync
from dagster_beiwe.tables.parquet import arrow_table, write_parquet
from dagster_beiwe.tables.partitions import TablePartitions
from dagster_beiwe.tables.store import TableStore
from dagster_beiwe.windows import windows_between

Costs = dict[str, Any]
SIZES: Final[Mapping[Scale, tuple[int, int]]] = {"full": (5, 10_000), "quick": (3, 1_000), "tiny": (2, 10)}
"""Weeks, and rows of an hour; eight hours a day."""

_NOW: Final = datetime(2026, 3, 2, tzinfo=timezone.utc)  # a Monday
_PASSPHRASE: Final = "benchmark"
_STREAM: Final = "accelerometer"
_KEY: Final = ("beiwe", "benchmark", _STREAM)
_RUNS: Final[Mapping[Scale, int]] = {"full": 5, "quick": 3, "tiny": 1}


def measure(scale: Scale, *, folder: Path) -> Costs:
    """Processor time and bytes of each way to read; the fastest run of each counts."""
    weeks, rows = SIZES[scale]
    start = _NOW - timedelta(weeks=weeks)
    folder.mkdir(exist_ok=True)
    costs: Costs = machine.moment()
    lake, person = _filled(folder / "lake", start, rows)
    frame = BeiwePartitions.of(lake).read(_STREAM).sort_values("UTC time", ignore_index=True)
    TableStore.of_study(lake).write(_KEY, frame, partition=person)
    plain, whole = folder / "plain.parquet", folder / "whole.parquet.lock"
    with plain.open("wb") as file:
        write_parquet(arrow_table(frame), file, None)
    whole.write_bytes(encrypt_bytes(_as_formerly(arrow_table(frame)), _PASSPHRASE))
    costs |= {"rows": len(frame), "weeks": weeks, "ways": {}}
    del frame
    week = _Asked(columns=["UTC time", "x"], start=start + timedelta(weeks=1), end=start + timedelta(weeks=2))
    for name, read in _ways(lake, plain, whole).items():
        costs["ways"][name] = {
            what: min((_cost(read, asked) for _ in range(_RUNS[scale])), key=lambda cost: cost["cpu_seconds"])
            for what, asked in (("a week", week), ("all", _Asked()))
        }
    costs["s3"] = _in_s3(folder / "lake", lake.study_id, week)
    return costs


def _as_formerly(table: pa.Table) -> bytes:
    """The Parquet file of the former form, with encodings of Arrow's choice."""
    file = io.BytesIO()
    parquet.write_table(table, file, row_group_size=128 * 1024, compression="zstd")
    return file.getvalue()


def _in_s3(folder: Path, study_id: str, week: _Asked) -> Costs:
    """Requests and bytes of reading two columns of a week from the same lake in S3."""
    with s3_on_loopback() as counts:
        filesystem("s3").put(f"{folder}/", "lake/copy", recursive=True)
        found: Costs = {}
        for name in ("raw files, pandas", "table, pandas"):
            lake = BeiweLake("s3://lake/copy").study(study_id, passphrase=_PASSPHRASE)
            counts.clear()
            rows = _ways(lake, folder, folder)[name](week)
            found[name] = {"rows": rows, "requests": counts["files"] + counts["lake"], "bytes": counts["bytes"]}
    return found


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """What is to be read; None stands for everything."""

    columns: list[str] | None = None
    start: datetime | None = None
    end: datetime | None = None


def _ways(lake: StudyLake, plain: Path, whole: Path) -> dict[str, Callable[[_Asked], int]]:
    """Ways to read what is asked for; each returns the number of rows."""

    def raw(asked: _Asked) -> int:
        return len(BeiwePartitions.of(lake, start=asked.start, end=asked.end).read(_STREAM, columns=asked.columns))

    def table(asked: _Asked) -> TablePartitions:
        return TablePartitions.of(lake, _KEY, **vars(asked))

    def arrow(source: Path | io.BytesIO, asked: _Asked) -> int:
        time = dataset.field("UTC time")
        chosen = (time >= asked.start) & (time < asked.end) if asked.start else None
        return len(parquet.read_table(source, columns=asked.columns, filters=chosen).to_pandas())

    ways: dict[str, Callable[[_Asked], int]] = {
        "raw files, pandas": raw,
        "table encrypted as a whole, pandas": lambda asked: arrow(
            io.BytesIO(decrypt_bytes(whole.read_bytes(), _PASSPHRASE)), asked
        ),
        "table, pandas": lambda asked: len(table(asked).to_pandas()),
        "plain Parquet, pandas": lambda asked: arrow(plain, asked),
    }
    if importlib.util.find_spec("polars"):
        ways["table, Polars"] = lambda asked: len(table(asked).to_polars().collect())
    if importlib.util.find_spec("duckdb"):
        ways["table, DuckDB"] = lambda asked: len(table(asked).to_duckdb().df())
    return ways


def _cost(read: Callable[[_Asked], int], asked: _Asked) -> Costs:
    before, began, cpu = _bytes_read(), time.perf_counter(), time.process_time()
    rows = read(asked)
    return {
        "rows": rows,
        "seconds": time.perf_counter() - began,
        "cpu_seconds": time.process_time() - cpu,
        "bytes": _bytes_read() - before,
    }


def _bytes_read() -> int:
    """What this process has read from files; 0 where the system does not tell."""
    try:
        return int(Path("/proc/self/io").read_text(encoding="ascii").split()[1])
    except OSError:
        return 0


def _filled(folder: Path, start: datetime, rows: int) -> tuple[StudyLake, str]:
    """A lake with the raw data of one participant."""
    plan = StudyPlan(
        participants=1, start=start, streams=(_STREAM,), hours=tuple(range(8, 16)), content=ContentPlan(rows=rows)
    )
    world = World.build(plan, now=_NOW)
    (study,) = world.studies.values()
    (person,) = study.participants
    lake = BeiweLake(folder).study(study.id, passphrase=_PASSPHRASE)
    cells = [Cell(person, window) for window in windows_between("weekly", start, _NOW)]
    with SimulatedServer(world) as server:
        keys = Credentials(url=server.url, access_key=server.access_key, secret_key=server.secret_key)
        with BeiweClient(keys) as client:
            reports = StudySync(client, lake, streams=(_STREAM,), run_id="benchmark").run(cells)
            assert all(report.complete for report in reports)
    return lake, person
