"""Set up this clone and run it: ``python3 run.py demo``, ``python3 run.py test``, ``python3 run.py lint``.

``python3 run.py docs`` builds the documentation site into ``build/docs``.

``python3 run.py stores`` tests the lake in Ceph and in emulators of Azure and Google (docs/object-stores.md).

``python3 run.py lowest`` runs the tests of what depends on versions, with the lowest that ``pyproject.toml`` allows, on
the oldest Python that is at hand. ``python3 run.py release`` builds what would be published, and tries it on each
Python that is at hand, in environments of its own.

Needs nothing but Python 3.10 or newer with pip and venv. Everything is installed into ``.venv`` beside this file
(``.venv-lowest`` for the lowest versions), once for as long as ``pyproject.toml`` stays the same, and into
``.venv-release`` each time.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
EXTRAS = {
    "demo": "webserver",
    "test": "dev",
    "lint": "dev",
    "docs": "dev",
    "lowest": "dev",
    "release": "dev",
    "stores": "stores",
}
SUPPORTED = range(10, 14)
"""Minor versions of Python 3."""
SOURCES = ["beiwe_project", "benchmarks", "dagster_beiwe", "docs", "run.py", "tests"]
WITH_LOWEST = {
    "tests/assets/test_raw_data.py": ["dagster"],
    "tests/automation/test_automation.py": ["dagster"],
    "tests/client/test_client_downloads.py": ["requests", "zstandard"],
    "tests/client/test_client_retries.py": ["requests"],
    "tests/cli/test_init.py": ["python-dotenv"],
    "tests/cli/test_own_project.py": ["dagster"],
    "tests/cli/test_past_commands.py": ["click"],
    "tests/cli/test_progress_shown.py": ["rich"],
    "tests/definitions/test_definitions.py": ["dagster"],
    "tests/definitions/test_range_runs.py": ["dagster"],
    "tests/encryption/test_age.py": ["pyrage"],
    "tests/encryption/test_cryptease.py": ["cryptease", "cryptography", "numpy"],
    "tests/io_managers": ["dagster", "pandas", "pyarrow"],
    "tests/lake/storage/test_object_failures.py": ["s3fs"],
    "tests/lake/storage/test_storage_contract.py": ["fsspec", "s3fs"],
    "tests/lake/catalog/test_catalog.py": ["msgspec"],
    "tests/lake/catalog/test_catalog_refusals.py": ["msgspec"],
    "tests/lake/test_kept_lakes.py": ["cryptease", "msgspec", "pyarrow", "pyrage", "zstandard"],
    "tests/pictures": ["pillow"],
    "tests/reading/test_frames.py": ["numpy", "pandas", "pyarrow"],
    "tests/report/test_page.py::test_what_others_wrote_is_text": ["jinja2"],
    "tests/tables/test_table_encryption.py": ["pyarrow"],
    "tests/tables/test_table_partitions.py": ["pandas", "pyarrow"],
    "tests/tables/test_table_refusals.py": ["pyarrow"],
    "tests/tables/test_table_store.py": ["pandas", "pyarrow"],
}
"""What runs with the lowest versions, and for which dependencies; all other tests would show the same."""
# Whole files, in the order of tests/conftest.py: what a file shares is made once. Many tests wait for other processes,
# so two cores have work for four of these.
PROCESSES = ["-n", "4", "--dist", "loadfile", "--no-loadscope-reorder"]
COMMANDS = {
    "demo": [["dagster-beiwe", "demo"]],
    "test": [["python", "-m", "pytest", *PROCESSES]],
    "lint": [
        ["ruff", "check", "."],
        ["ruff", "format", "--check", *SOURCES],
        ["mypy"],
    ],
    "docs": [
        ["python", "docs/site_parts.py"],
        ["sphinx-build", "--fail-on-warning", "--keep-going", "--quiet", "docs", "build/docs"],
    ],
    # The values of properties are searched with the newest versions; a few show that the lowest have what is called.
    "lowest": [["python", "-m", "pytest", *PROCESSES, "--hypothesis-profile", "few", *WITH_LOWEST]],
    "release": [["python", "-m", "pytest", "tests/packaging/release.py"]],
    "stores": [["python", "-m", "pytest", "-m", "large", "tests/lake/storage", "tests/s3"]],
}


def main(arguments: list[str]) -> int:
    if not arguments or arguments[0] not in COMMANDS:
        print(__doc__)
        return 2
    if sys.version_info < (3, 10):  # noqa: UP036 - this file may be called with any Python
        print(f"Expected Python 3.10 or newer, got {sys.version.split()[0]}. Call this file with a newer one.")
        return 2
    name, rest = arguments[0], arguments[1:]
    programs = install(EXTRAS[name], lowest=name == "lowest")
    *earlier, last = ([str(programs / program), *options, *rest] for program, *options in COMMANDS[name])
    for command in earlier:
        if status := subprocess.call(command, cwd=HERE, env=environment(programs)):
            return status
    return become(last, environment(programs))


def become(command: list[str], env: dict[str, str]) -> int:
    """Run the command in the place of this process, so that SIGTERM and Ctrl-C reach it and it may take its time."""
    if os.name != "nt":  # where a process can't be replaced
        os.chdir(HERE)
        os.execve(command[0], command, env)  # noqa: S606 - no shell is what is wanted
    return subprocess.call(command, cwd=HERE, env=env)


def install(extra: str, *, lowest: bool) -> Path:
    """Make an environment ready with an extra of the package; returns the folder of its programs."""
    folder = HERE / (".venv-lowest" if lowest else ".venv")
    python = oldest_python() if lowest else sys.executable
    stamp = folder / f"installed-{extra}"
    wanted = stamp_of(python)
    if stamp.exists() and stamp.read_text() == wanted:
        return programs_of(folder)
    print(f"Installing dagster-beiwe[{extra}] into {folder.name}: some minutes the first time ...", flush=True)
    own = made(HERE / ".venv", sys.executable)
    pip = [str(own / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if extra in ("dev", "stores"):  # uv takes half a minute where pip takes two
        if not (own / "uv").exists():
            subprocess.run([*pip, "uv"], check=True)
        programs = made(folder, python, "--without-pip")
        pip = [str(own / "uv"), "pip", "install", "--quiet", "--python", str(programs / "python")]
        pip += ["--upgrade", "--resolution", "lowest-direct"] if lowest else []
    subprocess.run([*pip, "--editable", f".[{extra}]"], cwd=HERE, check=True)
    stamp.write_text(wanted)
    return programs_of(folder)


def made(folder: Path, python: str, *options: str) -> Path:
    """An environment, made where there is none; returns the folder of its programs."""
    if not (programs_of(folder) / "python").exists():
        subprocess.run([python, "-m", "venv", *options, str(folder)], check=True)
    return programs_of(folder)


def programs_of(folder: Path) -> Path:
    return folder / ("Scripts" if os.name == "nt" else "bin")


def stamp_of(python: str) -> str:
    """What an environment was installed from."""
    return hashlib.sha256((HERE / "pyproject.toml").read_bytes() + f"{python} {sys.version}".encode()).hexdigest()


def oldest_python() -> str:
    """The oldest Python that this package supports and that runs here; the running one where there is no other."""
    return min(pythons().items(), default=(0, sys.executable))[1]


def pythons() -> dict[int, str]:
    """{minor version: a Python of it that runs here}: those on the PATH, and those of pyenv, which may not be there."""
    kept = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser() / "versions"
    found = {}
    for minor in SUPPORTED:
        name = f"python3.{minor}"
        places = map(_place, (name, *map(str, kept.glob(f"3.{minor}.*/bin/{name}"))))
        found[minor] = next(filter(None, places), "")
    return {minor: place for minor, place in found.items() if place}


def _place(python: str) -> str | None:
    """Where a Python is; None if it does not run."""
    try:
        done = subprocess.run([python, "-c", "import sys; print(sys.executable)"], capture_output=True, check=False)
    except FileNotFoundError:
        return None
    return done.stdout.decode().strip() if done.returncode == 0 else None


def environment(programs: Path) -> dict[str, str]:
    """The caller's environment with the programs of the clone's own first.

    Python keeps what it compiles, even where the caller wants none of that: uv compiles nothing, and each of the many
    programs that tests start would compile all that it imports.
    """
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PATH": f"{programs}{os.pathsep}{os.environ.get('PATH', '')}"}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
