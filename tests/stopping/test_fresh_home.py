"""Webserver and daemon start together, in a folder that nobody has used before."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from stopping_lab import HERE, ROOT


def test_programs_that_start_together_do_not_harm_each_other(tmp_path: Path) -> None:
    """After the command that the page names; without it each makes the tables of one database."""
    page = (ROOT / "docs" / "project.md").read_text(encoding="utf-8")
    (command,) = re.findall(r"^dagster (instance \w+)", page, re.MULTILINE)
    arguments = [sys.executable, str(HERE / "stopping_homes.py"), "3", str(tmp_path), *command.split()]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(arguments, check=False, capture_output=True, text=True, env=environment)
    assert done.stdout.splitlines()[-1:] == ["0 failed"], done.stdout + done.stderr
