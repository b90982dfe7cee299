"""Work in several processes at the same time, because Python works on one core in each."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing import resource_tracker
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, cast

from dagster_beiwe.environment import BEIWE_PROCESSES
from dagster_beiwe.errors import BeiweError, ConfigurationError, ProcessLostError
from dagster_beiwe.processes import cores

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from typing import Concatenate

    from typing_extensions import ParamSpec, Self

    _P = ParamSpec("_P")

_C = TypeVar("_C")
_R = TypeVar("_R")

_WORTH_SECONDS: Final = 2.0
"""Shorter work is done before other processes have imported what they need."""

_FILE_SECONDS: Final = 0.5e-3
"""To store one file."""
_BYTE_SECONDS: Final = 1e-8

_MOST_WANTED: Final = 256
_MOST: Final = 8
"""Each holds a batch of files in memory, and more than a few wait for the disk."""

_FROM_TERMINAL: Final = ("SIGINT", "SIGHUP")
"""What a terminal sends to all processes of a command. Windows lacks the last one."""


def processes_for(files: int, size_bytes: int, *, file_seconds: float = _FILE_SECONDS) -> int:
    """How many processes are worth it for work on so many files and bytes; 0 for little work.

    Each file takes ``file_seconds``, however small it is: by default, what storing one takes. Raises
    ``ConfigurationError`` if ``BEIWE_PROCESSES`` is no number.
    """
    number = _wanted() or min(_MOST, cores())
    worth = work_seconds(files, size_bytes, file_seconds=file_seconds) >= _WORTH_SECONDS
    return number if worth and number > 1 else 0


def work_seconds(files: int, size_bytes: int, *, file_seconds: float = _FILE_SECONDS) -> float:
    """About how long one process works on so many files and bytes, as ``processes_for`` judges."""
    return files * file_seconds + size_bytes * _BYTE_SECONDS


def _wanted() -> int | None:
    text = os.environ.get(BEIWE_PROCESSES, "")
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= _MOST_WANTED:
        raise ConfigurationError(
            f"{BEIWE_PROCESSES} is {text[:20]!r}, not a number from 1 to {_MOST_WANTED}. Nothing was done. Set how "
            "many processes may work at the same time, or unset it for one on each core."
        )
    return int(text)


class Processes(Generic[_C]):
    """Processes that carry out tasks: functions of a context, which each process makes for itself, and of arguments.

    Use it as a context manager; ``run`` may be called from several threads, and each waits for its own task. They start
    with the first task, or before if told to. If ``number`` is 0, there is no other process, and tasks are carried out
    by whoever asks for them. What is passed goes through a pipe and nowhere else; it has to be picklable, and tasks and
    ``context`` importable.

    The processes end with the one that started them, however that ends. Ctrl-C does not reach them: they complete the
    tasks that have begun. If one is lost, the others go on.
    """

    def __init__(self, context: Callable[[], _C], *, number: int) -> None:
        self._make, self.number = context, number
        self._own: list[_C] = []
        self._lock = threading.Lock()
        self._started = False
        self._alive: list[_Process] = []
        self._idle: SimpleQueue[_Process | None] = SimpleQueue()
        """Ends with None if all processes are lost."""

    def __enter__(self) -> Self:
        if not self.number:
            self._own.append(self._make())
        return self

    def __exit__(self, *exception: object) -> None:
        """Wait for the tasks that have begun, and end the processes; if that is interrupted, kill them."""
        self._own.clear()
        try:
            while self._alive:
                if (process := self._idle.get()) is not None:
                    process.end()
                    self._alive.remove(process)
        except BaseException:
            self.kill()
            raise

    @property
    def at_once(self) -> int:
        """How many tasks are carried out at the same time."""
        return max(1, self.number)

    def kill(self) -> None:
        """End the processes now, whatever they are doing, and start none. Only for tasks that write nothing."""
        with self._lock:  # or one that is being started would live on
            if not self._started:
                self._started = True
                self._idle.put(None)
            for process in tuple(self._alive):
                process.kill()

    def run(self, task: Callable[Concatenate[_C, _P], _R], *args: _P.args, **kwargs: _P.kwargs) -> _R:
        """What the task returns. Raises what the task raises, and ``ProcessLostError`` if its process was ended."""
        if not self.number:
            (own,) = self._own
            return task(own, *args, **kwargs)
        self.start()
        process = self._idle.get()
        if process is None:
            self._idle.put(None)
            raise _lost()
        try:
            result = process.carry_out(task, args, kwargs)
        except ProcessLostError:
            process.end()
            self._alive.remove(process)
            self._idle_if_none_is_left()
            raise
        except BaseException:
            self._idle.put(process)
            raise
        self._idle.put(process)
        return cast("_R", result)

    def start(self) -> None:
        """Let them start now, while something else goes on: they import what they need before the first task."""
        with self._lock:
            if self._started or not self.number:
                return
            self._started = True
            try:
                context = pickle.dumps(self._make)
                with _out_of_reach():
                    for _ in range(self.number):
                        process = _Process(context, _function_of(self._make))
                        self._idle.put(process)  # first: whoever is alive is waited for there, also after an interrupt
                        self._alive.append(process)
            except BaseException as error:
                self._idle_if_none_is_left()  # or the next task would wait forever
                if isinstance(error, OSError):
                    raise _lost() from None
                raise

    def _idle_if_none_is_left(self) -> None:
        if not self._alive:
            self._idle.put(None)


class _Process:
    """One process, which carries out one task at a time, and the pipe to it.

    Not one of a ``ProcessPoolExecutor``: Python 3.10 hangs if one of those is killed while long arguments wait.
    """

    def __init__(self, context: bytes, needed: Callable[..., Any]) -> None:
        """``needed`` is a function whose module the process imports at once. The ``context`` comes with the first task:
        starting would wait until the process has read it, for good if it ends before."""
        spawn = multiprocessing.get_context("spawn")
        self._pipe, other_end = spawn.Pipe()
        self._to_send = [context]
        with other_end:
            self._process = spawn.Process(target=_serve, args=(other_end, needed), name="beiwe-process", daemon=True)
            self._process.start()

    def carry_out(self, task: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        self._to_send.append(pickle.dumps((task, args, kwargs)))
        try:
            while self._to_send:
                self._pipe.send_bytes(self._to_send.pop(0))
            answer = self._pipe.recv_bytes()
        except (EOFError, OSError):
            raise _lost() from None
        except BaseException:  # the answer may still come, and must not be taken for that to another task
            self._pipe.close()
            raise
        result, error, where = pickle.loads(answer)  # noqa: S301 - of a process of our own
        if error is None:
            return result
        if not isinstance(error, BeiweError):  # nobody foresaw it
            error.__cause__ = RuntimeError(f"It was raised in another process:\n{where}")
        raise error

    def kill(self) -> None:
        with suppress(ValueError):  # it has ended already
            self._process.kill()

    def end(self) -> None:
        with suppress(OSError):
            self._pipe.send_bytes(b"")
        self._pipe.close()
        self._process.join()
        self._process.close()


def _lost() -> ProcessLostError:
    return ProcessLostError(
        "A process that helped this one was ended from outside, or could not start. What it was working on is lost; "
        f"what was complete stays. If the system's log says that memory ran out, set {BEIWE_PROCESSES} to a smaller "
        "number; 1 keeps the work in one process. Then run the command again."
    )


@contextmanager
def _out_of_reach() -> Iterator[None]:
    """Let processes that are started now never see an interrupt that is meant for this one."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # or it would be started later, and lift the block
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _from_terminal())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _from_terminal() -> list[int]:
    return [number for name in _FROM_TERMINAL if (number := getattr(signal, name, None)) is not None]


