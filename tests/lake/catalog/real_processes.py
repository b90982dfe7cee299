"""What processes of a schedule do to a lake: write, collect, withdraw, keep snapshots and read.

On a local disk a process kills or stops itself at one of its writes; in a store the server sees to that.
"""

from __future__ import annotations

import hashlib
import os
import random
import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from multiprocessing.connection import Connection
from typing import Any

import botocore.loaders  # type: ignore[import-untyped]
import s3fs  # noqa: F401 - for the processes that are forked from the one which has imported it

from dagster_beiwe.errors import CommitConflictError, ConfigurationError, LakeUnavailableError, PastStateError
from dagster_beiwe.lake import CommitRequest, FetchedFile, StudyLake
from dagster_beiwe.lake.catalog.catalog import Catalog
from dagster_beiwe.lake.catalog.collector import Collector, Retention
from dagster_beiwe.lake.catalog.opening import Opening
from dagster_beiwe.lake.catalog.past import add_snapshot
from dagster_beiwe.lake.catalog.state import RULES, Rules, State
from dagster_beiwe.lake.catalog.terms import Terms
from dagster_beiwe.lake.catalog.withdrawal import withdraw
from dagster_beiwe.lake.lake import open_storage
from dagster_beiwe.lake.layout import Subject
from dagster_beiwe.lake.manifest import named
from dagster_beiwe.lake.storage.base import Storage
from dagster_beiwe.lake.writer import LakeWriter, Submitted
from dagster_beiwe.member_names import parse_member_name
from dagster_beiwe.windows import Window

STUDY = "RealRealRealRealRealReal"
PEOPLE = ("p1person", "p2person")
START = datetime(2026, 3, 2, tzinfo=timezone.utc)
WINDOWS = tuple(Window(START + timedelta(days=7 * n), START + timedelta(days=7 * n + 7)) for n in range(2))
HOURS = range(3)
SUBJECTS = [Subject(person) for person in PEOPLE]

Tell = Callable[[Any], None]

_parsed: dict[str, Any] = {}
_load = botocore.loaders.JSONFileLoader.load_file


def _load_once(self: object, path: str) -> Any:
    """What is parsed before a process is forked need not be parsed by it."""
    if path not in _parsed:
        _parsed[path] = _load(self, path)
    return _parsed[path]


botocore.loaders.JSONFileLoader.load_file = _load_once


class NoConflict(Rules):
    """A broken rule: whoever comes later replaces what came earlier."""

    def refusal(self, state: State, change: Any) -> str | None:
        reason = super().refusal(state, change)
        return None if reason and reason.startswith("another run") else reason


class Careless(Rules):
    """A broken rule: what no version names goes, whoever may still commit it, and nothing planned before is refused."""

    def floor(self, state: State, token: str) -> int:
        return 0

    def may_delete(self, *_: object) -> bool:
        return True


BROKEN: Mapping[str, Rules] = {"": RULES, "no conflict": NoConflict(), "careless": Careless()}


@dataclass(frozen=True, kw_only=True)
class Order:
    """What a process is to do, and when it fails. ``offset`` is by how much its clock is ahead, in seconds."""

    name: str
    place: str
    seed: int
    actor: str
    offset: float
    environment: Mapping[str, str]
    rules: str = ""
    fault: tuple[int, str] | None = None


class OpeningOnTerms(Opening):
    """Opens a log with other terms, and begins it."""

    def __init__(self, storage: Storage, terms: Terms) -> None:
        super().__init__(storage, STUDY, None)
        self.terms = terms
        self.opened: Catalog | None = None

    def catalog(self) -> Catalog:
        return self.begun()

    def begun(self, *, former: object = None) -> Catalog:
        if self.opened is None:
            catalog = Catalog.create(self.storage, STUDY, None, terms=self.terms)
            catalog.check()
            self.opened = catalog
        return self.opened


class Lake(StudyLake):
    """A study whose log is opened with other terms: small folders, many checkpoints, a clock that is ahead."""

    def __init__(self, place: str, offset: float, rules: str = "") -> None:
        super().__init__(open_storage(place), STUDY, passphrase=None, cipher=None, keep_superseded_days=0)
        self.offset = offset
        self.terms = Terms(
            now=lambda: datetime.now(timezone.utc).replace(microsecond=0) + timedelta(seconds=self.offset),
            rules=BROKEN[rules],
            checkpoint_every=3,
            records_per_folder=4,
        )
        self.log = OpeningOnTerms(self.storage, self.terms)

    def catalog(self) -> Catalog:
        return self.log.begun()


