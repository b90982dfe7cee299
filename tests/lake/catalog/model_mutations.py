"""Each rule of the log broken once: what the model has to find."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import msgspec
from model_ways import CUTS, LATE_RETURNS, NARROW, PAPERS, RETURNS, WIDE, Kind, Mix, Ways

from dagster_beiwe.errors import LakeUnavailableError
from dagster_beiwe.lake.catalog.batch import Batch, NewVersion, Outcome
from dagster_beiwe.lake.catalog.catalog import Catalog
from dagster_beiwe.lake.catalog.collector import Collector, Retention
from dagster_beiwe.lake.catalog.log import Log
from dagster_beiwe.lake.catalog.records import Change, Head, Place
from dagster_beiwe.lake.catalog.state import Entry, Floor, Rules, State
from dagster_beiwe.lake.catalog.versions import Version
from dagster_beiwe.lake.catalog.withdrawal import withdraw
from dagster_beiwe.lake.layout import Subject, is_token
from dagster_beiwe.lake.storage.base import StoredFile


class NoFloor(Rules):
    def floor(self, state: State, token: str) -> int:
        return 0


class NoConflict(Rules):
    def refusal(self, state: State, change: Change) -> str | None:
        reason = super().refusal(state, change)
        return None if reason and reason.startswith("another run") else reason


class NoWithdrawal(Rules):
    def refusal(self, state: State, change: Change) -> str | None:
        reason = super().refusal(state, change)
        return None if reason and reason.startswith("its data") else reason


class ByAge(Rules):
    """What is old goes, whatever it was planned on."""

    def may_delete(self, file: StoredFile, floor: Floor, margin_seconds: float) -> bool:
        return True


class AnswersCount(Log):
    """What the store answers is believed."""

    def create(self, number: int, data: bytes) -> bool:
        try:
            self._store.create_new(self._layout.record(number), data, staging=self._layout.staging)
        except (FileExistsError, LakeUnavailableError):
            return False
        return True


class NoSyncBefore(Log):
    """The folder of the record before is taken for durable."""

    def make_durable(self, number: int) -> None:
        pass


class RemovesInDoubt(Batch):
    """Whatever goes wrong in a commit, its files are removed."""

    def commit(self, changes: Sequence[Change]) -> dict[Place, Outcome]:
        staged = {place: list(paths) for place, paths in self._staged.items()}
        try:
            return super().commit(changes)
        except LakeUnavailableError:
            self._staged = staged
            raise


class KeepsRefused(Batch):
    """What was written for a change that does not count stays, for the next batch."""

    def remove(self, paths: Collection[str]) -> None:
        self._loose.difference_update(paths)


class KeepsToken(Batch):
    """A token that was given before somebody was withdrawn is used for what is planned afterwards."""

    def plan(self) -> State:
        places = self._places
        state = super().plan()
        self._places = {subject: place for subject, place in places.items() if place.token not in state.purged}
        return state


class TakesNewToken(Batch):
    """A change counts for whoever has the subject's name when it is committed."""

    def changes(self, subject: Subject, versions: Sequence[NewVersion], *, token: str, base: int) -> list[Change]:
        now = self._catalog.identities.token(subject, self._catalog.state)
        return super().changes(subject, versions, token=now or token, base=base)


class NoMemory(Catalog):
    """Nobody is asked what he has seen of the log, and the log is not looked at again."""

    def check(self, remembered: Iterable[Head] = (), *, tell: bool = True) -> None:
        self._seen.clear()

    def _prepare(self, *, unchecked: bool) -> None:
        pass


class DeletesFirst(Collector):
    """Deletes what it lists before its record is there."""

    def _plan(self, plan: Any, state: State, subject: Subject, files: Sequence[StoredFile], *rest: Any) -> None:
        super()._plan(plan, state, subject, files, *rest)
        for file in plan.doomed:
            self._store.delete(file.path)


class CollectsCutLog(Collector):
    def _refuse_cut_log(self, state: State, files: Iterable[StoredFile]) -> None:
        list(files)


class ForgetsMarkers(Collector):
    """Removes the markers of batches that may still have written after the list was made."""

    def _tidy(self, markers: Any, plan: Any, *, before: int) -> None:
        super()._tidy(markers, plan, before=10**9)


