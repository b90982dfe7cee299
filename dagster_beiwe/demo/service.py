"""A program that runs beside this one, with everything that it starts, and ends with it."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, BinaryIO

from dagster_beiwe.file_tree import FileTree

_PROGRAM_SECONDS = 30.0
"""How long the program may take to end itself and what it started."""

_REST_SECONDS = 1.0
"""How long after it others may take to end."""

_TERMINATED_SECONDS = 10.0
_LOOK_SECONDS = 0.1
_LAST_LINES = 20


class Service:
    """Its processes are in a session of their own, so that the terminal's signals do not reach them one by one.

    All of them write to one pipe. When it is closed, the last of them has ended. What they write is in ``log``.
    """

    def __init__(self, command: Sequence[str], *, folder: Path, log: str) -> None:
        files = FileTree(folder)
        files.delete(log)
        kept = files.create(log, durable=False)
        self._last: deque[bytes] = deque(maxlen=_LAST_LINES)
        self._process = subprocess.Popen(  # noqa: S603 - the caller names the program
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._keep, args=(self._process.stdout, kept))
        self._reader.start()

    @property
    def status(self) -> int | None:
        """The exit status of the program itself; None while it runs."""
        return self._process.poll()

    @property
    def last_lines(self) -> str:
        return b"".join(self._last).decode(errors="replace")

    def stop(self, *, hurry: Callable[[], bool]) -> None:
        """End all processes, and wait until they have ended. They are killed as soon as there is a hurry."""
        self._process.send_signal(signal.SIGINT)
        self._wait(_PROGRAM_SECONDS, lambda: self.status is not None or hurry())
        self._wait(_REST_SECONDS, lambda: self._ended or hurry())
        self._signal_all(signal.SIGTERM)
        self._wait(_TERMINATED_SECONDS, lambda: self._ended or hurry())
        self._signal_all(signal.SIGKILL)
        self._wait(_TERMINATED_SECONDS, lambda: self._ended)
        self._process.wait()

    @property
    def _ended(self) -> bool:
        return not self._reader.is_alive()

    def _signal_all(self, number: signal.Signals) -> None:
        if not self._ended:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    def _wait(self, seconds: float, until: Callable[[], bool]) -> None:
        deadline = time.monotonic() + seconds
        while not until() and time.monotonic() < deadline:
            self._reader.join(_LOOK_SECONDS)

    def _keep(self, output: IO[bytes], log: BinaryIO) -> None:
        with output, log:
            for line in output:
                self._last.append(line)
                log.write(line)
                log.flush()
