"""The demo ends as a whole: when the prompt is back, nothing that it started is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import pytest

from dagster_beiwe.demo.user_interface import Addresses, free_port, serve

HERE = Path(__file__).parent
DEADLINE_SECONDS = 60


@dataclass
class Terminal:
    """A demo at a terminal; ``keyboard`` is our end of it."""

    keyboard: int
    process: subprocess.Popen[bytes]
    processes: Path
    shown: bytes = b""

    @classmethod
    def open(cls, folder: Path) -> Terminal:
        folder.mkdir()
        keyboard, screen = os.openpty()
        processes = folder / "processes"
        command = [sys.executable, str(HERE / "at_a_terminal.py"), str(folder), str(processes)]
        process = subprocess.Popen(command, stdin=screen, stdout=screen, stderr=screen, start_new_session=True)
        os.close(screen)
        return cls(keyboard, process, processes)

    def read_until(self, text: bytes) -> None:
        while text not in self.shown:
            self.shown += os.read(self.keyboard, 4096)

    def type_ctrl_c(self) -> None:
        os.write(self.keyboard, b"\x03")

    def close(self) -> None:
        os.close(self.keyboard)

    def terminate(self) -> None:
        self.process.terminate()


def is_alive(process_id: int) -> bool:
    """Whether a process runs; one that has ended may still be listed."""
    shown = subprocess.run(["ps", "-o", "stat=", "-p", str(process_id)], capture_output=True, text=True, check=False)
    return bool(shown.stdout.strip()) and not shown.stdout.startswith("Z")


ENDS: Mapping[str, Callable[[Terminal], None]] = {
    "ctrl-c": Terminal.type_ctrl_c,
    "sigterm": Terminal.terminate,
    "closed": Terminal.close,
}


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such terminals")
def test_nothing_is_left_however_the_demo_ends(tmp_path: Path) -> None:
    """Not even a process that ignores Ctrl-C. What Dagster prints while it ends is in its log, and the status is 0."""
    terminals = {name: Terminal.open(tmp_path / name) for name in ENDS}
    for name, terminal in terminals.items():
        terminal.read_until(b"Ctrl-C ends the demo.")
        ENDS[name](terminal)
    for name, terminal in terminals.items():
        assert terminal.process.wait(DEADLINE_SECONDS) == 0
        started = [int(number) for number in terminal.processes.read_text().split()]
        assert [number for number in started if is_alive(number)] == []
        log = tmp_path / name / "dagster.log"
        assert b"Traceback" in log.read_bytes()
        assert log.stat().st_mode & 0o077 == 0
        if name != "closed":
            terminal.read_until(b"Stopped. Everything")
            assert b"Traceback" not in terminal.shown
            terminal.close()


def test_dagster_that_ends_by_itself_is_shown(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """With its last lines, in place of a browser that waits; the status is 1, and signals are as before."""
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    command = [sys.executable, "-S", "-c", "print('no such table'); raise SystemExit(3)"]
    url = f"http://127.0.0.1:{free_port(0)}"
    addresses = Addresses(dagster=url, silent=url, control=url)
    assert serve(command, tmp_path, addresses, browser=False, meanwhile=nullcontext()) == 1
    assert "Dagster ended by itself (exit status 3). Its last lines:\nno such table\n" in capfd.readouterr().out
    assert before == [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
