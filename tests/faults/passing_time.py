"""What a study's life has in common, with Dagster and without: late and deleted data, faults, and what is measured."""

from __future__ import annotations

import base64
import hashlib
import os
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol

from fault_matrix import SERVER_FAULTS
from fault_scene import STUDY

from dagster_beiwe.lake import StudyLake

RESTART_RATE = 0.03
_SLOW = ("hang", "trickle")
FAULTS = [fault for fault in SERVER_FAULTS if fault.misbehavior and fault.misbehavior["what"] not in _SLOW]
NOT_CHUNKED = "survey_answers"


class Server(Protocol):
    """Does what it is told, in a process of its own."""

    def do(self, name: str, **options: object) -> object: ...


@dataclass
class Diary:
    """What happened. Memory is the resident size of this process in bytes, once a day."""

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
    seconds: float = 0.0

    def memory(self) -> str:
        """After a quarter of the time, and at the end."""
        before, after = self.memory_bytes[len(self.memory_bytes) // 4] / 1e6, self.memory_bytes[-1] / 1e6
        return f"{before:.0f} MB, {after:.0f} MB"

    def measure(self) -> None:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        self.memory_bytes.append(pages * os.sysconf("SC_PAGE_SIZE"))
        self.handles.append(len(os.listdir("/proc/self/fd")))


class Uploads:
    """The hours that phones have sent to a server, of which some become longer and some are deleted."""

    def __init__(self, server: Server, rng: random.Random, diary: Diary) -> None:
        self._server, self._rng, self._diary = server, rng, diary
        self.hours: list[tuple[str, str, datetime]] = []
        self.deleted: set[str] = set()

    def add(self, person: str, stream: str, hour: datetime) -> None:
        self._server.do("add_hour", participant_id=person, stream=stream, hour=hour)
        self.hours.append((person, stream, hour))

    def change(self, *, late_rate: float, deleted_rate: float) -> None:
        chunked = [place for place in self.hours if place[1] != NOT_CHUNKED]
        if chunked and self._rng.random() < late_rate:
            person, stream, hour = self._rng.choice(chunked)
            self._server.do("add_rows", participant_id=person, stream=stream, hour=hour, rows=3)
            self._diary.late += 1
        if chunked and self._rng.random() < deleted_rate:
            place = self._rng.choice(chunked)
            self.hours.remove(place)
            self.deleted.add(key_of(*place))
            self._server.do("delete_files", participant_id=place[0], stream=place[1], hour=place[2])
            self._diary.deleted += 1


def inject_fault(server: Server, rng: random.Random, diary: Diary, *, rate: float) -> None:
    """Let something go wrong on the server: once, twice, or until it is told to behave."""
    if rng.random() < rate:
        fault = rng.choice(FAULTS)
        route = "*" if fault.answers else "/get-data/*"
        server.do("misbehave", **fault.misbehavior, route=route, times=rng.choice((1, 2, None)))
        diary.faults[fault.name] += 1


def key_of(person: str, stream: str, hour: datetime) -> str:
    """The registry key of an hourly file, as the lake has it."""
    return f"{STUDY}/{person}/{stream}/{hour:%Y-%m-%dT%H:%M:%S}.csv"


def held(lake: StudyLake) -> Iterator[tuple[str, str]]:
    """(key, base64 SHA-1 of the plain content) of all that is present, read back and decrypted."""
    for person in lake.participants():
        for manifest in lake.manifests(person):
            for record in manifest.files:
                if record.present:
                    digest = hashlib.sha1(lake.read(person, record), usedforsecurity=False).digest()
                    yield record.key, base64.b64encode(digest).decode()


def leftovers(folder: Path) -> int:
    """Files that only a run at work may have."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return sum(path.suffix == ".part" or path.parent.name == "runs" for path in files)