def write(lake: Lake, order: Order, rng: random.Random, tell: Tell) -> None:
    """Two windows, or one twice: some files new, some restated, some gone. Every other process lets commits wait."""
    waiting: list[Submitted] = []
    with LakeWriter(lake, run_id=order.name, participants=PEOPLE) as writer:
        for _ in range(2):
            person, window = rng.choice(PEOPLE), rng.choice(WINDOWS)
            plan = writer.plan(person, [window])
            fetched_files = []
            for hour in rng.sample(HOURS, rng.randint(1, 2)):
                moment = window.start + timedelta(hours=hour)
                member = parse_member_name(f"{person}/gps/{moment:%Y-%m-%d %H_%M_%S}+00_00.csv")
                staged = writer.stage(member, [rng.randbytes(30)], compressed=False)
                key = f"{STUDY}/{person}/gps/{moment:%Y-%m-%dT%H:%M:%S}.csv"
                fetched_files.append(FetchedFile(key=key, member=member, staged=staged, form=lake.form("gps")))
            old = plan.manifests[window.key]
            gone = [record.key for record in old.files if rng.random() < 0.2] if old else []
            commit_request = CommitRequest(
                study_id=STUDY,
                participant=person,
                window=window,
                streams=("gps",),
                run_id=order.name,
                now=lake.terms.now(),
                deleted_upstream={*gone}.difference(fetched_file.key for fetched_file in fetched_files),
                remove_deleted_upstream=True,
            )
            waiting.append(writer.commit(plan, commit_request, fetched_files))
            if order.seed % 2:
                writer.flush()
                _tell_of(waiting, tell)
        writer.flush()
        _tell_of(waiting, tell)
    tell(("seen", tuple(lake.catalog().durable_head())))


def _tell_of(waiting: list[Submitted], tell: Tell) -> None:
    while waiting:
        commit = waiting.pop(0)
        with suppress(CommitConflictError):
            record, manifest = commit.record(), commit.manifest
            files = {file.key: file.sha256 for file in manifest.files}
            tell(("committed", record, manifest.participant, manifest.window, files))


def collect(lake: Lake, order: Order, rng: random.Random, tell: Tell) -> None:
    """Look everywhere, or where dead runs were."""
    also = SUBJECTS if rng.random() < 0.5 else []
    Collector(lake.catalog(), named, retention=Retention(keep_days=0), run_id=order.name).collect(also)
    tell(("seen", tuple(lake.catalog().state.head)))


def purge(lake: Lake, order: Order, rng: random.Random, tell: Tell) -> None:
    withdraw(lake.catalog(), [rng.choice(SUBJECTS)], run_id=order.name)
    tell(("seen", tuple(lake.catalog().state.head)))


def keep(lake: Lake, order: Order, rng: random.Random, tell: Tell) -> None:
    head = lake.catalog().refresh().head
    name = f"paper{rng.randrange(2)}"
    if name not in lake.catalog().state.snapshots:
        add_snapshot(lake.catalog(), name, head, run_id=order.name, content="", participants=0, files=0, size_bytes=0)
    tell(("seen", tuple(lake.catalog().state.head)))


def read(lake: Lake, order: Order, rng: random.Random, tell: Tell) -> None:
    """Everything, in one state."""
    pinned = lake.at()
    for person in pinned.participants():
        for manifest in pinned.manifests(person):
            for record in manifest.files:
                pinned.read(person, record)
    tell(("seen", tuple(pinned.state.head)))


ACTORS = {"write": write, "collect": collect, "purge": purge, "keep": keep, "read": read}


def work(order: Order, tell: Connection) -> None:
    """Be one process of a schedule."""
    os.environ.update(order.environment)
    if order.fault:
        _fail_at(*order.fault, tell.send)
    try:
        lake = Lake(order.place, order.offset, order.rules)
        ACTORS[order.actor](lake, order, random.Random(order.seed), tell.send)
    except (LakeUnavailableError, CommitConflictError, ConfigurationError, PastStateError) as error:
        tell.send(("ended", type(error).__name__))
    except Exception:
        tell.send(("broken", f"{order.name} ({order.actor}): {traceback.format_exc()}"))
        raise
    os._exit(0)


def _fail_at(number: int, how: str, tell: Tell) -> None:
    """Die or stop before the numbered change of a file; ``tear`` does it while a file is being written."""
    left = [number]

    def hook(event: str, given: tuple[Any, ...]) -> None:
        changes = event in ("os.link", "os.remove", "os.rmdir", "os.mkdir")
        if not changes and not (event == "open" and isinstance(given[2], int) and given[2] & os.O_CREAT):
            return
        left[0] -= 1
        if left[0] == 0 and how == "tear":
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.setitimer(signal.ITIMER_REAL, 0.0003)
        elif left[0] == 0:
            if how == "stop":
                tell(("stopped",))
            os.kill(os.getpid(), signal.SIGSTOP if how == "stop" else signal.SIGKILL)

    sys.addaudithook(hook)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
