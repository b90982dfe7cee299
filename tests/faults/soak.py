"""A month of synchronising, without Dagster: uploads, late data, deletions and faults, hour by hour.

    python tests/faults/soak.py                      thirty days, print the table
    python tests/faults/soak.py --days 3 --seed 7    something shorter, or something else
    python tests/faults/soak.py --write              put the table into docs/reliability.md

Each hour phones send data, some of it late; the server's counts are asked for, and what moved is synchronised. At a
stated rate something goes wrong: a fault of the table, a server that is restarted, a client and a lake that are opened
anew, a run whose generator is closed half way. At the end everything is well for as long as there is something to
fetch; then lake and server must be equal, and memory and file handles as they were. ``life.py`` is the same in Dagster.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from fault_scene import PASSPHRASE, STREAMS, STUDY
from passing_time import RESTART_RATE, Diary, Uploads, held, inject_fault, leftovers

from dagster_beiwe.client import BeiweClient, HttpPolicy
from dagster_beiwe.credentials import Credentials
from dagster_beiwe.errors import BeiweError
from dagster_beiwe.lake import BeiweLake, StudyLake
from dagster_beiwe.maintenance.verify import verify_study
from dagster_beiwe.simulator import ContentPlan, ParticipantPlan, SimulatedServer, StudyPlan, World
from dagster_beiwe.sync import Cell, DailyIndex, StudySync, dirty_cells
from dagster_beiwe.windows import windows_between

sys.path.append(str(Path(__file__).parents[1] / "support"))
import measured

PEOPLE = ("p1person", "p2person", "p3person", "p4person")
BEGIN = datetime(2026, 3, 2, tzinfo=timezone.utc)
ZONE = "America/New_York"
HOUR = timedelta(hours=1)
FAULT_RATE = 0.25
LATE_RATE = 0.10
DELETED_RATE = 0.01
ABANDONED_RATE = 0.05
ROWS = (
    "hours, participants",
    "files uploaded, late rows, files deleted",
    "faults injected",
    "restarts of the server and new clients, runs abandoned halfway",
    "runs that ended in an error, incomplete parts reported",
    "windows committed, requests sent",
    "files on the server, files in the lake",
    "lake and server equal, byte for byte",
    "findings of `verify`, temporary files left",
    "memory after a quarter of the time, and at the end",
    "open file handles, first day and last",
    "manifests, stored data",
    "seconds",
)


@dataclass
class SoakDiary(Diary):
    ticks: int = 0
    abandoned: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    requests: int = 0
    windows: int = 0
    manifest_bytes: int = 0
    stored_bytes: int = 0

    def rows(self) -> Iterator[tuple[str, str]]:
        faults, errors, failures = (counter.total() for counter in (self.faults, self.errors, self.failures))
        values = (
            f"{self.ticks}, {len(PEOPLE)}",
            f"{self.uploads}, {self.late}, {self.deleted}",
            f"{faults} of {len(self.faults)} kinds",
            f"{self.restarts}, {self.abandoned}",
            f"{errors}, {failures}",
            f"{self.windows}, {self.requests}",
            f"{self.files_on_server}, {self.files_in_lake}",
            "**yes**" if self.equal else "**NO**",
            f"**{self.findings}, {self.leftovers}**",
            self.memory(),
            f"{self.handles[0]}, {self.handles[-1]}",
            f"{self.manifest_bytes / 1e6:.2f} MB, {self.stored_bytes / 1e6:.2f} MB",
            f"{self.seconds:.0f}",
        )
        return zip(ROWS, values, strict=True)


def serve(pipe: Connection) -> None:
    """The server, in a process of its own so that its memory does not count; obeys what comes through the pipe."""
    plan = StudyPlan(
        id=STUDY,
        name="Soak",
        time_zone=ZONE,
        start=BEGIN,
        end=BEGIN,
        streams=STREAMS,
        content=ContentPlan(rows=6),
        participants=[ParticipantPlan(id=person) for person in PEOPLE],
    )
    world = World.build(plan, now=BEGIN)
    with SimulatedServer(world) as server:
        pipe.send((server.url, server.access_key, server.secret_key))
        while (command := pipe.recv()) is not None:
            name, options = command
            pipe.send(_obey(server, world, name, options))


def _obey(server: SimulatedServer, world: World, name: str, options: dict[str, Any]) -> Any:
    if name == "truth":
        return {file.key.removeprefix("CHUNKED_DATA/"): file.sha1 for file in world.files(STUDY)}
    if name == "restart":
        server.stop()
        server.start()
    elif name == "misbehave":
        server.misbehave(**options)
    elif name == "behave":
        server.behave()
    else:
        getattr(world, name)(**options)
    return None


class Remote:
    """The server's process, seen from here."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs,), daemon=True)
        self._process.start()
        url, access_key, secret_key = self._pipe.recv()
        self.credentials = Credentials(url=url, access_key=access_key, secret_key=secret_key)

    def do(self, name: str, **options: Any) -> Any:
        self._pipe.send((name, options))
        return self._pipe.recv()

    def close(self) -> None:
        self._pipe.send(None)
        self._process.join(10)
        self._pipe.close()


