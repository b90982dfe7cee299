"""Schedules of processes on one lake, drawn by chance: the design's invariants are checked at every step."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Any
from unittest import mock

from model_actors import PEOPLE, Actors, named
from model_store import ModelStore, WitnessStore
from model_ways import HONEST, WIDE, Kind, Mix, Ways
from model_world import STUDY, Killed, Violation, record_path

from dagster_beiwe.errors import (
    CommitConflictError,
    ConfigurationError,
    IntegrityError,
    LakeUnavailableError,
    PastStateError,
)
from dagster_beiwe.lake.catalog.catalog import Catalog
from dagster_beiwe.lake.catalog.collector import Collector, Retention
from dagster_beiwe.lake.catalog.past import accept_restored
from dagster_beiwe.lake.catalog.records import Head
from dagster_beiwe.lake.catalog.state import State


class Schedule(Actors):
    """One run of everything. ``play`` raises ``Violation`` if an invariant is broken."""

    def __init__(self, seed: int, kind: Kind, ways: Ways, mix: Mix = WIDE) -> None:
        super().__init__(seed, kind, ways, mix)
        self.world.nested = self.advance

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
        world.outdated |= world.truth.named()
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
