"""Dagster's pages for the demo, until somebody ends it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sys
import time
import urllib.request
import webbrowser
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType

from dagster_beiwe.demo.service import Service
from dagster_beiwe.errors import ConfigurationError

LOG = "dagster.log"

_WELCOME = """
Dagster         {dagster}
Who is silent   {silent}
Control page    {control}   cause events in the studies
Folder          {folder}   Dagster's output is in {log}

Ctrl-C ends the demo.
"""
_LOOK_SECONDS = 0.2
_HURRY_SECONDS = 1.0
"""A second Ctrl-C counts if it comes later than this: some programs pass on the first one once more."""


def find_dagster() -> str:
    """The program ``dagster`` of this Python. Raises ``ConfigurationError`` if it is not installed."""
    dagster = shutil.which("dagster", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if dagster is None:
        raise ConfigurationError(
            "The command `dagster` is not installed next to this Python. Nothing was started. Install "
            "dagster-beiwe[webserver]."
        )
    return dagster


@dataclass(frozen=True, kw_only=True)
class Addresses:
    """Where the demo is in a browser. ``silent`` is the page in Dagster that shows who is silent, and opens first."""

    dagster: str
    silent: str
    control: str


def serve(
    command: Sequence[str],
    folder: Path,
    addresses: Addresses,
    *,
    browser: bool,
    meanwhile: AbstractContextManager[None],
) -> int:
    """Run Dagster until Ctrl-C, SIGTERM or SIGHUP. When this returns, all of its processes have ended.

    ``meanwhile`` is entered once the pages are up, and left when Dagster is to end. Returns 0 if it was asked to end,
    and 1 if Dagster ended by itself.
    """
    with _listening() as asked:
        print("Starting Dagster", flush=True)
        service = Service(command, folder=folder, log=LOG)
        try:
            if _answers(addresses.dagster, service, asked):
                print(_WELCOME.format(**asdict(addresses), folder=folder, log=LOG), flush=True)
                if browser:
                    webbrowser.open(addresses.silent)
                with meanwhile:
                    while service.status is None and not asked.to_stop:
                        time.sleep(_LOOK_SECONDS)
            if asked.to_stop:
                print("Stopping Dagster. This takes a few seconds; another Ctrl-C kills it.", flush=True)
        finally:
            service.stop(hurry=lambda: asked.to_hurry)
    if asked.to_stop:
        print(f"Stopped. Everything the demo made is in {folder}.", flush=True)
        return 0
    print(f"Dagster ended by itself (exit status {service.status}). Its last lines:\n{service.last_lines}", flush=True)
    return 1


class _Asked:
    """What signals asked for: to stop, and, with a second Ctrl-C, to hurry."""

    def __init__(self) -> None:
        self.to_stop = self.to_hurry = False
        self._first = 0.0

    def note(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGHUP:  # the terminal is closed: nobody reads, and writing would fail
            silence = os.open(os.devnull, os.O_WRONLY)
            for output in (1, 2):
                os.dup2(silence, output)
        if not self.to_stop:
            self.to_stop, self._first = True, time.monotonic()
        elif number == signal.SIGINT and time.monotonic() - self._first > _HURRY_SECONDS:
            self.to_hurry = True


@contextmanager
def _listening() -> Iterator[_Asked]:
    """Take note of signals.

    Those that are ignored (under nohup, in the background of a script) stay without effect, but by a function: programs
    inherit what is ignored, and Dagster could not be ended. SIGTERM never is; Dagster treats it like Ctrl-C.
    """
    asked = _Asked()
    before = {}
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        ignored = number != signal.SIGTERM and signal.getsignal(number) is signal.SIG_IGN
        before[number] = signal.signal(number, (lambda *_: None) if ignored else asked.note)
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _answers(url: str, service: Service, asked: _Asked) -> bool:
    """Wait until the pages are up. False if they will not come."""
    while service.status is None and not asked.to_stop:
        try:
            with urllib.request.urlopen(f"{url}/server_info", timeout=5):  # noqa: S310 - loopback
                return True
        except OSError:
            time.sleep(_LOOK_SECONDS)
    return False


def free_port(wanted: int) -> int:
    """The wanted port of the loopback interface, or any free one."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # the last demo's connections do not matter
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    return wanted
