"""The demo's folder: everything that it creates, and the environment that points there."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from dagster_beiwe.environment import (
    BEIWE_ACCESS_KEY,
    BEIWE_AUTOMATION,
    BEIWE_KEYRING_SECTION,
    BEIWE_LAKE,
    BEIWE_LAKE_PASSPHRASE,
    BEIWE_REFRESH_CRON,
    BEIWE_SECRET_KEY,
    BEIWE_START,
    BEIWE_STUDIES,
    BEIWE_TABLES,
    BEIWE_URL,
    DAGSTER_HOME,
)
from dagster_beiwe.private_files import make_folder, read_file, write_file
from dagster_beiwe.simulator import SimulatedServer
from dagster_beiwe.studies.config import EVERY_STUDY

WORKSPACE = "workspace.yaml"
REFRESH_CRON = "*/10 * * * *"
"""Rosters and settings change while somebody looks."""

_PROJECT = "beiwe_project"
_OWN_MODULE = "dagster_beiwe.demo.definitions"
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
_LARGEST_BYTES = 64 * 1024


def prepare_folder(folder: Path) -> None:
    """Make the folder, with what Dagster reads."""
    home = folder / "dagster_home"
    make_folder(home)
    own = Path("dagster.yaml")
    if not (home / "dagster.yaml").exists():
        settings = read_file(own, limit_bytes=_LARGEST_BYTES, follow=True) if own.exists() else _SETTINGS.encode()
        write_file(home / "dagster.yaml", settings)
    module, place = (f"{_PROJECT}.definitions", Path.cwd()) if Path(_PROJECT).is_dir() else (_OWN_MODULE, folder)
    write_file(folder / WORKSPACE, os.fsencode(_WORKSPACE.format(module=module, folder=place)))


def variables(folder: Path, server: SimulatedServer) -> dict[str, str]:
    """The environment that a lab would set, here for the simulated server. Removes what would disturb the demo."""
    passphrase = folder / "passphrase"
    if not passphrase.exists():
        write_file(passphrase, secrets.token_urlsafe(24).encode(), exclusive=True)
    for name in (BEIWE_START, BEIWE_KEYRING_SECTION):
        os.environ.pop(name, None)
    first = next(iter(server.world.studies))
    return {
        BEIWE_URL: server.url,
        BEIWE_ACCESS_KEY: server.access_key,
        BEIWE_SECRET_KEY: server.secret_key,
        BEIWE_LAKE: str(folder / "lake"),
        BEIWE_LAKE_PASSPHRASE: read_file(passphrase, limit_bytes=_LARGEST_BYTES).decode(),
        BEIWE_STUDIES: f"{first},{EVERY_STUDY}",
        BEIWE_TABLES: "accelerometer,gps",
        BEIWE_AUTOMATION: "running",
        BEIWE_REFRESH_CRON: REFRESH_CRON,
        DAGSTER_HOME: str(folder / "dagster_home"),
    }
