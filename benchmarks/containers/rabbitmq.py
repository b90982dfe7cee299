"""A RabbitMQ of its own on loopback, from Debian's package."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from benchmarks.containers.postgres import free_port
from benchmarks.containers.programs import running

_SERVER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")


class NoRabbitMQError(Exception):
    """There is none on this machine."""


def require_rabbitmq() -> None:
    """Raises ``NoRabbitMQError``."""
    if not _SERVER.exists() or shutil.which("epmd") is None:
        raise NoRabbitMQError("there is no RabbitMQ: `apt-get install rabbitmq-server`")


@contextmanager
def rabbitmq() -> Iterator[str]:
    """A server with its files in a temporary folder, and the port mapper that it needs. Gives the server's URL."""
    require_rabbitmq()
    port = free_port()
    with ExitStack() as ends:
        folder = Path(tempfile.mkdtemp(prefix="beiwe-rabbitmq-"))
        ends.callback(shutil.rmtree, folder)
        (folder / "plugins").write_text("[].\n")
        (folder / "rabbitmq.conf").write_text(f"listeners.tcp.1 = 127.0.0.1:{port}\n")
        environment = _environment(folder)
        mapper = ["epmd", "-address", "127.0.0.1", "-port", environment["ERL_EPMD_PORT"]]
        ends.enter_context(running(mapper, log=folder / "epmd.log", environment=environment))
        ends.enter_context(running([str(_SERVER)], log=folder / "log", environment=environment))
        _wait(port, folder / "log")
        yield f"amqp://guest:guest@127.0.0.1:{port}//"


def _wait(port: int, log: Path) -> None:
    pause = threading.Event()
    for _ in range(600):
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        pause.wait(0.5)
    raise AssertionError(f"RabbitMQ does not listen.\n{log.read_text(errors='replace')[-2000:]}")


def _environment(folder: Path) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "ERL_EPMD_PORT": str(free_port()),
        "RABBITMQ_BASE": str(folder),
        "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
        "RABBITMQ_CONF_ENV_FILE": os.devnull,
        "RABBITMQ_DIST_PORT": str(free_port()),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
        "RABBITMQ_LOG_BASE": str(folder),
        "RABBITMQ_LOGS": "-",
        "RABBITMQ_MNESIA_BASE": str(folder / "data"),
        "RABBITMQ_NODENAME": "beiwe@localhost",
        # one scheduler that sleeps when there is nothing to do, and nothing that listens beyond loopback
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1} +S 1:1 +sbwt none",
    }
