"""Schedules of real processes on one lake, which die, are stopped, and whose answers are lost, late or doubled.

What the lake holds afterwards is looked at with code of its own: records as they lie there, and every file that a
retained version names.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from multiprocessing import forkserver, get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext
from typing import Any
from unittest import mock

from object_helpers import S3, Answer, Call
from real_processes import ACTORS, PEOPLE, STUDY, SUBJECTS, Lake, Order, sha256, work

from dagster_beiwe.lake.catalog.collector import Collector, Retention
from dagster_beiwe.lake.catalog.records import Head
from dagster_beiwe.lake.layout import Subject, is_token
from dagster_beiwe.lake.manifest import Manifest, named

WEIGHTS = {"write": 5, "collect": 2, "purge": 0.5, "keep": 0.7, "read": 1}
DISK_FAULTS = ("stop", "kill", "tear")
STORE_FAULTS = ("stop", "kill before", "late", "lose", "kill after", "double")
MOST_WRITES = 17
"""Of a process; prime to the number of faults."""
LEAP = 3 * 86_400.0
PATIENCE_SECONDS = 60.0

Spawn = Callable[[Order], "tuple[Any, Connection]"]
"""Starts a process, and returns it with what it says."""


@cache
def forking() -> ForkServerContext:
    """A process that has imported what others need, to be forked."""
    context = get_context("forkserver")
    context.set_forkserver_preload(["real_processes"])
    with mock.patch.dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path)):  # it looks for that module nowhere else
        forkserver.ensure_running()
    return context


def forked(order: Order) -> tuple[Any, Connection]:
    mine, theirs = forking().Pipe(duplex=False)
    process = forking().Process(target=work, args=(order, theirs))
    process.start()
    theirs.close()
    return process, mine


@dataclass(frozen=True, kw_only=True)
class Ways:
    """How processes of a schedule are started, and what may happen to their requests to a store."""

    spawn: Spawn = forked
    faults: Sequence[str] = STORE_FAULTS
    away_seconds: float = 0.0
    """For how long a process is cut off from the store."""


@dataclass(eq=False)
class Actor:
    """A process, and what is known of it."""

    order: Order
    process: Any
    answers: Connection
    writes: int = 0
    back_at: float = 0.0
    stopped: bool = False
    resume: threading.Event = field(default_factory=threading.Event)

    def send(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.process.pid, number)


class Schedule:
    """One schedule. ``s3`` is the server of ``place``, None for a folder."""

    def __init__(self, seed: int, place: str, s3: S3 | None = None, rules: str = "", ways: Ways = Ways()) -> None:
        self.rng, self.ways = random.Random(seed), ways
        self.seed, self.place, self.s3, self.rules = seed, place, s3, rules
        self.offset = 0.0
        self.actors: dict[str, Actor] = {}
        self.running: list[Actor] = []
        self.late: list[Call] = []
        self.told: list[Any] = []
        self.lock = threading.Lock()

    def play(self) -> None:
        """Raises ``AssertionError`` if the lake is not what it must be."""
        if self.s3 is not None:
            from moto.core.utils import utcnow

            def ahead() -> datetime:
                now: datetime = utcnow()
                return now + timedelta(seconds=self.offset)

            with mock.patch("moto.s3.models.utcnow", ahead):
                self.s3.meddle = self.meddle
                self.play_all()
        else:
            self.play_all()

    def play_all(self) -> None:
        try:
            Lake(self.place, 0).catalog()
            for _ in range(self.rng.randint(2, 3)):
                for _ in range(self.rng.randint(1, 2)):
                    self.start()
                self.settle()
                if self.rng.random() < 0.6:
                    self.offset += LEAP
                if self.rng.random() < 0.3:
                    self.go_on()
                if self.rng.random() < 0.5:
                    self.deliver()
            self.go_on()
            self.settle()
            self.deliver()
        finally:
            for actor in self.running:
                self.end(actor)
        self.check()

    def start(self) -> None:
        rng = self.rng
        actor = rng.choices(list(WEIGHTS), list(WEIGHTS.values()))[0] if self.actors else "write"
        if any(each.stopped for each in self.running) and rng.random() < 0.5:
            actor = "collect"  # the more so while somebody is in the middle of something
        faults = self.ways.faults if self.s3 else DISK_FAULTS
        fault = (rng.randint(1, MOST_WRITES), rng.choice(faults)) if rng.random() < 0.8 else None
        if not self.actors:  # so that all faults come, at each write
            fault = (self.seed % MOST_WRITES + 1, faults[self.seed % len(faults)])
        name = f"actor-{self.seed}-{len(self.actors)}"
        environment = {**self.s3.environment, "AWS_ACCESS_KEY_ID": name} if self.s3 else {}
        order = Order(
            name=name,
            place=self.place,
            seed=rng.randrange(2**32),
            actor=actor,
            offset=self.offset,
            environment=environment,
            rules=self.rules,
            fault=fault,
        )
        in_child = order if self.s3 is None else Order(**{**vars(order), "fault": None})
        self.actors[name] = started = Actor(order, *self.ways.spawn(in_child))
        self.running.append(started)

    def settle(self) -> None:
        """Wait until every process has ended, or is stopped; who is stopped in the way of others goes on."""
        waited = 0.0
        while active := [actor for actor in self.running if not actor.stopped]:
            ready = wait([actor.answers for actor in active], timeout=0.1)
            waited = 0.0 if ready else waited + 0.1
            for actor in active:
                if actor.answers in ready:
                    self.listen(actor)
                elif not actor.stopped and not ready:
                    actor.send(signal.SIGCONT)  # it may have been slower to stop than it was to go on
            if waited > 0.25 and len(active) < len(self.running):
                self.go_on()
            assert waited < PATIENCE_SECONDS + self.ways.away_seconds, f"{[actor.order for actor in active]} hang"

    def listen(self, actor: Actor) -> None:
        try:
            said = actor.answers.recv()
        except EOFError:
            self.end(actor)
            return
        assert said[0] != "broken", said[1]
        if said[0] == "stopped":
            actor.stopped = True
        self.told.append((actor.order.name, *said))

    def go_on(self) -> None:
        """Those that are stopped go on, or are killed."""
        for actor in [actor for actor in self.running if actor.stopped]:
            if self.rng.random() < 0.2:
                actor.send(signal.SIGKILL)
            actor.send(signal.SIGCONT)
            actor.stopped = False
            actor.resume.set()

    def end(self, actor: Actor) -> None:
        actor.process.kill()
        actor.resume.set()
        actor.process.join()
        actor.answers.close()
        self.running.remove(actor)

    def deliver(self) -> None:
        """Requests arrive that were on their way."""
        while self.late:
            self.late.pop(self.rng.randrange(len(self.late))).pass_on()

    def meddle(self, call: Call) -> Answer:
        """What the store does with a request: at one of each process's writes something happens."""
        found = re.search(r"Credential=(actor-[\d-]+)/", call.environ.get("HTTP_AUTHORIZATION", ""))
        actor = self.actors.get(found[1]) if found else None
        if actor is None:
            return call.pass_on()
        if time.monotonic() < actor.back_at:
            call.lose_answer()
        how = self.fault_at(actor, call)
        if how == "late":
            self.late.append(call)
            return call.refuse("500 Internal Server Error", "InternalError")
        if how == "cut off":
            actor.back_at = time.monotonic() + self.ways.away_seconds
            call.lose_answer()
        if how == "kill before":
            actor.send(signal.SIGKILL)
            call.lose_answer()
        if how == "stop":  # the request is carried out when the process goes on, whatever has happened since
            actor.send(signal.SIGSTOP)
            actor.stopped = True
            actor.resume.wait(PATIENCE_SECONDS)
        answer = call.pass_on()
        if how == "double":
            return call.pass_on()
        if how == "kill after":
            actor.send(signal.SIGKILL)
        if how in ("kill after", "lose"):
            call.lose_answer()
        return answer

    def fault_at(self, actor: Actor, call: Call) -> str:
        """What happens to a request; nothing to most of them."""
        if actor.order.fault is None or call.method not in ("PUT", "POST", "DELETE"):
            return ""
        with self.lock:
            actor.writes += 1
            number, how = actor.order.fault
            return how if actor.writes == number else ""

    # What must be true in the end

    def check(self) -> None:
        lake = Lake(self.place, self.offset)
        records = self.records(lake)
        replay(records)  # before anything of the package looks at them
        heads = {Head(number, sha256(data)) for number, data in enumerate(records)}
        assert lake.catalog().refresh().head == max(heads)
        for name, kind, *said in self.told:
            if kind == "seen":
                assert Head(*said[0]) in heads, f"{name} has seen {said[0]}, which is lost"
            if kind == "committed":
                self.check_commit(lake, name, records, *said)
        self.whole(lake)
        if self.s3 is None or self.rng.random() < 0.5:
            self.tidy(lake)

    def tidy(self, lake: Lake) -> None:
        """After some collections there is nothing that no version names.

        What a process wrote that outlived a collection is found by a look everywhere; all else by markers.
        """
        outlived = any(actor.order.fault and actor.order.fault[1] in ("stop", "late") for actor in self.actors.values())
        for _ in range(3):
            self.offset += 100 * 86_400.0
            lake.offset = self.offset
            collector = Collector(lake.catalog(), named, retention=Retention(keep_days=0), run_id="last")
            collector.collect(SUBJECTS if outlived else ())
        kept = self.whole(lake)
        found = [file.path for file in lake.storage.scan(STUDY) if not file.path.startswith(f"{STUDY}/.beiwe/")]
        assert {path for path in found if not is_token(path)} == kept
        assert lake.storage.list(f"{STUDY}/.beiwe/runs") == []

    def records(self, lake: Lake) -> list[bytes]:
        log = f"{STUDY}/.beiwe/log"
        names = sorted(file.path for file in lake.storage.scan(log))
        assert names == [f"{log}/{number // 4:06}/{number % 4:03}" for number in range(len(names))]
        return [data for data in lake.storage.read_all(names) if data is not None]

    def check_commit(
        self, lake: Lake, name: str, records: list[bytes], number: int, person: str, window: str, files: dict[str, str]
    ) -> None:
        """What a process was told to be committed is, as it was."""
        assert document(records[number])["run"] == name
        catalog = lake.catalog()
        token = catalog.identities.token(Subject(person), catalog.state)
        versions = catalog.state.section().windows(token or "").get(window, ())
        for version in versions:
            if version.at == number:
                manifest = lake.manifest_of(person, window, version)
                assert {file.key: file.sha256 for file in manifest.files} == files

    def whole(self, lake: Lake) -> set[str]:
        """Every version that is retained is there. Returns the paths of its files, and of the manifests."""
        catalog, kept = lake.catalog(), set()
        for person in PEOPLE:
            for window, versions in lake.versions(person).items():
                for version in versions:
                    if not version.readable:
                        continue
                    kept.add(catalog.layout.home(Subject(person)).manifest(version.base, version.nonce))
                    kept |= self.read(lake, person, lake.manifest_of(person, window, version))
        for name in catalog.state.snapshots:
            past = lake.at(name)
            for person in past.participants():
                for manifest in past.manifests(person):
                    assert self.read(past, person, manifest) <= kept
        return kept

    def read(self, lake: Any, person: str, manifest: Manifest) -> set[str]:
        paths = [lake.folder(person, record.path) for record in manifest.files]
        for record, data in zip(manifest.files, lake.storage.read_all(paths), strict=True):
            assert data is not None, f"{record.path} is lost"
            assert sha256(data) == record.stored_sha256
        return set(paths)