class ForgetsSnapshots(Retention):
    def superseded(self, versions: Sequence[Version], state: State, now: datetime) -> Iterator[Version]:
        return super().superseded(versions, replace(state, snapshots={}), now)


class OldToken(Catalog):
    """A token that was learnt once is kept, also when its subject was withdrawn and has come again."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        token = self.identities.token

        def kept(subject: Subject, state: State) -> str | None:
            found = next(iter(self.identities._tokens.get(subject, ())), None)
            return (None if found in state.purged else found) if found else token(subject, state)

        self.identities.token = kept  # type: ignore[method-assign]


def files_first(catalog: Catalog, subjects: Iterable[Subject], *, run_id: str) -> None:
    """Withdraws by removing the files, and records it afterwards."""
    subjects = list(subjects)
    with catalog.store.guard(catalog.layout.inside, exclusive=True):
        for subject in subjects:
            home = catalog.layout.home(subject)
            for file in list(catalog.store.scan(home.folder)):
                if not is_token(file.path):
                    catalog.store.delete(file.path)
    withdraw(catalog, subjects, run_id=run_id)


class AppendsBlindly(Catalog):
    """What another run has committed is not replayed before the next try."""

    def append(self, draft: Any, *, run_id: str, unchecked: bool = False) -> Entry | None:
        first: list[Any] = []

        def once(state: State, start: dict[str, Any]) -> Any:
            if not first:
                first.append(draft(state, start))
                return first[0]
            return draft(state, start) if first[0] is None else _moved(first[0], start)

        return super().append(once, run_id=run_id, unchecked=unchecked)


def _moved(record: Any, start: dict[str, Any]) -> Any:
    return msgspec.structs.replace(record, **start)


@dataclass(frozen=True)
class Mutation:
    """One rule broken: where it shows, how it is broken, and the first schedule that shows it, to be played first."""

    kind: Kind
    ways: Ways
    mix: Mix = WIDE
    seed: int = 0


MUTATIONS = {
    "commits below the floor": Mutation("objects", Ways(rules=NoFloor()), seed=2),
    "commits over another run's commit": Mutation("objects", Ways(rules=NoConflict()), seed=8),
    "commits for whoever was withdrawn": Mutation("objects", Ways(rules=NoWithdrawal()), seed=3),
    "collects by age": Mutation("objects", Ways(rules=ByAge()), seed=18),
    "believes the store's answer": Mutation("objects", Ways(log=AnswersCount), seed=15),
    "removes files after an unknown answer": Mutation("objects", Ways(batch=RemovesInDoubt), seed=23),
    "uses a first name again": Mutation("objects", Ways(reuse_names=True), NARROW, seed=83),
    "commits files of an earlier batch": Mutation("objects", Ways(batch=KeepsRefused, reuse_files=True), NARROW),
    "goes on with a token from before a withdrawal": Mutation("objects", Ways(batch=KeepsToken), RETURNS, seed=35),
    "commits for whoever has come again": Mutation("objects", Ways(batch=TakesNewToken), LATE_RETURNS, seed=1088),
    "names a superseded file again": Mutation("disk", Ways(revive=True), NARROW, seed=2),
    "leaves a gap after a power loss": Mutation("disk", Ways(log=NoSyncBefore), NARROW, seed=23),
    "does not sync what it names": Mutation("disk", Ways(sync=False)),
    "collects while runs write": Mutation("disk", Ways(guards=False), seed=95),
    "asks nobody what was seen": Mutation("disk", Ways(catalog=NoMemory), seed=100),
    "deletes before the record": Mutation("objects", Ways(collector=DeletesFirst), seed=17),
    "collects a cut log": Mutation("disk", Ways(collector=CollectsCutLog), CUTS, seed=44),
    "forgets where to look": Mutation("objects", Ways(collector=ForgetsMarkers), seed=77),
    "drops what a snapshot needs": Mutation("disk", Ways(retention=ForgetsSnapshots), PAPERS, seed=29),
    "keeps the token of whoever was withdrawn": Mutation("objects", Ways(catalog=OldToken), RETURNS, seed=3),
    "withdraws before the record": Mutation("disk", Ways(withdraw=files_first), RETURNS, seed=1),
    "does not look at what came first": Mutation("objects", Ways(catalog=AppendsBlindly), seed=19),
}