def _function_of(make: Callable[[], Any]) -> Callable[..., Any]:
    return make.func if isinstance(make, partial) else make


def _serve(pipe: Connection, needed: Callable[..., Any]) -> None:  # noqa: ARG001 - to read it, its module is imported
    """What a process does: it answers each order with a result or an error, until there are no more."""
    for number in _from_terminal():
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, name="beiwe-parent", daemon=True).start()
    context: list[Any] = []
    with suppress(EOFError, OSError):  # nobody asks any more, or waits for the answer
        make = pipe.recv_bytes()
        while order := make and pipe.recv_bytes():
            pipe.send_bytes(_answer(order, context, make))


def _answer(order: bytes, context: list[Any], make: bytes) -> bytes:
    try:
        task, args, kwargs = pickle.loads(order)  # noqa: S301 - of the process that started this one
        if not context:
            context.append(pickle.loads(make)())  # noqa: S301 - of the same
        return pickle.dumps((task(*context, *args, **kwargs), None, ""))
    except BaseException as error:  # noqa: BLE001  # raised where somebody waits for the result
        return pickle.dumps((None, _crossing(error), traceback.format_exc()))


def _crossing(error: BaseException) -> BaseException:
    """An error as it arrives: one that can't be passed on is told by the name of its class."""
    try:
        arrived = pickle.loads(pickle.dumps(error))  # noqa: S301 - of our own
    except Exception:  # noqa: BLE001 - whatever its class does
        return RuntimeError(f"{type(error).__name__} in another process")
    return error if type(arrived) is type(error) else RuntimeError(f"{type(error).__name__} in another process")


def _end_with_parent() -> None:
    """A process whose parent was killed would go on writing while the next one collects what is left."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "it was started for tasks"
    parent.join()
    os._exit(1)
