"""Dagster's UI for the demo, as a process of its own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
import webbrowser
from pathlib import Path

from dagster_beiwe.demo.folder import WORKSPACE
from dagster_beiwe.errors import ConfigurationError

_START_SECONDS = 120


def serve(folder: Path, *, port: int, browser: bool) -> int:
    """Run ``dagster dev`` until Ctrl-C or SIGTERM."""
    dagster = shutil.which("dagster", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if dagster is None:
        raise ConfigurationError(
            "The command `dagster` is not beside this Python. Nothing was started. Install dagster-beiwe[webserver]."
        )
    port = _free_port(port)
    command = [dagster, "dev", "-w", str(folder / WORKSPACE), "-h", "127.0.0.1", "-p", str(port)]
    url = f"http://127.0.0.1:{port}"
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stop.set())
    with subprocess.Popen(command, cwd=folder) as process:  # noqa: S603 - the dagster of this Python
        try:
            if _answers(url, process, stop):
                print(f"\nThe demo runs at {url}  (Ctrl-C ends it. Everything it made is in {folder})\n", flush=True)
                if browser:
                    webbrowser.open(url)
            while process.poll() is None and not stop.wait(0.5):
                pass
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
    return 0 if stop.is_set() else process.returncode or 0


def _answers(url: str, process: subprocess.Popen[bytes], stop: threading.Event) -> bool:
    """Wait until the UI is up. False if it will not come."""
    deadline = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < deadline and not stop.is_set():
        try:
            with urllib.request.urlopen(f"{url}/server_info", timeout=5):  # noqa: S310 - loopback
                return True
        except OSError:
            stop.wait(0.5)
    return False


def _free_port(wanted: int) -> int:
    for port in (wanted, 0):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    return wanted
