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
import gc
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
from pathlib import Path
from unittest import mock

import time_machine
from fault_scene import PASSPHRASE, STREAMS, STUDY
from life_daemon import Daemon
from life_lab import HOOK_VARIABLE, KILL_SHARE_VARIABLE, START_VARIABLE, KillingLauncher
from passing_time import RESTART_RATE, Diary, Uploads, held, inject_fault, leftovers
from soak import BEGIN, HOUR, PEOPLE, Remote, agree

from dagster_beiwe.lake import BeiweLake
from dagster_beiwe.maintenance.verify import verify_study

sys.path.append(str(Path(__file__).parents[1] / "support"))
import measured
from receivers import HOST, WebReceiver

UPLOAD_RATE = 0.08
"""Of each participant and hour: phones send some hours of data at once, when they are charged."""

LATE_RATE = 0.05
DELETED_RATE = 0.01
FAULT_RATE = 0.15
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
class LifeDiary(Diary):
    hours: int = 0
    ticks: Counter[str] = field(default_factory=Counter)
    runs: Counter[str] = field(default_factory=Counter)
    killed: int = 0
    database_bytes: Counter[str] = field(default_factory=Counter)
    told: Counter[tuple[str, str | None, str]] = field(default_factory=Counter)
    """Problems of which a notice told: check, participant, and when the check had this result."""
    failed: set[str] = field(default_factory=set)
    """Checks that failed at some time."""

    def rows(self) -> Iterator[tuple[str, str]]:
        days = self.hours / 24
        total = self.database_bytes.total()
        parts = [self.database_bytes[name] / 1e6 for name in ("runs", "index", "schedules")]
        values = (
            f"{self.hours}, {len(PEOPLE)}",
            f"{self.ticks['SUCCESS']}, {self.ticks['SKIPPED']}, {self.ticks['FAILURE']}",
            f"{self.runs['SUCCESS']}, {self.runs['FAILURE'] - self.killed}, {self.killed}",
            f"{self.uploads}, {self.late}, {self.deleted}",
            f"{self.faults.total()} of {len(self.faults)} kinds; {self.restarts}",
            f"{self.files_on_server}, {self.files_in_lake}",
            "**yes**" if self.equal else "**NO**",
            f"**{self.findings}, {self.leftovers}**",
            self.memory(),
            f"{self.handles[0]}, {self.handles[-1]}",
            f"{total / 1e6:.1f} MB; {total / days / 1e6:.2f} MB",
            ", ".join(f"{part:.1f} MB" for part in parts),
            f"{self.seconds:.0f}",
        )
        return zip(ROWS, values, strict=True)


class Life:
    """One study, its server, its lake, Dagster's daemon, and chance."""

    def __init__(
        self, remote: Remote, office: WebReceiver, folder: Path, *, seed: int, clock: time_machine.Traveller
    ) -> None:
        self._remote, self._office, self._folder, self._clock = remote, office, folder, clock
        self._rng = random.Random(seed)
        self._now = BEGIN
        self._daemon = Daemon(folder / "home")
        self.diary = LifeDiary()
        self._uploads = Uploads(remote, self._rng, self.diary)

    def run(self, hours: int) -> LifeDiary:
        began = time.monotonic()
        for hour in range(hours):
            calm = hour >= hours - CALM_HOURS
            self._pass_an_hour()
            if not calm:
                self._live()
                self._trouble()
            os.environ[KILL_SHARE_VARIABLE] = "0" if calm else str(KILL_SHARE)
            self._daemon.tick()
            self._remote.do("behave")
            if hour % 24 == 23 or hour == hours - 1:
                gc.collect()
                self.diary.measure()
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
        self._uploads.change(late_rate=LATE_RATE, deleted_rate=DELETED_RATE)

    def _send(self, person: str) -> None:
        hours = [
            self._now - number * HOUR
            for number in range(1, self._rng.randint(2, 12))
            if self._now - number * HOUR >= BEGIN
        ]
        for hour in hours:
            for stream in STREAMS:
                if (person, stream, hour) not in self._uploads.hours:
                    self._uploads.add(person, stream, hour)
        self.diary.uploads += 1

    def _trouble(self) -> None:
        if self._rng.random() < RESTART_RATE:
            self._remote.do("restart")
            self.diary.restarts += 1
        if self._rng.random() < RESTART_RATE:
            self._daemon.stop()
            self._daemon.start()
            self.diary.restarts += 1
        inject_fault(self._remote, self._rng, self.diary, rate=FAULT_RATE)

    def _compare(self) -> None:
        truth = self._remote.do("truth")
        lake = BeiweLake(self._folder / "lake").study(STUDY, passphrase=PASSPHRASE)
        found = dict(held(lake))
        self.diary.equal = agree(found, truth, self._uploads.deleted)
        self.diary.files_on_server, self.diary.files_in_lake = len(truth), len(found)
        self.diary.findings = len(verify_study(lake).findings)
        self.diary.leftovers = leftovers(self._folder / "lake")

    def _count(self) -> None:
        """Runs, ticks, notices, and the size of what Dagster keeps."""
        self.diary.runs, self.diary.ticks = self._daemon.runs(), self._daemon.ticks()
        self.diary.killed = self._daemon.died
        self.diary.failed = self._daemon.failed_checks()
        problems = [problem for post in self._office.posts for problem in post["problems"]]
        self.diary.told.update((each["check"], each["participant"], each["at"]) for each in problems)
        home = self._folder / "home"
        for path in home.rglob("*"):
            size = path.stat().st_size if path.is_file() else 0
            if ".db" in path.name:
                kind = path.relative_to(home).parts[0]
                kind = kind if kind == "schedules" else "index" if path.stem.startswith("index") else "runs"
                self.diary.database_bytes[kind] += size


@contextmanager
def lab(folder: Path) -> Iterator[tuple[Remote, WebReceiver, time_machine.Traveller]]:
    """A server, who reads the notices, the environment of a lab, and the study's clock, at which nobody waits."""
    remote, office = Remote(), WebReceiver().start()
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
        HOOK_VARIABLE: f"http://{HOST}:{office.port}/",
    }
    try:
        environ = mock.patch.dict(os.environ, environment)
        with environ, time_machine.travel(BEGIN) as clock, mock.patch("time.sleep", _sleep(clock, time.sleep)):
            yield remote, office, clock
    finally:
        remote.close()
        office.stop()


def _sleep(clock: time_machine.Traveller, really: Callable[[float], None]) -> Callable[[float], None]:
    """Waits before another attempt pass at once by the study's clock; others, for a process or a disk, are short."""
    return lambda seconds: really(seconds) if seconds < 1 else clock.shift(seconds)


def live(hours: int, folder: Path, *, seed: int = 1) -> LifeDiary:
    """Live through the hours below a folder."""
    with lab(folder) as (remote, office, clock):
        return Life(remote, office, folder, seed=seed, clock=clock).run(hours)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description="A study's life in Dagster, compressed.")
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args(arguments)
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        diary = live(24 * options.days, Path(folder), seed=options.seed)
    text = measured.table(("what", "number"), diary.rows())
    print(text)
    if options.write:
        measured.write("life", text, command="python tests/faults/life.py --write")
    return 0 if diary.equal and not diary.findings else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
