"""Forest's own Python environment: it needs other versions of packages than this one, and runs as a program of its own.

``dagster-beiwe forest`` makes it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dagster_beiwe.environment import BEIWE_FOREST
from dagster_beiwe.errors import ConfigurationError

REQUIREMENTS: Final = ("beiwe-forest==1.0", "pandas>=2.3,<3", "dagster-pipes>=1.13,<2")
"""With pandas 3, Oak's hours and Sycamore fail."""
OLDEST_PYTHON: Final = (3, 11)
PROGRAM: Final = Path(__file__).with_name("program.py")


@dataclass(frozen=True, kw_only=True)
class ForestEnvironment:
    """The folder of a virtual environment with Forest in it."""

    folder: Path

    @classmethod
    def configured(cls, environ: Mapping[str, str]) -> ForestEnvironment:
        """The one that is named there. Raises ``ConfigurationError`` if none is, or if Forest is not in it."""
        named = environ.get(BEIWE_FOREST)
        found = cls(folder=Path(named or ".").expanduser().absolute())
        if named and found.python.is_file() and found.version:
            return found
        what = (
            f"{BEIWE_FOREST} is {named[:200]!r}, where Forest is not installed"
            if named
            else f"{BEIWE_FOREST} is not set"
        )
        raise ConfigurationError(
            f"{what}. Nothing was decrypted. Run `dagster-beiwe forest --at FOLDER` once, and set {BEIWE_FOREST} to "
            "that folder where Dagster runs."
        )

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    @property
    def version(self) -> str:
        """Forest's version; empty if it is not installed."""
        names = [path.name for path in self.folder.glob("lib/python*/site-packages/beiwe_forest-*.dist-info")]
        return names[0].removeprefix("beiwe_forest-").removesuffix(".dist-info") if names else ""


def make_environment(folder: Path, *, python: str | None = None) -> ForestEnvironment:
    """Make the environment in a new or empty folder, which takes a minute or two and 700 MB.

    ``python`` is the interpreter to use, by default the running one. Raises ``ConfigurationError`` for one that is too
    old, a folder that is in use, and if packages cannot be installed.
    """
    python = python or sys.executable
    if folder.exists() and any(folder.iterdir()):
        raise ConfigurationError(f"{folder} is not a new or empty folder. Nothing was changed. Choose another one.")
    asked = _run([python, "-c", "import sys; print(*sys.version_info[:2])"])
    if asked is None or tuple(map(int, asked.split())) < OLDEST_PYTHON:
        raise ConfigurationError(
            f"{python} is no Python {'.'.join(map(str, OLDEST_PYTHON))} or newer, which Forest needs. Nothing was "
            "changed. Name one with --python."
        )
    made = ForestEnvironment(folder=folder)
    installed = _run([python, "-m", "venv", str(folder)]) is not None and _run(
        [str(made.python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *REQUIREMENTS]
    )
    if installed is None or not made.version:
        raise ConfigurationError(
            f"Forest could not be installed in {folder}; what pip says is above. Remove the folder and try again."
        )
    return made


def clean_variables(home: Path) -> dict[str, str]:
    """Environment variables for a program that must know none of ours: every one is empty, but for a few harmless ones.

    ``home`` is where it may write.
    """
    kept = {name: os.environ[name] for name in ("LANG", "LD_LIBRARY_PATH", "PATH") if name in os.environ}
    return {**dict.fromkeys(os.environ, ""), **kept, "HOME": str(home), "TMPDIR": str(home), "TZ": "UTC"}


def _run(command: list[str]) -> str | None:
    """What a program prints; None if it fails. Its errors go to the terminal."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)  # noqa: S603
    except OSError:
        return None
    return done.stdout if done.returncode == 0 else None
