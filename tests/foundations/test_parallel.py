"""Tasks in other processes: each comes to an end that is known here, whatever ends first."""

from __future__ import annotations

import inspect
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from multiprocessing import active_children, resource_tracker, util
from multiprocessing.context import SpawnProcess
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest
from tasks_elsewhere import Meeting, begin_to_meet, see

from dagster_beiwe import errors, parallel
from dagster_beiwe.errors import BeiweError, ConfigurationError, DamagedMemberError, ProcessLostError, ServerBusyError
from dagster_beiwe.file_tree import NotAFolderError
from dagster_beiwe.parallel import Processes, processes_for
from dagster_beiwe.private_files import FileTooLargeError, NotRegularFileError

LONG = b"x" * 600_000
"""More than a pipe holds."""
ERRORS = [each for each in vars(errors).values() if inspect.isclass(each) and issubclass(each, BeiweError)]


@pytest.fixture(scope="module")
def processes() -> Iterator[Processes[list[str]]]:
    with Processes[list[str]](list, number=2) as running:
        yield running
    assert not active_children()


def raise_here(context: list[str], name: str) -> None:
    raise {"_NoWayBackError": _NoWayBackError("a", "b"), "ValueError": ValueError(threading.Lock())}[name]


def fail(context: list[str], error: BaseException) -> None:
    raise error


def as_list(data: bytes) -> list[str]:
    return [data.decode()]


def cannot_open() -> list[str]:
    raise ConfigurationError("The folder cannot be used.")


def made(kind: type[BeiweError]) -> BeiweError:
    """An error with everything that it can be told."""
    known = {"status": 503, "fields": ["time"], "retry_after_seconds": 7.5, "member": "a/gps/b.csv"}
    wanted = inspect.signature(kind.__init__).parameters
    return kind("What, and what to do.", **{name: value for name, value in known.items() if name in wanted})


def test_tasks_run_in_other_processes_at_the_same_time(processes: Processes[list[str]], tmp_path: Path) -> None:
    """Each of them has a context of its own, which it keeps."""
    with ThreadPoolExecutor(2) as pool, Meeting(tmp_path) as first, Meeting(tmp_path) as second:
        meetings = [first, second]
        waiting = [begin_to_meet(processes, pool, each.begun, each.go_on, LONG) for each in meetings]
        ids = [each.process() for each in meetings]
        for each in reversed(meetings):
            each.let_go_on()
        seen = [each.result() for each in waiting]
        more = list(pool.map(lambda number: processes.run(see, str(number)), range(4)))
    assert [each.process for each in seen] == ids
    assert len({*ids, os.getpid()}) == 3
    told = {own.process: meeting.begun for own, meeting in zip(seen, meetings, strict=True)}
    for look in more:
        assert [name for name in look.before if name in told.values()] == [told[look.process]]


def test_with_none_tasks_run_here() -> None:
    """In the thread that asks, with one context."""
    with Processes[list[str]](list, number=0) as nobody:
        seen = [nobody.run(see, name) for name in ("a", "b")]
    assert [(each.process, each.before) for each in seen] == [(os.getpid(), []), (os.getpid(), ["a"])]


@pytest.mark.parametrize("kind", ERRORS)
def test_every_error_can_cross_to_another_process(kind: type[BeiweError]) -> None:
    """With all that is known of it."""
    error = made(kind)
    arrived = pickle.loads(pickle.dumps(error))
    assert (type(arrived), str(arrived), vars(arrived)) == (kind, "What, and what to do.", vars(error))


@pytest.mark.parametrize("kind", [ConfigurationError, DamagedMemberError, ServerBusyError])
def test_the_error_of_a_task_is_raised_here(processes: Processes[list[str]], kind: type[BeiweError]) -> None:
    """And the process carries out the next ones."""
    error = made(kind)
    for _ in range(3):
        with pytest.raises(kind) as caught:
            processes.run(fail, error)
        assert (str(caught.value), vars(caught.value)) == (str(error), vars(error))
        assert caught.value.__cause__ is None
    assert processes.run(see, "after").process != os.getpid()


def test_an_error_that_nobody_foresaw_tells_where_it_was_raised(processes: Processes[list[str]]) -> None:
    """The line in the other process is its cause."""
    with pytest.raises(ZeroDivisionError) as caught:
        processes.run(fail, ZeroDivisionError("division"))
    assert "in fail" in str(caught.value.__cause__)


def test_what_cannot_be_passed_is_an_error_of_the_caller(processes: Processes[list[str]]) -> None:
    """Also if that shows when it arrives only."""
    with pytest.raises((pickle.PicklingError, AttributeError, TypeError)):
        processes.run(lambda context: context)
    with pytest.raises((pickle.PicklingError, AttributeError, TypeError)):
        processes.run(see, Returned())  # type: ignore[arg-type]
    assert processes.run(see, "after").process != os.getpid()


