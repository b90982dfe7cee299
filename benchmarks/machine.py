"""On what was measured."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

_PACKAGES = (
    "dagster-beiwe", "dagster", "mano", "requests", "urllib3", "cryptography", "cryptease", "pyrage", "zstandard",
    "pandas", "pyarrow", "numpy",
)  # fmt: skip


def describe(folder: Path) -> dict[str, str]:
    """The machine in words; ``folder`` is where the data went."""
    return {
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 1e9:.0f} GB",
        "system": f"{platform.system()} {platform.release()}, {_file_system(folder)}",
        "load before": f"{os.getloadavg()[0]:.1f}",
    }


def moment() -> dict[str, Any]:
    """When a measurement begins, and how busy the machine is then."""
    return {"taken": datetime.now(timezone.utc).isoformat(timespec="minutes"), "load": os.getloadavg()[0]}


def is_busy(load: float) -> bool:
    """Whether the machine had other work, by the load before a measurement."""
    return load > 1


def load_before(load: float, *, real_time: bool = False) -> str:
    """How busy the machine was when a measurement began, and whether that one went before all others."""
    first = "; the processes had real-time priority" if real_time else ""
    return f"load before: {load:.1f}{f' (busy{first})' if is_busy(load) else ''}"


def versions() -> dict[str, str]:
    """Python's and those of the packages that matter."""
    found = {"Python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _file_system(folder: Path) -> str:
    """The kind of file system that a folder is on: on one in memory, fsync costs nothing."""
    try:
        mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines()]
    except OSError:
        return "unknown file system"
    fitting = [(place, kind) for place, kind in mounts if folder.resolve().is_relative_to(place)]
    return max(fitting, key=lambda mount: len(mount[0]))[1]
