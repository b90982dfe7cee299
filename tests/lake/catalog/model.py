"""Schedules of processes on one lake, drawn by chance: the design's invariants are checked at every step."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable, Generator, Iterable
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Literal
from unittest import mock

from model_store import PER_FOLDER, STUDY, Killed, ModelStore, Process, Violation, WitnessStore, World, record_path

from dagster_beiwe.errors import (
    CommitConflictError,
    ConfigurationError,
    IntegrityError,
    LakeUnavailableError,
    PastStateError,
)
from dagster_beiwe.lake.catalog.batch import Batch
from dagster_beiwe.lake.catalog.catalog import Catalog
from dagster_beiwe.lake.catalog.collector import Collector, Retention
from dagster_beiwe.lake.catalog.log import Log
from dagster_beiwe.lake.catalog.past import accept_restored, add_snapshot, remove_snapshot
from dagster_beiwe.lake.catalog.records import Change, Head, Place
from dagster_beiwe.lake.catalog.state import RULES, Rules, State
from dagster_beiwe.lake.catalog.terms import Terms
from dagster_beiwe.lake.catalog.withdrawal import withdraw
from dagster_beiwe.lake.layout import Home, Subject

PEOPLE = (Subject("ann"), Subject("bob"))
WINDOWS = ("w1", "w2")
KEYS = ("a", "b")
Kind = Literal["disk", "objects"]
Actor = Generator[None, None, None]


class CatalogThatLooks(Catalog):
    """The catalog as it is."""


@dataclass(frozen=True, kw_only=True)
class Ways:
    """How things are done. The defaults are how the package does them; a mutation breaks one of them."""

    rules: Rules = RULES
    retention: type[Retention] = Retention
    log: type[Log] = Log
    catalog: type[Catalog] = CatalogThatLooks
    batch: type[Batch] = Batch
    collector: type[Collector] = Collector
    withdraw: Callable[..., object] = withdraw
    sync: bool = True
    guards: bool = True
    revive: bool = False
    reuse_names: bool = False
    reuse_files: bool = False


HONEST = Ways()


@dataclass(frozen=True, kw_only=True)
class Mix:
    """What schedules are made of: how much there is of everything, and how often what happens."""

    people: int = 2
    windows: int = 2
    steps: tuple[int, int] = (4, 14)
    writers: float = 0.5
    collectors: float = 0.22
    readers: float = 0.14
    snapshots: float = 0.07
    upsets: float = 0.07
    cuts: float = 0.3
    forgetful: float = 0.3
    leaps: float = 0.01
    nests: float = 0.08
    tidied: float = 1.0
    """Of how many schedules it is seen that collections find everything in the end; that takes half the time."""
    stops: tuple[int, ...] = (1, 1, 1, 8)
    """For how many steps of others a process is stopped."""


SHORT = Mix(people=1, windows=1, steps=(2, 7), stops=(1,), tidied=0.1)
WIDE = Mix()
NARROW = Mix(
    people=1, windows=1, steps=(10, 24), writers=0.55, collectors=0.4, readers=0.02, snapshots=0.02, leaps=0.04
)
PAPERS = Mix(people=1, windows=1, steps=(10, 24), writers=0.45, collectors=0.25, readers=0.05, snapshots=0.25, upsets=0)
RETURNS = Mix(people=1, windows=1, steps=(10, 24), writers=0.5, collectors=0.25, readers=0, snapshots=0)
CUTS = Mix(
    people=1, windows=2, steps=(8, 20), collectors=0.4, readers=0.05, snapshots=0, upsets=0.2, cuts=0.9, forgetful=1
)


def named(home: Home, manifest: bytes) -> Iterable[str]:
    """The files that a manifest of the model names."""
    return [path for path, _ in json.loads(manifest)["files"].values()]


class Schedule:
    """One run of everything. ``play`` raises ``Violation`` if an invariant is broken."""

    def __init__(self, seed: int, kind: Kind, ways: Ways, mix: Mix = WIDE) -> None:
        self.world = World(seed, kind, nests=mix.nests, leaps=mix.leaps, stops=mix.stops)
        self.mix = mix
        self.world.nested = self.advance
        self.rng: random.Random = self.world.rng
        self.ways = ways
        self.world.has_witness = self.rng.random() < 0.3 and mix.forgetful < 1
        self.forgetful = not self.world.has_witness and self.rng.random() < mix.forgetful
        """Nobody but the lake remembers anything."""
        self.cells = [(p, w) for p in PEOPLE[: mix.people] for w in WINDOWS[: mix.windows]]
        self.actors: list[tuple[Process, Actor]] = []
        self.running: list[Process] = []
        self.backup: dict[str, Any] | None = None
        self.withdrawn: set[Subject] = set()
        self.count = itertools.count()

    def play(self) -> None:
        with mock.patch("os.urandom", self.rng.randbytes):  # so that a seed says all
            try:
                self.play_all()
            finally:
                self.kill_all()

    def play_all(self) -> None:
        first = self.world.process("first")
        self.world.quiet = True
        Catalog.create(ModelStore(self.world, first), STUDY, None, terms=self.terms())
        self.world.quiet = False
        for _ in range(self.rng.randint(2, 3)):
            self.start()
        for _ in range(self.rng.randint(*self.mix.steps)):
            self.advance()
            if self.rng.random() < self.mix.upsets:
                self.upset()
        self.end()

    def terms(self) -> Terms:
        world = self.world
        return Terms(
            rules=self.ways.rules,
            log=self.ways.log,
            now=world.moment,
            monotonic=lambda: world.now,
            look_after_seconds=10.0,
            checkpoint_every=3,
            records_per_folder=PER_FOLDER,
        )

    def open(self, process: Process) -> Catalog:
        store = ModelStore(self.world, process, sync=self.ways.sync, guards=self.ways.guards)
        witness: Any = WitnessStore(self.world, process) if self.world.has_witness else None
        catalog = self.ways.catalog.open(store, STUDY, None, witness=witness, terms=self.terms())
        assert catalog is not None
        told = [Head(*self.world.told)] if self.world.told and not self.forgetful else []
        process.seen.update(told)
        catalog.check(told)
        process.seen.add(catalog.state.head)
        return catalog

    def start(self) -> None:
        """Let another process begin."""
        mix = self.mix
        kinds = (self.writer, self.collector, self.reader, self.snapshotter, self.purger)
        weights = (mix.writers, mix.collectors, mix.readers, mix.snapshots)
        actor = self.rng.choices(kinds, (*weights, max(0.0, 1 - sum(weights))))[0]
        process = self.world.process(actor.__name__)
        self.actors.append((process, actor(process)))

    def advance(self) -> None:
        """Let one process go a step on; processes that are in the middle of one are not asked."""
        ready = [each for each in self.actors if each[0] not in self.running]
        if not ready or self.rng.random() < 0.1:
            if len(self.actors) < 5:
                self.start()
            return
        process, actor = self.rng.choice(ready)
        self.running.append(process)
        try:
            next(actor)
        except (StopIteration, Killed):
            self.actors.remove((process, actor))
        except (LakeUnavailableError, CommitConflictError, ConfigurationError, PastStateError):
            self.actors.remove((process, actor))
        except IntegrityError as error:
            self.actors.remove((process, actor))
            if not self.world.broken_in:
                raise Violation(f"{process.name} was refused: {error}") from error
        finally:
            self.running.remove(process)

    def writer(self, process: Process) -> Actor:
        """A run: plans, stages and commits, twice."""
        catalog = self.open(process)
        store: Any = catalog.store
        with store.guard(catalog.layout.inside, exclusive=False):
            left: dict[Place, Change] = {}
            for _ in range(2):
                yield
                chosen = self.rng.sample(self.cells, self.rng.randint(1, min(2, len(self.cells))))
                with self.ways.batch(catalog, run_id="run", subjects=dict(chosen)) as batch:
                    process.seen.add(catalog.state.head)
                    process.base = batch.base
                    changes = []
                    for subject, window in chosen:
                        yield
                        place = batch.place(subject, window)
                        if self.ways.reuse_files and place in left:
                            changes.append(self.again(batch, subject, window, left[place]))
                        else:
                            changes.append(self.stage(catalog, batch, subject, window))
                    yield
                    outcomes = batch.commit(changes)
                    left = {change.place: change for change in changes if outcomes[change.place].refused}
                    head = catalog.durable_head()
                    process.seen.add(head)
                    if head in self.world.heads():
                        self.world.told = tuple(head)

    def stage(self, catalog: Catalog, batch: Batch, subject: Subject, window: str) -> Change:
        """Write a new version of a window: some files kept, some restated, some new, some gone."""
        place = batch.place(subject, window)
        version = batch.state.current(place.token).get(window)
        old = json.loads(catalog.manifest(subject, window, version)) if version else {"files": {}, "removed": []}
        files, removed = dict(old["files"]), set(old["removed"])
        written: list[str] = []
        for key in KEYS:
            chance = self.rng.random()
            if chance < 0.35:
                continue
            if (
                key in files
                and self.ways.revive
                and (old_file := self.superseded(catalog, batch, subject, window, key))
            ):
                files[key] = old_file
                continue
            if key in files and chance < 0.5:
                del files[key]
                removed.add(key)
                continue
            if len(files) > 1 and chance < 0.7:
                continue
            data = b"%d" % next(self.count)
            first = key not in files and key not in removed
            written.append(self.write(catalog, batch, subject, window, key, data, first=first))
            files[key] = (written[-1], sha256(data).hexdigest())
            removed.discard(key)
        manifest = json.dumps({"files": files, "removed": sorted(removed)}).encode()
        return batch.change(subject, window, manifest, files=written)

    def write(
        self, catalog: Catalog, batch: Batch, subject: Subject, window: str, key: str, data: bytes, *, first: bool
    ) -> str:
        """Write a file: a first version under its own name, if that was never used."""
        home, stem = catalog.layout.home(subject), f"0-{window}-{key}"
        names = catalog.identities
        if first and (self.ways.reuse_names or names.may_be_first(subject, f"{stem}.csv", batch.state)):
            with suppress(FileExistsError):
                return self.put(catalog, batch, f"{home.prefix}gps/{stem}.csv", data)
        while True:
            path = batch.own_name(f"{home.prefix}gps/{stem}", ".csv")
            with suppress(FileExistsError):
                return self.put(catalog, batch, path, data)

    def put(self, catalog: Catalog, batch: Batch, path: str, data: bytes) -> str:
        with batch.doubted():
            catalog.store.create_new(path, data, staging=catalog.layout.staging)
        batch.note(path)
        return path

    def superseded(
        self, catalog: Catalog, batch: Batch, subject: Subject, window: str, key: str
    ) -> tuple[str, str] | None:
        """A mutation: a former version of a file, to be named again because its content is the same."""
        former = batch.state.section().windows(batch.place(subject, window).token).get(window, ())[:-1]
        files = [json.loads(catalog.manifest(subject, window, each))["files"] for each in former if each.readable]
        return next((tuple(each[key]) for each in files if key in each), None)

    def again(self, batch: Batch, subject: Subject, window: str, change: Change) -> Change:
        """A mutation: the files of a refused change are committed by the next batch."""
        home = f"{STUDY}/{subject.name}/.beiwe/{window}~{change.base}-{change.nonce}.json.zst"
        blob = self.world.files.get(home)
        return batch.change(subject, window, blob.data if blob else b'{"files": {}, "removed": []}')

    def collector(self, process: Process) -> Actor:
        catalog = self.open(process)
        for _ in range(2):
            yield
            days = self.rng.choice((0, 0, 1, 30))
            self.ways.collector(
                catalog, named, retention=self.ways.retention(keep_days=days), run_id="collect"
            ).collect()
            process.seen.add(catalog.state.head)

    def purger(self, process: Process) -> Actor:
        catalog = self.open(process)
        yield
        subject = self.rng.choice(PEOPLE[: self.mix.people])
        token = catalog.identities.token(subject, catalog.state)
        before = {path for path in self.world.files if path.startswith(f"{STUDY}/{subject.name}/")}
        self.withdrawn.add(subject)
        self.ways.withdraw(catalog, [subject], run_id="purge")
        if self.world.kind == "disk" and before & self.world.files.keys():
            raise Violation(f"8: files of {subject} are left, though nobody else could write")
        if token in {each for each, _ in self.world.truth.versions} and not self.world.broken_in:
            raise Violation(f"8: {subject} was withdrawn without a record")

    def snapshotter(self, process: Process) -> Actor:
        catalog = self.open(process)
        yield
        at = catalog.refresh().head
        yield
        name = self.rng.choice(("paper", "thesis"))
        if self.rng.random() < 0.3:
            remove_snapshot(catalog, name, run_id="snapshot")
            return
        with suppress(PastStateError):
            add_snapshot(catalog, name, at, run_id="snapshot", content="", participants=0, files=0, size_bytes=0)

    def reader(self, process: Process) -> Actor:
        """Opens a state, new or old, and reads it while others work on."""
        catalog = self.open(process)
        state = catalog.state
        if self.rng.random() < 0.4:
            state = catalog.at(self.rng.randint(0, state.number))
            if catalog.state.number < len(self.world.truth.states):
                self.compare(state)
        for subject, token, window in self.places(catalog, state):
            yield
            self.read(catalog, state, subject, token, window, whole=False)

    def places(self, catalog: Catalog, state: State) -> list[tuple[Subject, str, str]]:
        catalog.identities.subjects("", list(state.section()), state)
        names = {token: each.name for token, each in catalog.identities.known.get("", {}).items()}
        return [(Subject(names[t]), t, window) for t in state.section() if t in names for window in state.current(t)]

    def compare(self, state: State) -> None:
        """What a past state says is what the log said then, without those withdrawn since."""
        truth = self.world.truth
        said = {(t, w): each.at for t in state.section() for w, each in state.current(t).items()}
        true = {key: each.at for key, each in truth.states[state.number].items() if key[0] not in state.purged}
        if said.keys() & {key for key in said if key[0] in truth.purged} and not self.running:
            raise Violation("8: a past state gives what was withdrawn")
        if said != true:
            raise Violation(f"7: state {state.number} is {said}, should be {true}")

    def read(self, catalog: Catalog, state: State, subject: Subject, token: str, window: str, *, whole: bool) -> None:
        """Read all files of a window: they are exactly those of its version, or an error says why not."""
        version = state.current(token)[window]
        try:
            manifest = json.loads(catalog.manifest(subject, window, version))
            for path, digest in manifest["files"].values():
                try:
                    data = catalog.store.read(path)
                except FileNotFoundError:
                    raise catalog.absent(subject, window, version) from None
                if sha256(data).hexdigest() != digest:
                    raise Violation(f"7: {path} is not what version {version.at} names")
        except PastStateError:
            if whole and token not in self.world.truth.purged:
                raise Violation(f"7: a retained version of {subject} was collected") from None
        except IntegrityError as error:
            if not self.world.broken_in:
                raise Violation(f"7: {error}") from error

    def upset(self) -> None:
        """Somebody takes a backup, lays it back, or cuts the log's tail."""
        world = self.world
        if self.rng.random() < self.mix.cuts:
            self.cut()
        elif self.backup is None or self.rng.random() < 0.5:
            self.backup = dict(world.files)
        else:
            self.kill_all()  # whoever lays a backup back has stopped all runs before
            world.files = dict(self.backup)
            self.after_upset()

    def cut(self) -> None:
        """Somebody removes the newest records, and all that is derived from them."""
        world = self.world
        keep = self.rng.randint(1, len(world.truth.records))
        world.cut_away |= world.truth.named()
        gone = {record_path(number) for number in range(keep, len(world.truth.records))}
        derived = (f"{STUDY}/.beiwe/checkpoints/", f"{STUDY}/.beiwe/packs/")
        world.files = {
            path: blob for path, blob in world.files.items() if path not in gone and not path.startswith(derived)
        }
        self.after_upset()

    def after_upset(self) -> None:
        world = self.world
        world.broken_in += 1
        world.now += 3600
        world.undurable.clear()
        world.ghosts.clear()
        world.late.clear()
        world.recount()
        if self.rng.random() < 0.5:
            self.accept()

    def accept(self) -> None:
        """An operator stops everything and accepts what the backup brought."""
        world = self.world
        self.kill_all()
        world.cut_away.clear()
        quiet, world.quiet = world.quiet, True
        process = world.process("operator")
        store = ModelStore(world, process)
        witness: Any = WitnessStore(world, process) if world.has_witness else None
        catalog = Catalog.open(store, STUDY, None, witness=witness, terms=self.terms())
        assert catalog is not None
        accept_restored(catalog, [Head(*world.told)] if world.told else [], run_id="accept")
        world.quiet = quiet

    def kill_all(self) -> None:
        for process in self.world.processes:
            process.dead = True
        for _, actor in self.actors:
            with suppress(Killed):
                actor.close()
        self.actors.clear()

    def end(self) -> None:
        """Everything has come to rest: what is retained is there, and nothing else is after a collection or two."""
        world = self.world
        self.kill_all()
        world.quiet = True
        while world.late:
            world.late.pop()()
        if (
            world.told
            and world.told not in world.heads()
            and world.told not in world.truth.lost
            and not world.broken_in
        ):
            raise Violation("1: a record of which Dagster was told is lost")
        process = world.process("last")
        try:
            catalog = self.open(process)
        except IntegrityError as error:
            if not world.broken_in:
                raise Violation(f"1: {error}") from error
            self.accept()
            catalog = self.open(world.process("last"))
        self.whole(catalog, catalog.state)
        if self.rng.random() < self.mix.tidied:
            self.collect(catalog)
        self.whole(catalog, catalog.state)
        for name in catalog.state.snapshots:
            self.whole(catalog, catalog.at(name))

    def whole(self, catalog: Catalog, state: State) -> None:
        if self.world.broken_in:
            return  # a backup that is laid back, or a cut log, need not have what it names
        for subject, token, window in self.places(catalog, state):
            self.read(catalog, state, subject, token, window, whole=True)

    def collect(self, catalog: Catalog) -> None:
        world = self.world
        collector = Collector(catalog, named, retention=Retention(keep_days=0), run_id="last")
        for count, everybody in enumerate(((), (), PEOPLE, PEOPLE)):
            world.now += 100 * 86_400
            with suppress(IntegrityError):
                collector.collect({*everybody, *self.withdrawn})
            known = world.truth.named() | {path for path in world.files if "/.beiwe/token-" in path}
            left = [path for path in world.files if not path.startswith(f"{STUDY}/.beiwe/") and path not in known]
            if count == 1:
                left = [path for path in left if not world.files[path].outlived]
            if count in (1, 3) and left and not world.broken_in:
                raise Violation(f"8: {left} belong to no version, and no collection finds them")
        if world.broken_in:
            return
        if markers := [path for path in world.files if path.startswith(f"{STUDY}/.beiwe/runs/")]:
            raise Violation(f"markers are left: {markers}")


def play(seeds: Iterable[int], kind: Kind, ways: Ways = HONEST, mix: Mix = WIDE) -> tuple[int, Violation] | None:
    """Play schedules until one breaks an invariant: then its seed, and what was broken."""
    for seed in seeds:
        try:
            Schedule(seed, kind, ways, mix).play()
        except Violation as violation:
            return seed, violation
    return None