class Returned:
    """It can be sent, but not be received."""

    def __reduce__(self) -> tuple[Any, ...]:
        return int, ("no number", "no base")


def test_a_context_that_cannot_be_made_is_an_error_of_each_task() -> None:
    """With its own words, not those of a lost process."""
    with Processes(cannot_open, number=1) as processes:
        for _ in range(2):
            with pytest.raises(ConfigurationError, match="cannot be used"):
                processes.run(see, "never")


def test_a_context_that_cannot_be_passed_on_hangs_nobody() -> None:
    """Neither the first task nor the next one."""

    def here() -> list[str]:
        return []

    with Processes(here, number=1) as processes:
        with pytest.raises((AttributeError, pickle.PicklingError)):
            processes.run(see, "never")
        with pytest.raises(ProcessLostError):
            processes.run(see, "never")


def test_a_process_that_is_killed_is_said_to_be_lost(tmp_path: Path) -> None:
    """At once. What the other one has begun is completed, and so is what comes after; without any, nothing waits.

    Long arguments that wait at that moment are no obstacle.
    """
    before = active_children()
    with (
        Processes[list[str]](list, number=2) as processes,
        ThreadPoolExecutor(3) as pool,
        Meeting(tmp_path) as dying,
        Meeting(tmp_path) as living,
    ):
        lost, kept = (begin_to_meet(processes, pool, each.begun, each.go_on, LONG) for each in (dying, living))
        os.kill(dying.process(), signal.SIGKILL)
        with pytest.raises(ProcessLostError, match="ended from outside") as caught:
            lost.result()
        assert caught.value.__suppress_context__
        process = living.process()
        later = [pool.submit(processes.run, see, LONG.decode()) for _ in range(2)]
        living.let_go_on()
        assert {each.result().process for each in (kept, *later)} == {process}
        os.kill(process, signal.SIGKILL)
        for _ in range(3):
            with pytest.raises(ProcessLostError):
                processes.run(see, "never")
    assert living.process_has_ended()
    assert {*active_children()} == {*before}


def test_tasks_that_need_not_be_completed_can_be_given_up(tmp_path: Path) -> None:
    """At once: those that have begun are lost, and so are those that come after."""
    before = active_children()
    with (
        Processes[list[str]](list, number=2) as processes,
        ThreadPoolExecutor(2) as pool,
        Meeting(tmp_path) as first,
        Meeting(tmp_path) as second,
    ):
        waiting = [begin_to_meet(processes, pool, each.begun, each.go_on) for each in (first, second)]
        for each in (first, second):
            each.process()
        processes.kill()
        for lost in waiting:
            with pytest.raises(ProcessLostError):
                lost.result()
        with pytest.raises(ProcessLostError):
            processes.run(see, "never")
    assert all(each.process_has_ended() for each in (first, second))
    assert {*active_children()} == {*before}


def test_what_was_given_up_before_is_not_begun() -> None:
    """An interrupt may come before the first task."""
    before = active_children()
    with Processes[list[str]](list, number=2) as processes:
        processes.kill()
        with pytest.raises(ProcessLostError):
            processes.run(see, "never")
        assert {*active_children()} == {*before}


def test_a_process_that_is_killed_as_it_starts_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for it to read a context that is longer than a pipe holds."""
    before, spawn = active_children(), util.spawnv_passfds
    resource_tracker.ensure_running()

    def kill(path: bytes, arguments: list[bytes], descriptors: list[int]) -> int:
        pid = spawn(path, arguments, descriptors)
        os.kill(pid, signal.SIGKILL)
        return pid

    monkeypatch.setattr(util, "spawnv_passfds", kill)
    with Processes(partial(as_list, LONG), number=2) as processes:
        processes.start()
        for _ in range(2):
            with pytest.raises(ProcessLostError):
                processes.run(see, "never")
    assert {*active_children()} == {*before}


def test_for_no_process_nothing_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even what Python starts beside them."""
    monkeypatch.delattr(resource_tracker, "ensure_running")
    with Processes[list[str]](list, number=0) as nobody:
        nobody.start()
        assert nobody.run(see, "here").process == os.getpid()


