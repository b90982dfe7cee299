"""The processes of a schedule in containers of their own, some of which have a clock that is wrong by ten minutes.

``python -m container_actors SOCKET ORDER`` is such a process.
"""

from __future__ import annotations

import base64
import os
import pickle
import select
import signal
import socket
import sys
from contextlib import suppress
from multiprocessing.connection import Connection

from real_processes import Order, work

from benchmarks.containers.podman import Podman, shifted_clock

CLOCKS = ("+0m", "+10m", "-10m")
PATIENCE_SECONDS = 120


class ContainerActor:
    """The process of a container, as one of ``multiprocessing``."""

    def __init__(self, pid: int) -> None:
        self._pid, self._handle = pid, os.pidfd_open(pid)

    @property
    def pid(self) -> int:
        """Raises ``ProcessLookupError`` once it has ended: the number may be another's by then."""
        if select.select([self._handle], [], [], 0)[0]:
            raise ProcessLookupError(self._pid)
        return self._pid

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def join(self) -> None:
        select.select([self._handle], [], [], PATIENCE_SECONDS)
        os.close(self._handle)


def in_container(podman: Podman, order: Order) -> tuple[ContainerActor, Connection]:
    """Start one, and return what it says."""
    name = f"{order.name}.socket"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(podman.shared / name))
        listener.listen()
        listener.settimeout(PATIENCE_SECONDS)
        told = base64.b64encode(pickle.dumps(order)).decode()
        environment = {**shifted_clock(CLOCKS[order.seed % len(CLOCKS)]), "PYTHONPATH": os.pathsep.join(sys.path)}
        container = podman.run([sys.executable, "-m", "container_actors", f"/shared/{name}", told], environment)
        connection, _ = listener.accept()
        connection.setblocking(True)
        container.reload()
        actor = ContainerActor(int(container.attrs["State"]["Pid"]))
        return actor, Connection(connection.detach(), readable=True, writable=False)


def main(address: str, told: str) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(address)
        work(pickle.loads(base64.b64decode(told)), Connection(connection.detach(), readable=False))


if __name__ == "__main__":
    main(*sys.argv[1:])
