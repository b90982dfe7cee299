"""Locks and signs of life in an object store, when somebody dies, is late, or comes back."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable
from dataclasses import replace

import pytest
from object_helpers import Clock

from dagster_beiwe.errors import LakeUnavailableError
from dagster_beiwe.lake.leases import Lease, SignOfLife, Timing
from dagster_beiwe.lake.objects import ObjectStorage

FOLDER = "study/person/.beiwe"


@pytest.fixture
def clock() -> Clock:
    """One clock for the store and everybody who uses it."""
    return Clock()


@pytest.fixture
def timing(clock: Clock) -> Timing:
    return Timing(clock=clock, sleep=lambda seconds: clock.sleep(5 * seconds), store_clock=clock)


class SameClock(ObjectStorage):
    """A store whose objects are dated by the clock of the test."""

    clock: Clock

    def put(self, path: str, data: bytes, *, exclusive: bool = False) -> None:
        super().put(path, data, exclusive=exclusive)
        dates = self.__dict__.setdefault("dates", {})
        dates[path] = self.clock.now

    def _written_at(self, path: str) -> float:
        super()._written_at(path)
        return float(self.__dict__["dates"][path])


@pytest.fixture
def store(url: str, timing: Timing, clock: Clock) -> SameClock:
    storage = SameClock(url, timing=timing)
    storage.clock = clock
    return storage


def test_a_dead_holders_lock_is_taken_over_when_it_has_run_out(store: SameClock, timing: Timing, clock: Clock) -> None:
    """After two minutes of the store's time, and not before."""
    Lease(store, FOLDER, timing).acquire()
    clock.now = 30
    second = Lease(store, FOLDER, timing)
    second.acquire()
    assert 120 <= clock.now < 135
    second.check()


def test_a_lock_that_ran_out_long_ago_costs_no_waiting(store: SameClock, timing: Timing, clock: Clock) -> None:
    """As after a crash in the night."""
    Lease(store, FOLDER, timing).acquire()
    clock.now = 10_000
    Lease(store, FOLDER, timing).acquire()
    assert clock.now == 10_000


def test_a_lock_is_renewed_as_long_as_its_holder_works(store: SameClock, timing: Timing, clock: Clock) -> None:
    """A commit of ten minutes keeps it; whoever waits sees it renewed and goes on waiting."""
    with store.lock(FOLDER):
        for number in range(10):
            clock.now += 60
            store.write("study/person/file", b"%d" % number)
        late = Lease(store, FOLDER, replace(timing, wait_seconds=5))
        with pytest.raises(LakeUnavailableError, match="holds it and is alive"):
            late.acquire()
    late.acquire()


def test_a_holder_that_was_away_writes_nothing_more(store: SameClock, clock: Clock) -> None:
    """Before anybody else may have taken the lock: the margin is for requests on their way."""
    store.write("study/person/file", b"before")
    changes: list[Callable[[], None]] = [
        lambda: store.write("study/person/file", b"after"),
        lambda: store.delete("study/person/file"),
        lambda: store.move("study/person/file", "study/person/other"),
        lambda: store.move_all([("study/person/file", "study/person/other")]),
    ]
    for change in changes:
        with store.lock(FOLDER):
            clock.now += 91
            with pytest.raises(LakeUnavailableError, match="without it"):
                change()
        clock.now += 120
    assert store.list("study/person") == [".beiwe", "file"]
    assert store.read("study/person/file") == b"before"


def test_a_holder_thought_dead_does_not_give_back_anothers_lock(store: SameClock, timing: Timing, clock: Clock) -> None:
    """Also when it releases while the other one is inside."""
    first, second = Lease(store, FOLDER, timing), Lease(store, FOLDER, timing)
    first.acquire()
    clock.now = 121
    second.acquire()
    first.release()
    third = Lease(store, FOLDER, replace(timing, wait_seconds=1))
    with pytest.raises(LakeUnavailableError):
        third.acquire()
    second.release()
    third.acquire()


def test_whoever_falls_asleep_over_an_old_list_does_not_get_in(store: SameClock, timing: Timing) -> None:
    """It read that number 1 is free, and slept while others came, went, and removed the number it then creates."""
    first = Lease(store, FOLDER, timing)
    first.acquire()
    first.release()

    class Sleepy(SameClock):
        asleep = True

        def read(self, path: str) -> bytes:
            data = super().read(path)
            if self.asleep and path.endswith("00000001"):
                self.asleep = False
                for _ in range(3):
                    other = Lease(store, FOLDER, timing)
                    other.acquire()
                    other.release()
                Lease(store, FOLDER, timing).acquire()  # and this one stays
            return data

    sleepy = Sleepy(store._url, timing=timing)
    sleepy.clock, sleepy.__dict__["dates"] = store.clock, store.__dict__["dates"]
    late = Lease(sleepy, FOLDER, replace(timing, wait_seconds=1))
    with pytest.raises(LakeUnavailableError, match="holds it and is alive"):
        late.acquire()
    assert store.list(f"{FOLDER}/.lease") == ["00000004", "00000005"]