def test_a_process_that_does_not_start_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that were started before it end, and do what they can until then."""
    before, start = active_children(), SpawnProcess.start
    started: list[SpawnProcess] = []

    def refuse(self: SpawnProcess) -> None:
        if started:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        started.append(self)
        start(self)

    monkeypatch.setattr(SpawnProcess, "start", refuse)
    with Processes[list[str]](list, number=2) as processes:
        with pytest.raises(ProcessLostError, match="could not start"):
            processes.run(see, "never")
        assert processes.run(see, "later").process == started[0].pid
    assert {*active_children()} == {*before}


@pytest.fixture
def meetings(tmp_path: Path) -> list[Meeting]:
    return [Meeting(tmp_path), Meeting(tmp_path)]


@pytest.fixture
def parent(meetings: list[Meeting]) -> Iterator[subprocess.Popen[str]]:
    """A process in a group of its own, as in a terminal; two tasks meet this test."""
    root = Path(__file__).parents[2]
    command = [sys.executable, str(Path(__file__).with_name("interrupted_parent.py"))]
    command += [path for each in meetings for path in (each.begun, each.go_on)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env={"PYTHONPATH": f"{root}{os.pathsep}{root / 'tests' / 'support'}"},
    ) as running:  # fmt: skip
        yield running
        running.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_what_a_terminal_sends_does_not_reach_them(
    parent: subprocess.Popen[str], meetings: list[Meeting], number: signal.Signals
) -> None:
    """Tasks that have begun are completed, and nobody prints a traceback. It is so from the first moment on."""
    ids = [each.process() for each in meetings]
    os.killpg(parent.pid, number)
    for each in meetings:
        each.let_go_on()
    printed, said = parent.communicate(timeout=30)
    assert said == ""
    assert parent.returncode == 0
    seen = json.loads(printed)
    assert [process for process, _ in seen] == ids
    assert all({signal.SIGINT, signal.SIGHUP} <= {*blocked} for _, blocked in seen)
    assert all(each.process_has_ended() for each in meetings)


def test_they_end_with_a_parent_that_is_killed(parent: subprocess.Popen[str], meetings: list[Meeting]) -> None:
    """In the middle of their tasks: they must not write where somebody else does."""
    for each in meetings:
        each.process()
    parent.kill()
    assert all(each.process_has_ended() for each in meetings)
    assert parent.stderr is not None
    assert parent.stderr.read() == ""


@pytest.mark.parametrize(("cores", "number"), [(1, 0), (2, 2), (8, 8), (64, 8)])
def test_much_work_is_worth_a_process_on_each_core(monkeypatch: pytest.MonkeyPatch, cores: int, number: int) -> None:
    """Up to a number that bounds memory; one core is this process's own, and little work is done here."""
    monkeypatch.setattr(parallel, "cores", lambda: cores)
    assert processes_for(100_000, 0) == processes_for(1, 10**9) == number
    assert processes_for(100, 10**6) == 0


class _NoWayBackError(Exception):
    def __init__(self, one: str, other: str) -> None:
        super().__init__(f"{one} {other}")


@pytest.mark.parametrize("error", [_NoWayBackError("a", "b"), ValueError(threading.Lock())])
def test_an_error_that_cannot_cross_is_told_by_its_class(processes: Processes[list[str]], error: Exception) -> None:
    """Nobody takes it for a lost process; what the other process says of it comes with it."""
    with pytest.raises(RuntimeError, match=rf"{type(error).__name__} in another process"):
        processes.run(raise_here, type(error).__name__)


@pytest.mark.parametrize(
    "error", [NotAFolderError("gps"), NotRegularFileError("a pipe", "a.csv"), FileTooLargeError(9, "a.csv")]
)
def test_errors_of_files_cross(processes: Processes[list[str]], error: OSError) -> None:
    """They say what is there, and where."""
    with pytest.raises(type(error)) as caught:
        processes.run(fail, error)
    assert str(caught.value) == str(error)


class InterruptedQueue(SimpleQueue[Any]):
    """A signal arrives before something is put in."""

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        raise KeyboardInterrupt


def test_an_interrupt_while_they_start_is_not_waited_out() -> None:
    """The one that was just started ends with this process."""
    processes = Processes[list[str]](list, number=1)
    processes._idle = InterruptedQueue()
    with pytest.raises(KeyboardInterrupt), processes:
        processes.start()
    for left in active_children():
        left.kill()
        left.join()


def test_no_process_is_started_for_no_task() -> None:
    """Whoever finds nothing to do is not kept waiting."""
    before = active_children()
    with Processes[list[str]](list, number=2):
        assert {*active_children()} == {*before}


@pytest.mark.parametrize(("text", "number"), [("", 3), ("1", 0), ("2", 2), ("12", 12)])
def test_a_variable_says_how_many(monkeypatch: pytest.MonkeyPatch, text: str, number: int) -> None:
    """One on each core, unless it says otherwise; none for little work."""
    monkeypatch.setattr(parallel, "cores", lambda: 3)
    monkeypatch.setenv("BEIWE_PROCESSES", text)
    assert processes_for(10_000, 0) == number
    assert processes_for(10, 10) == 0


@pytest.mark.parametrize("text", ["0", "-1", "many", "2.5", "1000"])
def test_a_variable_that_is_no_number_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Before anything is done."""
    monkeypatch.setenv("BEIWE_PROCESSES", text)
    with pytest.raises(ConfigurationError, match="BEIWE_PROCESSES"):
        processes_for(10_000, 0)
