"""A month of a study's life in Dagster, in minutes: ticks, runs, uploads, late data, restarts, kills and faults.

    python tests/faults/life.py                      thirty days, print the table
    python tests/faults/life.py --days 3 --seed 7    something shorter, or something else
    python tests/faults/life.py --write              put the table into docs/reliability.md

The real sensors and schedules of a project are evaluated every hour by the daemon's own code, on one instance with its
SQLite files, and the runs that they request are executed. The clock is the study's: it moves on by an hour per tick. At
stated rates something goes wrong: a fault of the table, a server that is restarted, a daemon that is restarted, a run
whose process is killed. At the end all is well for some hours; then lake and server must be equal, and memory and file
handles as they were.
"""

from __future__ import annotations

import argparse
import base64
import gc
import hashlib
import logging
import os
import random
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from unittest import mock

import time_machine
from fault_scene import PASSPHRASE, STREAMS, STUDY
from life_daemon import Daemon
from life_lab import KILL_SHARE_VARIABLE, START_VARIABLE, KillingLauncher
from soak import BEGIN, FAULTS, HOUR, PEOPLE, Remote, agree, key_of

from dagster_beiwe.lake import BeiweLake
from dagster_beiwe.maintenance.verify import verify_study

sys.path.append(str(Path(__file__).parents[1] / "support"))
import measured

UPLOAD_RATE = 0.08
"""Of each participant and hour: phones send some hours of data at once, when they are charged."""

LATE_RATE = 0.05
DELETED_RATE = 0.01
FAULT_RATE = 0.15
RESTART_RATE = 0.03
KILL_SHARE = 0.04
CALM_HOURS = 14
"""At the end, without trouble: long enough for the windows of a failed run to be requested again."""

ROWS = (
    "hours, participants",
    "ticks that Dagster still keeps: that requested runs, had nothing to do, failed",
    "runs: succeeded, failed, whose process was killed",
    "batches uploaded, late rows, files deleted",
    "faults injected; restarts of server and daemon",
    "files on the server, files in the lake",
    "lake and server equal, byte for byte",
    "findings of `verify`, temporary files left",
    "memory after a quarter of the time, and at the end",
    "open file handles, first day and last",
    "Dagster's databases at the end; per day",
    "of it logs of runs, events of assets, ticks",
    "seconds",
)


