"""``dagster-beiwe demo``: the whole product on synthetic studies, with a simulated server on loopback.

Everything it makes lies in one folder and can be deleted with it. No patient data is involved.
"""

from __future__ import annotations

import argparse
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
import webbrowser
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from dagster_beiwe.cli.context import user_path
from dagster_beiwe.errors import ConfigurationError
from dagster_beiwe.private_files import keep_private, make_folder, read_file, write_file
from dagster_beiwe.simulator import PROFILE_NAMES, SimulatedServer, World
from dagster_beiwe.simulator.profiles import CURRENT, Profile

SEED = 1
_PROJECT = "beiwe_project"
_WORKSPACE = """load_from:
  - python_module:
      module_name: {module}
      working_directory: {folder}
      location_name: beiwe_project
"""
_SETTINGS = """telemetry:
  enabled: false
nux:
  enabled: false
concurrency:
  runs:
    max_concurrent_runs: 3
  pools:
    default_limit: 2
    granularity: run
run_monitoring:
  enabled: true
  cancel_timeout_seconds: 60
run_retries:
  enabled: true
  max_retries: 1
"""
_START_SECONDS = 120
_LARGEST_BYTES = 64 * 1024


def add_parser(commands: Any) -> None:
    parser = commands.add_parser("demo", help="try everything on a simulated server with synthetic studies")
    parser.add_argument("--once", action="store_true", help="do the whole job without the UI, print a summary and end")
    parser.add_argument("--scenario", action="store_true", help="play late, changed and vanished data, and end")
    parser.add_argument(
        "--folder", type=user_path, default=Path(".demo"), help="where to keep the demo's lake and history"
    )
    parser.add_argument(
        "--profile", type=_profile, default=CURRENT, help=f"server generation: {', '.join(PROFILE_NAMES)} or a date"
    )
    parser.add_argument("--port", type=_port, default=3000, help="port of the UI; another one is taken if it is in use")
    parser.add_argument("--no-browser", action="store_true", help="do not open the browser")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    keep_private()  # Dagster's own files too
    if options.scenario:
        from dagster_beiwe.demo.scenario import run_scenario

        return run_scenario()
    folder: Path = options.folder.absolute()
    world = World.demo(seed=SEED, now=_begin(folder))
    with SimulatedServer(world, profile=options.profile, control=True) as server:
        os.environ.update(_environment(folder, server))
        from dagster_beiwe.demo.headless import prepare, run_everything

        if options.once:
            return run_everything(folder / "lake")
        print("Asking the simulated server for its studies and participants ...", flush=True)
        prepare()
        return _serve(folder, port=_free_port(options.port), browser=not options.no_browser)


def _begin(folder: Path) -> datetime:
    """Make the demo's folder; returns the moment at which its synthetic data ends, the same at every call."""
    home = folder / "dagster_home"
    make_folder(home)
    own = Path("dagster.yaml")
    if not (home / "dagster.yaml").exists():
        settings = read_file(own, limit_bytes=_LARGEST_BYTES, follow=True) if own.exists() else _SETTINGS.encode()
        write_file(home / "dagster.yaml", settings)
    module, place = (f"{_PROJECT}.definitions", Path.cwd()) if Path(_PROJECT).is_dir() else (_OWN_MODULE, folder)
    write_file(folder / "workspace.yaml", os.fsencode(_WORKSPACE.format(module=module, folder=place)))
    began = folder / "began"
    if not began.exists():
        now = datetime.now(timezone.utc).replace(minute=0, second=0, microsecond=0)
        write_file(began, now.isoformat().encode())
    try:
        return datetime.fromisoformat(read_file(began, limit_bytes=_LARGEST_BYTES).decode())
    except ValueError:
        raise ConfigurationError(
            f"Expected a time in {began}, got something else; nothing was done. Delete {folder} to begin anew."
        ) from None


_OWN_MODULE = "dagster_beiwe.demo.definitions"


def _environment(folder: Path, server: SimulatedServer) -> dict[str, str]:
    """What a lab would set, here for the simulated server."""
    locked = folder / "passphrase"
    if not locked.exists():
        write_file(locked, secrets.token_urlsafe(24).encode(), exclusive=True)
    for name in ("BEIWE_STUDIES", "BEIWE_START", "BEIWE_KEYRING_SECTION", "BEIWE_REFRESH_CRON"):
        os.environ.pop(name, None)
    return {
        "BEIWE_URL": server.url,
        "BEIWE_ACCESS_KEY": server.access_key,
        "BEIWE_SECRET_KEY": server.secret_key,
        "BEIWE_LAKE": str(folder / "lake"),
        "BEIWE_LAKE_PASSPHRASE": read_file(locked, limit_bytes=_LARGEST_BYTES).decode(),
        "BEIWE_AUTOMATION": "running",
        "DAGSTER_HOME": str(folder / "dagster_home"),
    }


def _serve(folder: Path, *, port: int, browser: bool) -> int:
    """``dagster dev`` until Ctrl-C or SIGTERM."""
    dagster = shutil.which("dagster", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if dagster is None:
        raise ConfigurationError(
            "Expected the command `dagster` beside this Python, got none; nothing was started. Install "
            "dagster-beiwe[webserver]."
        )
    command = [dagster, "dev", "-w", str(folder / "workspace.yaml"), "-h", "127.0.0.1", "-p", str(port)]
    url = f"http://127.0.0.1:{port}"
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stop.set())
    with subprocess.Popen(command, cwd=folder) as process:  # noqa: S603 - our own interpreter's dagster
        try:
            if _answers(url, process, stop):
                print(f"\nThe demo runs at {url}  (Ctrl-C ends it; everything it made is in {folder})\n", flush=True)
                if browser:
                    webbrowser.open(url)
            while process.poll() is None and not stop.wait(0.5):
                pass
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
    return 0 if stop.is_set() else process.returncode or 0


def _answers(url: str, process: subprocess.Popen[bytes], stop: threading.Event) -> bool:
    """Wait until the UI is up; False if it will not come."""
    deadline = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < deadline and not stop.is_set():
        try:
            with urllib.request.urlopen(f"{url}/server_info", timeout=5):  # noqa: S310 - loopback
                return True
        except OSError:
            stop.wait(0.5)
    return False


def _profile(text: str) -> str:
    try:
        Profile.named(text)
    except (ValueError, TypeError):
        raise argparse.ArgumentTypeError(f"expected {', '.join(PROFILE_NAMES)} or a date, got {text[:40]!r}") from None
    return text


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise argparse.ArgumentTypeError(f"expected 1 to 65535, got {text!r}")
    return int(text)


def _free_port(wanted: int) -> int:
    for port in (wanted, 0):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    return wanted