def agree(held: Mapping[str, str], truth: Mapping[str, str], deleted: Collection[str]) -> bool:
    """Whether every file of the server is held as it is. What else is held was deleted there, which can't be proven
    where other data of its day came at the same time, or it was the day's last file."""
    return truth.items() <= held.items() and held.keys() - truth.keys() <= set(deleted)


class Soak:
    """One study, its server, its lake, and chance."""

    def __init__(self, remote: Remote, folder: Path, *, seed: int) -> None:
        self._remote, self._folder = remote, folder
        self._rng = random.Random(seed)
        self._now = BEGIN
        self._client, self._lake = self._new_client(), self._new_lake()
        self.diary = SoakDiary()
        self._uploads = Uploads(remote, self._rng, self.diary)

    def run(self, days: int) -> SoakDiary:
        began = time.monotonic()
        for tick in range(days * 24):
            self.diary.ticks += 1
            self._live()
            self._trouble()
            self._synchronise()
            self._remote.do("behave")
            if tick % 24 == 23:
                self.diary.measure()
        self._settle()
        self._compare()
        self.diary.seconds = time.monotonic() - began
        self._client.close()
        return self.diary

    def _live(self) -> None:
        """An hour passes on the server: most phones send something, some send what is old."""
        self._now += HOUR
        self._remote.do("advance", by=HOUR)
        for person in PEOPLE:
            for stream in STREAMS:
                if self._rng.random() < (0.04 if stream == "survey_answers" else 0.5):
                    self._uploads.add(person, stream, self._now - HOUR)
                    self.diary.uploads += 1
        self._uploads.change(late_rate=LATE_RATE, deleted_rate=DELETED_RATE)

    def _trouble(self) -> None:
        if self._rng.random() < RESTART_RATE:
            self._remote.do("restart")
            self.diary.restarts += 1
        if self._rng.random() < RESTART_RATE:
            self.diary.requests += self._client.traffic.requests_sent
            self._client.close()
            self._client, self._lake = self._new_client(), self._new_lake()
            self.diary.restarts += 1
        inject_fault(self._remote, self._rng, self.diary, rate=FAULT_RATE)

    def _synchronise(self) -> None:
        """What the sensor and its runs do: ask for the counts, fetch the windows that moved."""
        abandon = self._rng.random() < ABANDONED_RATE
        try:
            daily = self._counts()
            run = StudySync(self._client, self._lake, streams=STREAMS, run_id=f"run-{self.diary.ticks}", daily=daily)
            reports = run.run(self._dirty(daily))
            for report in reports:
                self.diary.windows += 1
                self.diary.failures.update(failure.error for failure in report.failures)
                if abandon:
                    self.diary.abandoned += 1
                    reports.close()
        except BeiweError as error:
            self.diary.errors[type(error).__name__] += 1

    def _counts(self) -> DailyIndex:
        return DailyIndex.of(ZoneInfo(ZONE), self._client.summary_statistics(STUDY, streams=STREAMS))

    def _dirty(self, daily: DailyIndex) -> list[Cell]:
        windows = list(windows_between("daily", BEGIN, self._now))
        cells: list[Cell] = []
        for person in PEOPLE:
            committed = {key: version.counts for key, version in self._lake.index(person).items()}
            secret = self._lake.counts_secret(person)
            cells += dirty_cells(daily, committed, secret=secret, participant=person, windows=windows, streams=STREAMS)
        return cells

    def _settle(self) -> None:
        """Nothing goes wrong any more: a few passes must bring everything."""
        for _ in range(4):
            self._synchronise()
        assert not self._dirty(self._counts()), "windows still differ from the server's counts"
        self.diary.measure()

    def _compare(self) -> None:
        truth = self._remote.do("truth")
        found = dict(held(self._new_lake()))
        result = verify_study(self._lake)
        files = [path for path in self._folder.rglob("*") if path.is_file()]
        inside = [path for path in files if ".beiwe" in path.parts]
        self.diary.equal = agree(found, truth, self._uploads.deleted)
        self.diary.files_on_server, self.diary.files_in_lake = len(truth), len(found)
        self.diary.findings = len(result.findings)
        self.diary.leftovers = leftovers(self._folder)
        self.diary.manifest_bytes = sum(path.stat().st_size for path in inside)
        self.diary.stored_bytes = sum(path.stat().st_size for path in files) - self.diary.manifest_bytes
        self.diary.requests += self._client.traffic.requests_sent

    def _new_client(self) -> BeiweClient:
        policy = HttpPolicy(attempts=3, read_timeout_seconds=20)
        return BeiweClient(self._remote.credentials, policy=policy, sleep=lambda seconds: None)

    def _new_lake(self) -> StudyLake:
        return BeiweLake(self._folder).study(STUDY, passphrase=PASSPHRASE)


def soak(days: int, *, seed: int = 1) -> SoakDiary:
    """Live through the days in a temporary folder."""
    remote = Remote()
    try:
        with tempfile.TemporaryDirectory() as folder:
            return Soak(remote, Path(folder) / "lake", seed=seed).run(days)
    finally:
        remote.close()


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description="A study's life, compressed.")
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args(arguments)
    logging.disable(logging.WARNING)
    diary = soak(options.days, seed=options.seed)
    text = measured.table(("what", "number"), diary.rows())
    print(text)
    if options.write:
        measured.write("soak", text, command="python tests/faults/soak.py --write")
    return 0 if diary.equal and not diary.findings else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
