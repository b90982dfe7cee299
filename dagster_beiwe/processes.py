"""The processes that do some work, whether they have certainly ended, and what must not be interrupted."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import platform
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

ENDING_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")
"""What a person or a system sends to end a process. Windows lacks the last one."""


@dataclass(frozen=True, kw_only=True)
class Worker:
    """Processes of one user on one machine: {process id: when it started}.

    ``machine`` and ``boot`` are empty if the system does not know them; ``namespace`` is that of the process ids.
    """

    host: str
    machine: str
    boot: str
    namespace: str
    user: str
    processes: dict[int, str]

    @classmethod
    def here(cls) -> Worker:
        """This process, and the parent that started it for a part of its work (Dagster's executor does so)."""
        parent = multiprocessing.parent_process()
        ids = [os.getpid(), *([parent.pid] if parent and parent.pid else [])]
        machine = _text("/etc/machine-id")
        return cls(
            host=platform.node(),
            machine=hashlib.sha256(machine.encode()).hexdigest()[:16] if machine else "",
            boot=_text("/proc/sys/kernel/random/boot_id"),
            namespace=_namespace(),
            user=str(os.getuid()) if hasattr(os, "getuid") else "",
            processes={process_id: started for process_id in ids if (started := _started(process_id))},
        )

    def to_text(self) -> str:
        return json.dumps(asdict(self))

    def is_gone(self, *, here: Worker | None = None) -> bool:
        """Whether it is certain, as seen from the process ``here``, that none of the processes is alive.

        On another machine, in another container, or for another user it never is.
        """
        here = here or Worker.here()
        if (self.host, self.machine, self.user) != (here.host, here.machine, here.user) or not self.processes:
            return False
        if self.namespace != here.namespace:
            return False
        if self.boot != here.boot:  # containers on two machines may share a name and the id in their image
            return bool(self.machine) and self.namespace == _MACHINE_ITSELF
        return all(_started(process_id) != started for process_id, started in self.processes.items())


def cores() -> int:
    """How many cores this process may use: those of the machine, or fewer, as its affinity and its container say."""
    number = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, _, period = _text("/sys/fs/cgroup/cpu.max").partition(" ")
    if quota.isdigit() and period.isdigit() and int(period):
        number = min(number, max(1, int(quota) // int(period)))
    return number


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Let signals that would end this process wait until the block is done. They do not reach the block's children."""
    if threading.current_thread() is not threading.main_thread():  # no signal comes here
        yield
        return
    waiting: list[int] = []
    ignored = (None, signal.SIG_IGN)
    numbers = [number for name in ENDING_SIGNALS if (number := getattr(signal, name, None))]
    before = {number: handler for number in numbers if (handler := signal.getsignal(number)) not in ignored}
    for number in before:
        signal.signal(number, lambda number, _: waiting.append(number))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for number in dict.fromkeys(waiting):
            signal.raise_signal(number)


def _started(process_id: int) -> str:
    """When a process started, for comparison; empty if it does not exist or has ended."""
    if Path("/proc/self/stat").exists():
        # The process id and name come first; the name may contain anything.
        fields = _text(f"/proc/{process_id}/stat").rpartition(")")[2].split()
        return fields[19] if fields and fields[0] not in _ENDED else ""
    try:
        command = ["ps", "-o", "stat=,lstart=", "-p", str(process_id)]
        shown = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()  # noqa: S603
    except FileNotFoundError:
        return ""
    return "" if shown.startswith(_ENDED) else shown.partition(" ")[2].strip()


def _namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


_MACHINE_ITSELF = "pid:[4026531836]"
"""The namespace of process ids outside of containers, the same on every Linux; PROC_PID_INIT_INO in its sources."""

_ENDED = ("Z", "X")
"""States of a process that has ended but was not reaped by its parent yet."""
