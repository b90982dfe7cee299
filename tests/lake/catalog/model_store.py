"""A store in memory that fails as disks and object stores do, and watches what is done to the lake in it.

Every operation is a place where the process may die or be stopped while others run, where power fails, or where an
answer is lost. What is checked here is told by the design page's invariants, with code of its own.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from hashlib import sha256
from typing import Any, Literal

from dagster_beiwe.errors import CommitConflictError, LakeUnavailableError
from dagster_beiwe.lake.layout import planned_on
from dagster_beiwe.lake.storage.base import StoredFile

STUDY = "S"
LOG = f"{STUDY}/.beiwe/log/"
PER_FOLDER = 4
"""Records in a folder, so that short schedules go over its end."""
_MOST_OPERATIONS = 400
"""After so many, nobody is stopped any more, so that schedules end."""
EPOCH = datetime(2026, 1, 1, tzinfo=timezone.utc)


class Killed(BaseException):
    """The process is gone: nothing of it runs any more, no clean-up either."""


class Violation(AssertionError):  # noqa: N818 - it is what the model looks for, not a failure of it
    """An invariant is broken."""


@dataclass
class Process:
    """One process of a schedule. ``seen`` are the heads that it knows of."""

    name: str
    dead: bool = False
    born: int = 0
    """How often the log had been cut or put back when it began."""
    base: int = 0
    """What its newest batch was planned on."""
    seen: set[tuple[int, str]] = field(default_factory=set)


@dataclass
class Blob:
    data: bytes
    written_at: float
    maker: str
    records: int
    """How many records the log had when it was made."""
    outlived: bool
    """Whether its batch could commit nothing any more then: only a look everywhere is sure to find it."""


@dataclass(frozen=True)
class TrueVersion:
    """A version as the records and manifests themselves tell it."""

    at: int
    manifest: str
    files: tuple[tuple[str, str], ...]


class Truth:
    """What the log says, replayed by other means than the code under test."""

    def __init__(self) -> None:
        self.records: list[str] = []
        self.floor = 0
        self.floors: dict[str, int] = {}
        self.purged: set[str] = set()
        self.snapshots: dict[str, int] = {}
        self.lost: set[tuple[int, str]] = set()
        self.versions: dict[tuple[str, str], list[TrueVersion]] = {}
        self.states: list[dict[tuple[str, str], TrueVersion]] = []

    def named(self) -> set[str]:
        """Every file that a retained version names."""
        return {
            path
            for versions in self.versions.values()
            for version in versions
            for path in (version.manifest, *(path for path, _ in version.files))
        }


class World:
    """A lake, its processes, and chance. ``kind`` says which faults it has."""

    def __init__(
        self, seed: int, kind: Literal["disk", "objects"], *, nests: float, leaps: float, stops: Sequence[int]
    ) -> None:
        self.nests, self.leaps, self.stops = nests, leaps, stops
        self.rng = random.Random(seed)
        self.kind = kind
        self.now = 0.0
        self.operations = 0
        self.files: dict[str, Blob] = {}
        self.undurable: set[str] = set()
        self.ghosts: dict[str, Blob] = {}
        """Files whose removal is not durable yet."""
        self.late: list[Callable[[], None]] = []
        self.truth = Truth()
        self.owners: dict[str, str] = {}
        """Participants by token."""
        self.ever: dict[str, bytes] = {}
        """Every file that was ever written."""
        self.holders: list[tuple[Process, bool]] = []
        self.witness: dict[str, bytes] = {}
        self.has_witness = False
        self.told: tuple[int, str] | None = None
        """The head that Dagster remembers."""
        self.processes: list[Process] = []
        self.nested: Callable[[], None] = lambda: None
        self.depth = 0
        self.quiet = False
        self.cut_away: set[str] = set()
        """What versions name of which a cut log knows nothing any more."""
        self.broken_in = 0
        """How often somebody cut the log or laid a backup back."""

    def process(self, name: str) -> Process:
        process = Process(f"{name}{len(self.processes)}", born=self.broken_in)
        self.processes.append(process)
        return process

    def moment(self) -> datetime:
        return EPOCH + timedelta(seconds=int(self.now))

    def step(self, process: Process) -> None:  # noqa: C901 - a case for each thing that may happen
        """The moment before an operation."""
        if process.dead:
            raise Killed
        self.now += 0.05
        self.operations += 1
        if self.quiet:
            return
        chance = self.rng.random()
        if chance < self.nests and self.depth < 3 and self.operations < _MOST_OPERATIONS:
            self.depth += 1
            try:
                for _ in range(self.rng.choice(self.stops)):  # the longer it is stopped, the more others do
                    self.nested()
            finally:
                self.depth -= 1
        elif chance < self.nests + self.leaps:
            while self.late:  # a store refuses a request that was signed a quarter of an hour ago
                self.late.pop()()
            self.now += self.rng.choice((900.0, 7200.0, 90_000.0, 40 * 86_400.0))
        elif chance < self.nests + self.leaps + 0.01:
            process.dead = True
        elif chance < self.nests + self.leaps + 0.03 and self.late:
            self.late.pop(self.rng.randrange(len(self.late)))()
        elif chance > 0.998 and self.kind == "disk":
            self.lose_power()
        if process.dead:
            raise Killed

    def lose_power(self) -> None:
        """Every process dies; of what was not made durable, any part is lost."""
        for process in self.processes:
            process.dead = True
        for path in sorted(self.undurable):
            if self.rng.random() < 0.5:
                self.files.pop(path, None)
        for path, blob in sorted(self.ghosts.items(), key=lambda each: each[0]):
            if self.rng.random() < 0.5:
                self.files.setdefault(path, blob)
        self.undurable.clear()
        self.ghosts.clear()
        self.recount()
        if (lost := self.truth.named() - self.files.keys()) and not self.broken_in:
            raise Violation(f"2: {lost} were named by a record, and are lost")
        if (
            self.told is not None
            and self.told not in self.heads()
            and self.told not in self.truth.lost
            and not self.broken_in
        ):
            raise Violation(f"1: record {self.told[0]}, of which Dagster was told, is lost")

    def shows_cut(self) -> bool:
        """Whether something lies there that was planned on a record which the log does not have."""
        head = len(self.truth.records) - 1
        return any(path in self.files and (planned_on(path) or 0) > head for path in self.cut_away)

    def heads(self) -> set[tuple[int, str]]:
        return set(enumerate(self.truth.records))

    def recount(self) -> None:
        """Learn the truth anew, from what lies in the log."""
        self.truth = Truth()
        paths = sorted(path for path in self.files if path.startswith(LOG))
        if len(paths) and paths[-1] != record_path(len(paths) - 1):
            raise Violation(f"1: there is {paths[-1]}, but {len(paths)} records in all")
        for number, path in enumerate(paths):
            self.take(number, self.files[path].data, None)

    def take(self, number: int, data: bytes, process: Process | None) -> None:  # noqa: C901 - a case for each kind
        """A record is in the log now: check it, and learn what it says. ``process`` has just made it."""
        truth, record = self.truth, json.loads(data.partition(b"\n")[2])
        if number != len(truth.records):
            raise Violation(f"1: record {number} was made when there were {len(truth.records)}")
        if record["number"] != number or record["previous"] != (truth.records[-1] if truth.records else ""):
            raise Violation(f"1: record {number} is not chained to the one before")
        if process is not None:
            self._check_sight(record, process)
        kind = record["kind"]
        if kind == "commit":
            for change in record["changes"]:
                self._take_change(number, change, process)
        elif kind == "collect":
            self._take_collection(number, record)
        elif kind == "purge":
            truth.purged |= {place[0] for place in record["places"]}
            truth.versions = {key: each for key, each in truth.versions.items() if key[0] not in truth.purged}
        elif kind == "snapshot":
            truth.snapshots[record["name"]] = record["at"][0]
        elif kind == "unsnapshot":
            del truth.snapshots[record["name"]]
        elif kind == "accept":
            truth.lost |= {(n, text) for n, text in record["lost"]}
        truth.records.append(sha256(data).hexdigest())
        truth.states.append({key: versions[-1] for key, versions in truth.versions.items()})

    def _check_sight(self, record: dict[str, Any], process: Process) -> None:
        if record["kind"] == "accept":
            return
        seen = set(process.seen)
        if self.has_witness:
            heads = {head_of(path) for path in self.witness} - self.truth.lost
            newest = max((number for number, _ in heads), default=0)
            seen |= {head for head in heads if head[0] == newest}  # a run asks for no more; `verify` compares all
        for head in seen - self.truth.lost - self.heads():
            raise Violation(f"6: {process.name} made record {record['number']} on a log that lacks {head[0]}")

    def _take_change(self, number: int, change: dict[str, Any], process: Process | None) -> None:
        truth, token, window, base = self.truth, change["token"], change.get("window", ""), change["base"]
        if token in truth.purged:
            raise Violation(f"8: record {number} names a subject that was withdrawn")
        if base < truth.floor or base < truth.floors.get(token, 0):
            raise Violation(f"4: record {number} was planned on {base}, below the floor")
        before = truth.versions.get((token, window), [])
        if before and before[-1].at > base:
            raise Violation(f"3: record {number} was planned on {base}, but {before[-1].at} changed its window")
        manifest = f"{STUDY}/{self.owners[token]}/.beiwe/{window}~{base}-{change['nonce']}.json.zst"
        if process is not None:
            self._durable(number, manifest, change["sha256"])
        files = tuple((path, digest) for path, digest in json.loads(self.ever[manifest])["files"].values())
        kept = set(before[-1].files) if before else set()
        for path, digest in files if process is not None else ():
            self._durable(number, path, digest)
            blob = self.files.get(path)
            if blob and (path, digest) not in kept and not (blob.maker == process.name and blob.records > base):
                raise Violation(f"4: record {number} names {path}, which its batch did not make after {base}")
        truth.versions[token, window] = [*before, TrueVersion(number, manifest, files)]

    def _durable(self, number: int, path: str, digest: str) -> bytes:
        blob = self.files.get(path)
        if blob is None and self.broken_in:
            return self.ever[path]  # the lost end of the log may have removed it
        if blob is None:
            raise Violation(f"2: record {number} names {path}, which is not there")
        if path in self.undurable:
            raise Violation(f"2: record {number} names {path}, which is not durable")
        if sha256(blob.data).hexdigest() != digest:
            raise Violation(f"2: record {number} names other bytes of {path}")
        return blob.data

    def _take_collection(self, number: int, record: dict[str, Any]) -> None:
        truth = self.truth
        if not truth.floor <= record["floor"] <= number:
            raise Violation(f"5: record {number} moves the floor from {truth.floor} to {record['floor']}")
        truth.floor = record["floor"]
        for (token, window, *_), at in record.get("dropped", ()):
            versions = truth.versions.get((token, window), [])
            place = [version.at for version in versions].index(at)
            if place == len(versions) - 1:
                raise Violation(f"5: record {number} drops the newest version of {window}")
            if any(at <= mark < versions[place + 1].at for mark in truth.snapshots.values()):
                raise Violation(f"5: record {number} drops a version that a snapshot needs")
            truth.versions[token, window] = [version for version in versions if version.at != at]
        for (token, *_), _name in record.get("burnt", ()):
            truth.floors[token] = number


def record_path(number: int) -> str:
    return f"{LOG}{number // PER_FOLDER:06}/{number % PER_FOLDER:03}"


def head_of(path: str) -> tuple[int, str]:
    """The head that a witness's file stands for."""
    _, folder, name = path.split("/")
    return int(folder) * 1000 + int(name[:3]), name[4:]


