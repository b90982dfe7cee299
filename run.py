"""Set up this clone and run it: ``python3 run.py demo``, ``python3 run.py test``, ``python3 run.py lint``.

Needs nothing but Python 3.10 or newer with pip and venv. Everything is installed into ``.venv`` beside this file, once
for as long as ``pyproject.toml`` stays the same.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
EXTRAS = {"demo": "webserver", "test": "dev", "lint": "dev"}
SOURCES = ["beiwe_project", "benchmarks", "dagster_beiwe", "run.py", "tests"]
COMMANDS = {
    "demo": [["dagster-beiwe", "demo"]],
    "test": [["python", "-m", "pytest"]],
    "lint": [
        ["ruff", "check", "."],
        ["ruff", "format", "--check", *SOURCES],
        ["mypy"],
    ],
}


def main(arguments: list[str]) -> int:
    if not arguments or arguments[0] not in COMMANDS:
        print(__doc__)
        return 2
    if sys.version_info < (3, 10):  # noqa: UP036 - this file may be called with any Python
        print(f"Expected Python 3.10 or newer, got {sys.version.split()[0]}. Call this file with a newer one.")
        return 2
    name, rest = arguments[0], arguments[1:]
    programs = install(EXTRAS[name])
    for command in COMMANDS[name]:
        program, *options = command
        status = subprocess.call([str(programs / program), *options, *rest], cwd=HERE, env=environment(programs))
        if status:
            return status
    return 0


def install(extra: str) -> Path:
    """Make ``.venv`` ready with an extra of the package; returns the folder of its programs."""
    folder = HERE / ".venv"
    programs = folder / ("Scripts" if os.name == "nt" else "bin")
    stamp = folder / f"installed-{extra}"
    wanted = hashlib.sha256((HERE / "pyproject.toml").read_bytes() + sys.version.encode()).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return programs
    if not (programs / "python").exists():
        print("Making .venv ...", flush=True)
        venv.create(folder, with_pip=True)
    print(f"Installing dagster-beiwe[{extra}]; this takes some minutes the first time ...", flush=True)
    pip = [str(programs / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--editable", f".[{extra}]"], cwd=HERE, check=True)
    stamp.write_text(wanted)
    return programs


def environment(programs: Path) -> dict[str, str]:
    """The caller's environment with the programs of ``.venv`` first."""
    return {**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ.get('PATH', '')}"}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
