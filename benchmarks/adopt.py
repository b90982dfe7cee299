"""``python -m benchmarks.adopt``: how fast ``dagster-beiwe adopt`` takes over files, and that none of them travels.

The simulated server runs in the same process, so that its part is counted, too. Dagster's records are not: each window
takes some 25 ms, however many files it has.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from benchmarks.process import measured
from dagster_beiwe.adoption.adoption import Adoption
from dagster_beiwe.adoption.old_tree import OldTree
from dagster_beiwe.client import BeiweClient
from dagster_beiwe.credentials import Credentials
from dagster_beiwe.encryption import encrypt_bytes
from dagster_beiwe.lake import BeiweLake, StudyLake
from dagster_beiwe.simulator import ContentPlan, SimulatedServer, StudyPlan, World
from dagster_beiwe.sync import DailyIndex
from dagster_beiwe.windows import Window, windows_between

_NOW = datetime(2026, 3, 2, tzinfo=timezone.utc)  # a Monday
_DAYS, _STREAMS = 14, ("accelerometer", "gps", "power_state")
_PASSPHRASE = "a passphrase of the benchmark"


@dataclass(frozen=True, kw_only=True)
class Taken:
    """What an adoption took. ``cpu_seconds`` are of this process and those that it starts.

    ``archive_bytes`` are those of the server's archives.
    """

    files: int
    adopted: int
    seconds: float
    cpu_seconds: float
    requests: int
    archive_bytes: int

    @property
    def per_minute(self) -> float:
        return 60 * self.files / self.seconds

    def __str__(self) -> str:
        return (
            f"{self.files:,} files, {self.adopted:,} adopted: {self.seconds:.1f} s, {self.per_minute:,.0f} per minute; "
            f"{self.cpu_seconds:.1f} s of processor, {self.requests} requests, {self.archive_bytes:,} bytes of archives"
        )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.adopt", description=__doc__)
    parser.add_argument("--participants", type=int, default=100, help="each has 1,008 files; default: 100,800 files")
    parser.add_argument("--locked", action="store_true", help="locked as by mano: each file has a key of its own")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="where to write data")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="beiwe-benchmark-") as folder:
        print(measure(Path(folder), participants=options.participants, locked=options.locked))
    return 0


def measure(folder: Path, *, participants: int, locked: bool, days: int = _DAYS) -> Taken:
    """Write a tree of what a simulated server has, and adopt it."""
    start = _NOW - timedelta(days=days)
    plan = StudyPlan(
        time_zone="UTC",
        participants=participants,
        start=start,
        end=_NOW,
        hours=tuple(range(24)),
        streams=_STREAMS,
        content=ContentPlan(rows=4, shared=True),
    )
    world = World.build(plan, now=_NOW)
    (study_id,) = world.studies
    _write(world, study_id, folder / "old", locked=locked)
    lake = BeiweLake(folder / "lake").study(study_id, passphrase=_PASSPHRASE)
    with SimulatedServer(world) as server:
        keys = Credentials(url=server.url, access_key=server.access_key, secret_key=server.secret_key)
        with BeiweClient(keys) as client:
            costs: dict[str, Any] = {}
            with measured(costs):
                windows = list(windows_between("weekly", start, _NOW))
                adoption, files = take_over(client, lake, folder / "old", windows, passphrase=_PASSPHRASE)
        archives = [each.bytes_sent for each in server.requests if "get-data/" in each.route and each.form]
    return Taken(
        files=files,
        adopted=adoption.outcomes.adopted,
        seconds=costs["seconds"],
        cpu_seconds=costs["cpu_seconds"],
        requests=len(archives),
        archive_bytes=sum(archives),
    )


def take_over(
    client: BeiweClient, lake: StudyLake, folder: Path, windows: Sequence[Window], *, passphrase: str
) -> tuple[Adoption, int]:
    """Adopt a tree as the command does, without Dagster's records; also the number of its files."""
    study = lake.study_id
    known, streams = client.participants(study), client.choose_streams(study, ())
    tree = OldTree.read(folder, study_id=study, participants=known, streams=streams)
    zone = ZoneInfo(client.settings(study)["study_time_zone"])
    adoption = Adoption(client, lake, tree, windows, passphrases=[passphrase], passphrase=passphrase)
    plan = adoption.plan()
    with adoption.working(plan, processes=True) as at_work:
        for cells in adoption.parts(plan):
            rows = client.summary_statistics(study, participants=sorted({cell.participant for cell in cells}))
            for report in adoption.run(cells, DailyIndex.of(zone, rows), at_work):
                assert report.complete, report.failures
    return adoption, sum(map(len, tree.files.values()))


def _write(world: World, study_id: str, folder: Path, *, locked: bool) -> None:
    """Files as mano saves them."""
    for file in world.files(study_id):
        path = folder / f"{file.member_stem}.csv{'.lock' if locked else ''}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encrypt_bytes(file.read(), _PASSPHRASE) if locked else file.read())


if __name__ == "__main__":
    raise SystemExit(main())