class ModelStore:
    """The lake as one process reaches it."""

    def __init__(self, world: World, process: Process, *, sync: bool = True, guards: bool = True) -> None:
        self._world, self._process, self._sync, self._guards = world, process, sync, guards

    @property
    def locks(self) -> bool:
        return self._world.kind == "disk"

    def describe(self) -> str:
        return "the model"

    def read(self, path: str, *, limit_bytes: int = 0) -> bytes:
        self._step("read")
        blob = self._world.files.get(path)
        if blob is None:
            raise FileNotFoundError(path)
        return blob.data

    def read_all(self, paths: Sequence[str]) -> list[bytes | None]:
        self._step("read")
        found = [self._world.files.get(path) for path in paths]
        return [blob.data if blob else None for blob in found]

    def list(self, path: str) -> list[str]:
        self._step("read")
        start = f"{path}/"
        return sorted({each[len(start) :].partition("/")[0] for each in self._world.files if each.startswith(start)})

    def scan(self, path: str) -> Iterator[StoredFile]:
        self._step("read")
        start = f"{path}/"
        for each, blob in list(self._world.files.items()):
            if each.startswith(start):
                yield StoredFile(each, len(blob.data), EPOCH.timestamp() + blob.written_at)

    def create_new(self, path: str, data: bytes, *, staging: str | None = None) -> None:
        world = self._world
        world.step(self._process)
        if world.kind == "disk":
            if not self._put(path, data):
                raise FileExistsError(path)
            world.undurable.add(path)
            world.step(self._process)
            self.sync_folder(path.rpartition("/")[0])
            return
        chance = 1.0 if world.quiet else world.rng.random()
        if chance < 0.02:
            world.late.append(lambda: self._land(path, data))
            raise LakeUnavailableError("no answer; it is on its way")
        if chance < 0.03:
            raise LakeUnavailableError("no answer; it was lost")
        if not self._put(path, data):
            raise FileExistsError(path)
        if chance < 0.05:
            raise LakeUnavailableError("no answer; it was done")
        if chance < 0.07:
            raise FileExistsError(path)  # the client asked twice, and the second answer is this one
        world.step(self._process)

    def delete(self, path: str) -> None:
        world = self._world
        world.step(self._process)
        if world.kind == "objects" and not world.quiet and world.rng.random() < 0.04:
            world.late.append(lambda: self._remove(path))
            raise LakeUnavailableError("no answer; it is on its way")
        self._remove(path)

    def delete_all(self, paths: Sequence[str]) -> None:
        for path in paths:
            self.delete(path)
        if self._world.kind == "disk":
            for folder in {path.rpartition("/")[0]: None for path in paths}:
                self.sync_folder(folder)

    def delete_folder(self, path: str) -> None:
        world = self._world
        world.step(self._process)
        if any(each.startswith(f"{path}/") for each in world.files):
            raise LakeUnavailableError("the folder is not empty")

    def sync_folder(self, path: str) -> None:
        world = self._world
        world.step(self._process)
        if self._sync:
            world.undurable = {each for each in world.undurable if each.rpartition("/")[0] != path}
            world.ghosts.clear()  # a journal keeps the order of removals

    @contextmanager
    def guard(self, path: str, *, exclusive: bool) -> Iterator[None]:
        world, mine = self._world, (self._process, exclusive)
        world.step(self._process)
        if world.kind == "disk" and self._guards:
            world.holders = [each for each in world.holders if not each[0].dead]
            if any(exclusive or other for _, other in world.holders):
                raise CommitConflictError("somebody writes, or has it alone")
            world.holders.append(mine)
        try:
            yield
        finally:
            if mine in world.holders and not self._process.dead:
                world.holders.remove(mine)

    def _step(self, kind: str) -> None:
        world = self._world
        world.step(self._process)
        if world.kind == "objects" and not world.quiet and world.rng.random() < 0.002:
            raise LakeUnavailableError(f"the {kind} failed")

    def _put(self, path: str, data: bytes) -> bool:
        world = self._world
        if path in world.files:
            return False
        world.ever[path] = data
        world.files[path] = Blob(
            data, world.now, self._process.name, len(world.truth.records), self._process.base < world.truth.floor
        )
        world.ghosts.pop(path, None)
        if "/.beiwe/token-" in path:
            document = json.loads(data.partition(b"\n")[2])
            world.owners[document["token"]] = document["name"]
        if path.startswith(LOG):
            folder, _, name = path[len(LOG) :].partition("/")
            number = int(folder) * PER_FOLDER + int(name)
            if world.kind == "disk" and any(each.startswith(LOG) for each in world.undurable):
                before = record_path(number - 1)
                if before in world.undurable and before.rpartition("/")[0] != path.rpartition("/")[0]:
                    raise Violation(f"1: record {number} was made before {number - 1} was durable")
            world.take(number, data, self._process)
        return True

    def _land(self, path: str, data: bytes) -> None:
        self._put(path, data)

    def _remove(self, path: str) -> None:
        world = self._world
        blob = world.files.get(path)
        if blob is None:
            return
        if path.startswith(LOG):
            raise Violation(f"1: {self._process.name} removes {path}")
        if path in world.cut_away and self._process.name.startswith("collector") and world.shows_cut():
            raise Violation(f"6: {self._process.name} removes {path}, which a log named that was cut since")
        # Of a log that was cut since, an old process may know too much: then the cut has done the harm.
        if path in world.truth.named() and self._process.born == world.broken_in:
            raise Violation(f"5: {self._process.name} removes {path}, which a retained version names")
        del world.files[path]
        if path not in world.undurable:
            world.ghosts[path] = blob
        world.undurable.discard(path)


class WitnessStore:
    """A witness that never fails: what it may miss is what a process that died did not come to tell it."""

    def __init__(self, world: World, process: Process) -> None:
        self._world, self._process = world, process

    def describe(self) -> str:
        return "the witness"

    def read(self, path: str, *, limit_bytes: int = 0) -> bytes:
        return self._world.witness[path]

    def list(self, path: str) -> list[str]:
        self._world.step(self._process)
        start = f"{path}/"
        return sorted({each[len(start) :].partition("/")[0] for each in self._world.witness if each.startswith(start)})

    def create_new(self, path: str, data: bytes, *, staging: str | None = None) -> None:
        self._world.step(self._process)
        if path in self._world.witness:
            raise FileExistsError(path)
        self._world.witness[path] = data

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"a witness is never asked to {name}")
