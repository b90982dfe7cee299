"""Environments for Forest's analyses: one with a small stand-in that follows Forest's interface, and the real one."""

from __future__ import annotations

import os
import sysconfig
import venv
from pathlib import Path

STAND_IN = Path(__file__).with_name("forest_stand_in")
REAL_VARIABLE = "DAGSTER_BEIWE_FOREST"
"""Names an environment with the real Forest, for the tests that need it."""


def make_stand_in(folder: Path) -> Path:
    """A virtual environment that finds the stand-in, and the packages of this one."""
    venv.create(folder, with_pip=False, symlinks=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "stand_in.pth").write_text(f"{STAND_IN}\n{sysconfig.get_paths()['purelib']}\n")
    facts = packages / "beiwe_forest-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: beiwe-forest\nVersion: 1.0\n")
    return folder


def real_forest() -> Path | None:
    """The environment with the real Forest, if there is one."""
    named = os.environ.get(REAL_VARIABLE)
    return Path(named) if named else None
