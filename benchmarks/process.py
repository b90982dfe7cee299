"""Measure in a process of its own, so that none has warmed up for another, and what it costs there."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.server import Served

_ROOT = Path(__file__).parents[1]
_PATIENCE_SECONDS = 120
_LOOK_SECONDS = 0.5


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a client is to do. ``folder`` is its own to write to; ``options`` are the client's.

    Jobs that run ``together`` (so many) begin once all of them have imported what they need.
    """

    client: str
    served: Served
    folder: str
    options: Mapping[str, Any]
    together: int = 1


def run(job: Job) -> dict[str, Any]:
    """What the client measured: seconds, bytes of memory, and whatever else it tells."""
    return run_module("benchmarks.clients", given=asdict(job))


def run_module(
    module: str, *arguments: str, given: object = None, environment: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Run a module in a process of its own. ``given`` is its input, and the last line of its output the result: both
    are JSON. Raises ``RuntimeError`` with its output if it fails."""
    # Proxies of the environment must not stand between a client and the loopback interface.
    inherited = os.environ if environment is None else environment
    # Not -m: processes that are started there would have to import the module first. Those of the command line do not.
    code = f"import runpy; runpy.run_module({module!r}, run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        env={name: value for name, value in inherited.items() if not name.lower().endswith("_proxy")},
        cwd=_ROOT,
        check=False,
    )
    if done.returncode:
        shown = f"{done.stdout[-2000:]}\n{done.stderr[-6000:]}"
        raise RuntimeError(f"{' '.join([module, *arguments])} failed.\n{shown}")
    measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return measured


def wait_for_others(job: Job) -> None:
    """Return once as many jobs as run together, whose folders lie side by side, are ready to begin.

    Raises ``TimeoutError`` if one of them does not come.
    """
    if job.together > 1:
        Path(f"{job.folder}.ready").touch()
        end = time.monotonic() + _PATIENCE_SECONDS
        while len([*Path(job.folder).parent.glob("*.ready")]) < job.together:
            if time.monotonic() > end:
                raise TimeoutError("Not all jobs that run together have begun.")
            time.sleep(0.01)


@contextmanager
def measured(found: dict[str, Any], *, anew: bool = False) -> Iterator[None]:
    """What the block takes, put into ``found`` after it: ``seconds``, ``cpu_seconds``, and the most memory that the
    process has had, before (``base_bytes``) and now (``peak_bytes``).

    The most so far is forgotten first if it is taken ``anew``, where the system can do that. ``cpu_seconds`` include
    those of processes that were started in the block and have ended, and ``peak_bytes`` what they had, where the system
    tells it.
    """
    if anew:
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    with _children() as children:
        base, cpu, began = peak_bytes(), _processor_seconds(), time.perf_counter()
        yield
        found["seconds"] = time.perf_counter() - began
        found["cpu_seconds"] = _processor_seconds() - cpu
    found["base_bytes"] = base
    # Linux estimates its account of a process, so that a peak read later can be some pages less.
    found["peak_bytes"] = max(base, peak_bytes()) + sum(children.values())


def _processor_seconds() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


@contextmanager
def _children() -> Iterator[dict[int, int]]:
    """The most memory that each process has had which this one has started, by id."""
    found: dict[int, int] = {}
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(_LOOK_SECONDS):
            for listed in Path("/proc/self/task").glob("*/children"):
                with suppress(OSError, ValueError):  # one ends just now
                    found.update((int(pid), peak_bytes(int(pid))) for pid in listed.read_text().split())

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    try:
        yield found
    finally:
        ended.set()
        looking.join()


def peak_bytes(pid: int | None = None) -> int:
    """The most memory that a process has had, by default this one; of others, only Linux tells it.

    Linux keeps the parent's peak in ``ru_maxrss`` across a fork and an exec, so its own account is read where there
    is one.
    """
    try:
        status = Path(f"/proc/{pid or 'self'}/status").read_text(encoding="ascii")
    except OSError:
        if pid:
            raise
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def is_real_time() -> bool:
    """Whether this process, and those it starts, go before all others."""
    return os.sched_getscheduler(0) in (os.SCHED_FIFO, os.SCHED_RR)
