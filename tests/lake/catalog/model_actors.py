"""What the processes of a schedule do: write, collect, withdraw, keep snapshots and read, a step at a time."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Generator, Iterable
from contextlib import suppress
from hashlib import sha256
from typing import Any

from model_store import ModelStore, WitnessStore
from model_ways import WIDE, Kind, Mix, Ways
from model_world import PER_FOLDER, STUDY, Process, Violation, World

from dagster_beiwe.errors import IntegrityError, PastStateError
from dagster_beiwe.lake.catalog.batch import Batch, NewVersion
from dagster_beiwe.lake.catalog.catalog import Catalog
from dagster_beiwe.lake.catalog.manifests import absent, read_manifest
from dagster_beiwe.lake.catalog.past import add_snapshot, remove_snapshot
from dagster_beiwe.lake.catalog.records import Change, Head, Place
from dagster_beiwe.lake.catalog.state import State
from dagster_beiwe.lake.catalog.terms import Terms
from dagster_beiwe.lake.layout import Home, Subject

PEOPLE = (Subject("ann"), Subject("bob"))

WINDOWS = ("w1", "w2")

KEYS = ("a", "b")

Actor = Generator[None, None, None]


def named(home: Home, manifest: bytes) -> Iterable[str]:
    """The files that a manifest of the model names."""
    return [path for path, _ in json.loads(manifest)["files"].values()]


class Actors:
    """The lake that a schedule plays on, and everything that a process may do to it."""

    def __init__(self, seed: int, kind: Kind, ways: Ways, mix: Mix = WIDE) -> None:
        self.world = World(seed, kind, nests=mix.nests, leaps=mix.leaps, stops=mix.stops)
        self.mix = mix
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
                    planned = []
                    for subject, window in chosen:
                        yield
                        self.plan_on(batch)
                        process.base = batch.base
                        place = batch.place(subject, window)
                        if self.ways.reuse_files and place in left:
                            version = self.again(subject, window, left[place])
                        else:
                            version = self.stage(catalog, batch, subject, window)
                        planned.append((subject, version, place.token, batch.base))
                    yield
                    self.plan_on(batch)
                    changes = []
                    for subject, version, token, process.base in planned:
                        changes += batch.changes(subject, [version], token=token, base=process.base)
                    outcomes = batch.commit(changes)
                    left = {change.place: change for change in changes if outcomes[change.place].refused}
                    head = catalog.durable_head()
                    process.seen.add(head)
                    if head in self.world.heads():
                        self.world.told = head

    def plan_on(self, batch: Batch) -> None:
        """Go on with the newest state, perhaps: what was planned before shares a record with what comes."""
        if self.rng.random() < 0.3:
            batch.plan()

    def stage(self, catalog: Catalog, batch: Batch, subject: Subject, window: str) -> NewVersion:
        """Write the files of a new version of a window: some files kept, some restated, some new, some gone."""
        place = batch.place(subject, window)
        version = batch.state.current(place.token).get(window)
        old = json.loads(read_manifest(catalog, subject, window, version)) if version else {"files": {}, "removed": []}
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
        return NewVersion(window=window, manifest=manifest, files=written)

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
        files = [json.loads(read_manifest(catalog, subject, window, each))["files"] for each in former if each.readable]
        return next((tuple(each[key]) for each in files if key in each), None)

    def again(self, subject: Subject, window: str, change: Change) -> NewVersion:
        """A mutation: the files of a refused change are committed by the next batch."""
        home = f"{STUDY}/{subject.name}/.beiwe/~{change.base}-{change.nonce}.json.zst"
        blob = self.world.files.get(home)
        return NewVersion(window=window, manifest=blob.data if blob else b'{"files": {}, "removed": []}')

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
            manifest = json.loads(read_manifest(catalog, subject, window, version))
            for path, digest in manifest["files"].values():
                try:
                    data = catalog.store.read(path)
                except FileNotFoundError:
                    raise absent(catalog, subject, window, version) from None
                if sha256(data).hexdigest() != digest and not self.world.may_be_another(path):  # which readers refuse
                    raise Violation(f"7: {path} is not what version {version.at} names")
        except PastStateError:
            if whole and token not in self.world.truth.purged:
                raise Violation(f"7: a retained version of {subject} was collected") from None
        except IntegrityError as error:
            if not self.world.broken_in:
                raise Violation(f"7: {error}") from error