def test_a_lock_whose_confirmation_was_lost_is_held(store: SameClock, timing: Timing, clock: Clock) -> None:
    """The store's client asks again after a lost answer, and is told that the object exists: it is our own."""

    class LosesAnswers(SameClock):
        def put(self, path: str, data: bytes, *, exclusive: bool = False) -> None:
            super().put(path, data, exclusive=exclusive)
            if exclusive:
                raise FileExistsError(path)

    losing = LosesAnswers(store._url, timing=timing)
    losing.clock = clock
    lease = Lease(losing, FOLDER, timing)
    lease.acquire()
    assert clock.now == 0
    lease.release()


def test_a_store_that_ignores_conditions_is_refused(store: SameClock, timing: Timing, clock: Clock) -> None:
    """Before anything is committed there."""

    class Ignores(SameClock):
        def put(self, path: str, data: bytes, *, exclusive: bool = False) -> None:
            super().put(path, data)

    careless = Ignores(store._url, timing=timing)
    careless.clock = clock
    with pytest.raises(LakeUnavailableError, match="If-None-Match"), careless.lock(FOLDER):
        careless.write("study/person/file", b"")
    assert not store.exists("study/person/file")


def test_a_lock_that_can_not_be_given_back_runs_out(
    store: SameClock, timing: Timing, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged, and does not hide what happened in the block."""
    lease = Lease(store, FOLDER, timing)
    lease.acquire()

    class Unreachable(ObjectStorage):
        def put(self, path: str, data: bytes, *, exclusive: bool = False) -> None:
            raise LakeUnavailableError("away")

    lease._objects = Unreachable(store._url)
    with caplog.at_level(logging.WARNING, "dagster_beiwe"):
        lease.release()
    assert "runs out by itself" in caplog.text


def test_a_lease_says_for_how_long_it_is(store: SameClock, clock: Clock) -> None:
    """Runs with other settings wait as long as the holder was promised; what can't be read gets the usual time."""
    patient = Timing(clock=clock, sleep=lambda seconds: clock.sleep(20), store_clock=clock, lease_seconds=1000)
    usual = replace(patient, lease_seconds=120)
    Lease(store, FOLDER, patient).acquire()
    document = json.loads(store.read(f"{FOLDER}/.lease/00000001"))
    assert document["seconds"] == 1000
    Lease(store, FOLDER, usual).acquire()
    assert clock.now >= 1000
    store.put(f"{FOLDER}/.lease/00000002", b"something else")
    before = clock.now
    Lease(store, FOLDER, usual).acquire()
    assert clock.now >= before + 120


def test_a_run_is_dead_ten_minutes_after_its_last_sign(store: SameClock, clock: Clock) -> None:
    """By the store's clock."""
    store.put("study/.beiwe/token.run", b"")
    clock.now = 599
    assert store.is_held("study/.beiwe/token.run")
    clock.now = 601
    assert not store.is_held("study/.beiwe/token.run")


def test_signs_of_life_go_on_by_themselves(url: str) -> None:
    """Also after one that failed."""
    seen = threading.Semaphore(0)

    class Counts(ObjectStorage):
        puts = 0

        def put(self, path: str, data: bytes, *, exclusive: bool = False) -> None:
            self.puts += 1
            if self.puts == 2:
                raise LakeUnavailableError("away for a moment")
            super().put(path, data, exclusive=exclusive)
            seen.release()

    storage = Counts(url)
    with SignOfLife(storage, "study/.beiwe/token.run", Timing(beat_seconds=0.001)):
        for _ in range(3):
            assert seen.acquire(timeout=10)
    assert not storage.exists("study/.beiwe/token.run")


def test_a_run_that_may_be_thought_dead_commits_nothing(store: SameClock, clock: Clock) -> None:
    """A suspended machine comes back: what it staged may have been removed."""
    with store.hold("study/.beiwe/token.run"):
        clock.now = 460
        with pytest.raises(LakeUnavailableError, match="sign of life"), store.lock(FOLDER):
            pass


def test_the_age_of_an_object_is_told_by_the_store(url: str) -> None:
    """Not by the clock of this machine; the object written for that is gone afterwards."""
    storage = ObjectStorage(url, timing=Timing(clock=lambda: 0.0))
    assert storage.age_seconds("study/.beiwe/token.run") is None
    storage.put("study/.beiwe/token.run", b"")
    age = storage.age_seconds("study/.beiwe/token.run")
    assert age is not None
    assert 0 <= age < 30
    assert storage.list("study/.beiwe") == ["token.run"]