@dataclass
class Diary:
    """What happened. Memory is the resident size of the daemon's process in bytes, once a day."""

    hours: int = 0
    ticks: Counter[str] = field(default_factory=Counter)
    runs: Counter[str] = field(default_factory=Counter)
    killed: int = 0
    uploads: int = 0
    late: int = 0
    deleted: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    restarts: int = 0
    files_on_server: int = 0
    files_in_lake: int = 0
    equal: bool = False
    findings: int = 0
    leftovers: int = 0
    memory_bytes: list[int] = field(default_factory=list)
    handles: list[int] = field(default_factory=list)
    database_bytes: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    def rows(self) -> Iterator[tuple[str, str]]:
        days = self.hours / 24
        total = self.database_bytes.total()
        parts = [self.database_bytes[name] / 1e6 for name in ("runs", "index", "schedules")]
        before, after = self.memory_bytes[len(self.memory_bytes) // 4] / 1e6, self.memory_bytes[-1] / 1e6
        values = (
            f"{self.hours}, {len(PEOPLE)}",
            f"{self.ticks['SUCCESS']}, {self.ticks['SKIPPED']}, {self.ticks['FAILURE']}",
            f"{self.runs['SUCCESS']}, {self.runs['FAILURE'] - self.killed}, {self.killed}",
            f"{self.uploads}, {self.late}, {self.deleted}",
            f"{self.faults.total()} of {len(self.faults)} kinds; {self.restarts}",
            f"{self.files_on_server}, {self.files_in_lake}",
            "**yes**" if self.equal else "**NO**",
            f"**{self.findings}, {self.leftovers}**",
            f"{before:.0f} MB, {after:.0f} MB",
            f"{self.handles[0]}, {self.handles[-1]}",
            f"{total / 1e6:.1f} MB; {total / days / 1e6:.2f} MB",
            ", ".join(f"{part:.1f} MB" for part in parts),
            f"{self.seconds:.0f}",
        )
        return zip(ROWS, values, strict=True)


class Life:
    """One study, its server, its lake, Dagster's daemon, and chance."""

    def __init__(self, remote: Remote, folder: Path, *, seed: int, clock: time_machine.Traveller) -> None:
        self._remote, self._folder, self._clock = remote, folder, clock
        self._rng = random.Random(seed)
        self._hours: list[tuple[str, str, datetime]] = []
        self._deleted: set[str] = set()
        self._now = BEGIN
        self._daemon = Daemon(folder / "home")
        self.diary = Diary()

    def run(self, days: int) -> Diary:
        began = time.monotonic()
        for hour in range(days * 24):
            calm = hour >= days * 24 - CALM_HOURS
            self._pass_an_hour()
            if not calm:
                self._live()
                self._trouble()
            os.environ[KILL_SHARE_VARIABLE] = "0" if calm else str(KILL_SHARE)
            self._daemon.tick()
            self._remote.do("behave")
            if hour % 24 == 23:
                self._measure()
        self._compare()
        self._count()
        self._daemon.stop()
        self.diary.seconds = time.monotonic() - began
        return self.diary

    def _pass_an_hour(self) -> None:
        self._now += HOUR
        self._clock.move_to(self._now)
        self._remote.do("advance", by=HOUR)
        self.diary.hours += 1

    def _live(self) -> None:
        """Some phones send what they have gathered, some of it is late, some is deleted."""
        for person in PEOPLE:
            if self._rng.random() < UPLOAD_RATE:
                self._send(person)
        chunked = [place for place in self._hours if place[1] != "survey_answers"]
        if chunked and self._rng.random() < LATE_RATE:
            person, stream, hour = self._rng.choice(chunked)
            self._remote.do("add_rows", participant_id=person, stream=stream, hour=hour, rows=3)
            self.diary.late += 1
        if chunked and self._rng.random() < DELETED_RATE:
            place = self._rng.choice(chunked)
            self._hours.remove(place)
            self._deleted.add(key_of(*place))
            self._remote.do("withdraw", participant_id=place[0], stream=place[1], hour=place[2])
            self.diary.deleted += 1

    def _send(self, person: str) -> None:
        hours = [
            self._now - number * HOUR
            for number in range(1, self._rng.randint(2, 12))
            if self._now - number * HOUR >= BEGIN
        ]
        for hour in hours:
            for stream in STREAMS:
                if (person, stream, hour) not in self._hours:
                    self._remote.do("add_hour", participant_id=person, stream=stream, hour=hour)
                    self._hours.append((person, stream, hour))
        self.diary.uploads += 1

    def _trouble(self) -> None:
        if self._rng.random() < RESTART_RATE:
            self._remote.do("restart")
            self.diary.restarts += 1
        if self._rng.random() < RESTART_RATE:
            self._daemon.stop()
            self._daemon.start()
            self.diary.restarts += 1
        if self._rng.random() < FAULT_RATE:
            fault = self._rng.choice(FAULTS)
            route = "*" if fault.answers else "/get-data/*"
            self._remote.do("misbehave", **fault.misbehaviour, route=route, times=self._rng.choice((1, 2, None)))
            self.diary.faults[fault.name] += 1

    def _measure(self) -> None:
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        self.diary.memory_bytes.append(pages * os.sysconf("SC_PAGE_SIZE"))
        self.diary.handles.append(len(os.listdir("/proc/self/fd")))

    def _compare(self) -> None:
        truth = self._remote.do("truth")
        lake = BeiweLake(self._folder / "lake").study(STUDY, passphrase=PASSPHRASE)
        held = {
            record.key: base64.b64encode(hashlib.sha1(lake.read(person, record)).digest()).decode()
            for person in lake.participants()
            for manifest in lake.manifests(person)
            for record in manifest.files
            if record.present
        }
        self.diary.equal = agree(held, truth, self._deleted)
        self.diary.files_on_server, self.diary.files_in_lake = len(truth), len(held)
        self.diary.findings = len(verify_study(lake).findings)
        files = [path for path in (self._folder / "lake").rglob("*") if path.is_file()]
        self.diary.leftovers = sum(path.suffix == ".part" or path.parent.name == "runs" for path in files)

    def _count(self) -> None:
        """Runs, ticks, and the size of what Dagster keeps."""
        self.diary.runs, self.diary.ticks = self._daemon.runs(), self._daemon.ticks()
        self.diary.killed = self._daemon.died
        home = self._folder / "home"
        for path in home.rglob("*"):
            size = path.stat().st_size if path.is_file() else 0
            if ".db" in path.name:
                kind = path.relative_to(home).parts[0]
                kind = kind if kind == "schedules" else "index" if path.stem.startswith("index") else "runs"
                self.diary.database_bytes[kind] += size


@contextmanager
def lab(folder: Path) -> Iterator[tuple[Remote, time_machine.Traveller]]:
    """A server, the environment of a lab, and the study's clock, at which nobody waits."""
    remote = Remote()
    KillingLauncher.chance.seed(1)
    credentials = remote.credentials
    environment = {
        "BEIWE_URL": credentials.url,
        "BEIWE_ACCESS_KEY": credentials.access_key,
        "BEIWE_SECRET_KEY": credentials.secret_key,
        "BEIWE_LAKE": str(folder / "lake"),
        "BEIWE_LAKE_PASSPHRASE": PASSPHRASE,
        "DAGSTER_HOME": str(folder / "home"),
        START_VARIABLE: BEGIN.date().isoformat(),
    }
    try:
        environ = mock.patch.dict(os.environ, environment)
        with environ, time_machine.travel(BEGIN) as clock, mock.patch("time.sleep", _sleep(clock, time.sleep)):
            yield remote, clock
    finally:
        remote.close()


def _sleep(clock: time_machine.Traveller, really: Callable[[float], None]) -> Callable[[float], None]:
    """Waits before another attempt pass at once by the study's clock; others, for a process or a disk, are short."""
    return lambda seconds: really(seconds) if seconds < 1 else clock.shift(seconds)


def live(days: int, folder: Path, *, seed: int = 1) -> Diary:
    """Live through the days below a folder."""
    with lab(folder) as (remote, clock):
        return Life(remote, folder, seed=seed, clock=clock).run(days)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description="A study's life in Dagster, compressed.")
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args(arguments)
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        diary = live(options.days, Path(folder), seed=options.seed)
    text = measured.table(("what", "number"), diary.rows())
    print(text)
    if options.write:
        measured.write("life", text, command="python tests/faults/life.py --write")
    return 0 if diary.equal and not diary.findings else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
