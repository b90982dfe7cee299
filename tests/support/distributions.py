"""The sdist and the wheel, built as for a release."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]


def build(folder: Path, *options: str) -> tuple[Path, Path]:
    """Build both from a copy, so that building leaves nothing in the repository; the wheel is built from the sdist."""
    ignored = (line.rstrip("/") for line in (REPOSITORY / ".gitignore").read_text(encoding="utf-8").split())
    shutil.copytree(REPOSITORY, folder / "source", ignore=shutil.ignore_patterns(".git", *ignored))
    command = [sys.executable, "-m", "build", *options, "--outdir", str(folder / "dist"), str(folder / "source")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (sdist,), (wheel,) = (list((folder / "dist").glob(pattern)) for pattern in ("*.tar.gz", "*.whl"))
    return sdist, wheel


def outside() -> dict[str, str]:
    """The environment of somebody who does not work in this repository."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("BEIWE_", "DAGSTER", "PYTHON"))}