def play(
    seeds: Iterable[int], place: str, s3: S3 | None = None, *, rules: str = "", at_once: int = 1, ways: Ways = Ways()
) -> None:
    """Play schedules, each in a place of its own. Raises ``AssertionError`` with what is broken in one."""
    with ThreadPoolExecutor(at_once) as pool:
        playing = [pool.submit(Schedule(seed, f"{place}-{seed}", s3, rules, ways).play) for seed in seeds]
        try:
            for each in playing:
                each.result()
        finally:
            pool.shutdown(cancel_futures=True)


def document(data: bytes) -> dict[str, Any]:
    return dict(json.loads(data.partition(b"\n")[2]))


def replay(records: Iterable[bytes]) -> None:
    """The rules of the design, by what the records say."""
    previous, floor = "", 0
    touched: dict[tuple[str, str], int] = {}
    burnt: dict[str, int] = {}
    purged: set[str] = set()
    for number, data in enumerate(records):
        record = document(data)
        assert (record["number"], record["previous"]) == (number, previous)
        previous = sha256(data)
        for change in record.get("changes", ()):
            token, place = change["token"], (change["token"], change.get("window", ""))
            assert token not in purged, f"record {number} names somebody who was withdrawn"
            assert change["base"] >= touched.get(place, 0), f"record {number} was planned before its window's last one"
            assert change["base"] >= max(floor, burnt.get(token, 0)), f"record {number} was planned below the floor"
            touched[place] = number
        if record["kind"] == "collect":
            assert floor <= record["floor"] <= number
            floor = record["floor"]
            burnt |= {place[0]: number for place, _ in record.get("burnt", ())}
        if record["kind"] == "purge":
            purged |= {place[0] for place in record["places"]}


assert set(WEIGHTS) == set(ACTORS)
