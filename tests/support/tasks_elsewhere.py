"""Tasks for other processes: they say that they have begun, and wait until they may go on."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable
from concurrent.futures import Executor, Future
from itertools import count
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from dagster_beiwe import parallel
from dagster_beiwe.parallel import Processes

if TYPE_CHECKING:
    from typing_extensions import Self

_WAIT_SECONDS = 10.0
"""Longer than anything takes; it ends a test that would fail."""


class Seen(NamedTuple):
    """What a task sees: its process, the tasks that its context has had before, and the signals that are kept away."""

    process: int
    before: list[str]
    blocked: set[int]


def see(context: list[str], name: str) -> Seen:
    """Look around, and leave a name in the context."""
    before = [*context]
    context.append(name)
    return Seen(os.getpid(), before, {int(each) for each in signal.pthread_sigmask(signal.SIG_BLOCK, [])})


def meet(context: list[str], begun: str, go_on: str, ballast: bytes = b"") -> Seen:
    """Say that it has begun, and go on when the other side says so. ``ballast`` is only carried along."""
    said = os.open(begun, os.O_WRONLY)  # closed by the end of the process
    os.write(said, b"%d" % os.getpid())
    with open(go_on, "rb", buffering=0) as file:
        file.read(1)
    return see(context, begun)


def begin_to_meet(
    processes: Processes[list[str]], pool: Executor, begun: str, go_on: str, ballast: bytes = b""
) -> Future[Seen]:
    """Begin the task in one of the processes."""
    return pool.submit(lambda: processes.run(meet, begun, go_on, ballast))


class Meeting:
    """The test's side of a task that ``meet``s it; a context manager that lets the task go on in any case."""

    _numbers = count()

    def __init__(self, folder: Path) -> None:
        number = next(self._numbers)
        self.begun, self.go_on = str(folder / f"begun-{number}"), str(folder / f"go-on-{number}")
        for path in (self.begun, self.go_on):
            os.mkfifo(path)
        self._begun = os.open(self.begun, os.O_RDONLY | os.O_NONBLOCK)
        self._go_on = os.open(self.go_on, os.O_RDWR)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.let_go_on()

    def process(self) -> int:
        """The id of the process that has begun the task."""
        return int(self._next())

    def let_go_on(self) -> None:
        os.write(self._go_on, b"!")

    def process_has_ended(self) -> bool:
        """Whether the process that has begun the task ends within a time that is long enough."""
        try:
            return self._next() == b""
        finally:
            os.close(self._begun)
            os.close(self._go_on)

    def _next(self) -> bytes:
        ready, _, _ = select.select([self._begun], [], [], _WAIT_SECONDS)
        assert ready, "the task does not begin, or its process does not end"
        return os.read(self._begun, 100)


@pytest.fixture
def two_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever may share its work with other processes does so, with two, on any machine."""
    force(2, monkeypatch.setattr)


@pytest.fixture
def started(two_processes: None, monkeypatch: pytest.MonkeyPatch) -> list[SpawnProcess]:
    """The processes that were started; each call may start two."""
    return calls_of("start", monkeypatch)


def calls_of(name: str, monkeypatch: pytest.MonkeyPatch) -> list[SpawnProcess]:
    """The processes of which a method is called from now on; it does what it does."""
    found: list[SpawnProcess] = []
    original = getattr(SpawnProcess, name)

    def noted(self: SpawnProcess) -> None:
        found.append(self)
        original(self)

    monkeypatch.setattr(SpawnProcess, name, noted)
    return found


def force(number: int, replace: Callable[[object, str, object], None] = setattr) -> None:
    """Let all work seem worth so many processes."""
    replace(parallel, "_WORTH_SECONDS", 0.0)
    replace(parallel, "cores", lambda: number)
