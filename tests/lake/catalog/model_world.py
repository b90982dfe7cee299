"""The world of a model: what is stored, what is known to be true of it, and what may happen at any moment."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from hashlib import sha256
from typing import Any, Literal

from dagster_beiwe.lake.layout import planned_on

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
        self.outdated: set[str] = set()
        """What a cut log names, and processes have committed that began before: the lost end may have removed it."""
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
        manifest = f"{STUDY}/{self.owners[token]}/.beiwe/~{base}-{change['nonce']}.json.zst"
        if process is not None:
            self._durable(number, manifest, change["sha256"])
        files = tuple((path, digest) for path, digest in json.loads(self.ever[manifest])["files"].values())
        if process is not None and process.born < self.broken_in:
            self.outdated |= {manifest, *(path for path, _ in files)}
        kept = set(before[-1].files) if before else set()
        for path, digest in files:
            if process is None:
                break
            self._durable(number, path, digest)
            blob = self.files.get(path)
            made = blob is None or (blob.maker == process.name and blob.records > base)
            if not made and (path, digest) not in kept and not self.may_be_another(path):
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
        if sha256(blob.data).hexdigest() != digest and not self.may_be_another(path):
            raise Violation(f"2: record {number} names other bytes of {path}")
        return blob.data

    def may_be_another(self, path: str) -> bool:
        """Whether the lost end of the log may have removed a file and let another run use its first name."""
        return path in self.outdated and planned_on(path) is None

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
