"""A store in memory that fails as disks and object stores do, and watches what is done to the lake in it.

Every operation is a place where the process may die or be stopped while others run, where power fails, or where an
answer is lost. What is checked here is told by the design page's invariants, with code of its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from model_world import EPOCH, LOG, PER_FOLDER, Blob, Process, Violation, World, record_path

from dagster_beiwe.errors import CommitConflictError, LakeUnavailableError
from dagster_beiwe.lake.storage.base import Store, StoredFile


class ModelStore(Store):
    """The lake as one process reaches it."""

    def __init__(self, world: World, process: Process, *, sync: bool = True, guards: bool = True) -> None:
        self._world, self._process, self._sync, self._guards = world, process, sync, guards
        self.locks = world.kind == "disk"

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
        # After a cut somebody may have two tokens. A withdrawal knows one of them, and rightly removes the folder.
        withdraws = world.broken_in and self._process.name.startswith("purger")
        if path in world.truth.named() and self._process.born == world.broken_in and not withdraws:
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
