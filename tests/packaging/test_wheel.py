"""The package as its users install it: a wheel in an environment that has never seen this repository."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of what is tracked."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    tracked = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        capture_output=True,
        check=True,
    ).stdout
    for name in tracked.decode().split("\0"):
        if name.startswith("dagster_beiwe/") or name in ("pyproject.toml", "README.md", "LICENSE"):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((REPOSITORY / name).read_bytes())
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(source)]
    subprocess.run(build, check=True, capture_output=True, timeout=300)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="session")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new environment with the wheel; its dependencies are those of this one, so that nothing is downloaded."""
    folder = tmp_path_factory.mktemp("env")
    venv.create(folder, with_pip=False)
    program = folder / "bin" / "python"
    site = Path(
        subprocess.run(
            [program, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
    )
    install = [sys.executable, "-m", "pip", "--python", str(program), "install", "--no-deps", "--no-index", str(wheel)]
    subprocess.run([*install, "--quiet"], check=True, timeout=300)
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return program


ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}


def run(python: Path, *arguments: str, folder: Path) -> str:
    """Run Python elsewhere, without this repository on its path, where nothing but ASCII can be shown."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("BEIWE_", "PYTHON"))}
    environment |= ASCII
    done = subprocess.run(
        [python, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_wheel_holds_the_library_with_its_types_and_nothing_else(wheel: Path) -> None:
    """No tests, no project, no benchmarks; ``py.typed`` and the licence are there."""
    names = zipfile.ZipFile(wheel).namelist()
    assert "dagster_beiwe/py.typed" in names
    assert any(name.endswith("LICENSE") for name in names)
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"dagster_beiwe"}


def test_installed_package_is_found_by_dagsters_registry(python: Path, tmp_path: Path) -> None:
    """The entry point names the package, and the component is among its names."""
    code = (
        "from importlib.metadata import entry_points; import dagster_beiwe; "
        "(entry,) = entry_points(group='dagster_dg_cli.registry_modules', name='dagster_beiwe'); "
        "print(entry.value, dagster_beiwe.__file__, 'BeiweComponent' in dir(dagster_beiwe))"
    )
    value, file, found = run(python, "-c", code, folder=tmp_path).split()
    assert value == "dagster_beiwe"
    assert found == "True"
    assert Path(file).is_relative_to(python.parents[1])


SMALLER = f"""
import runpy
import sys
from dataclasses import replace
from datetime import timedelta
from dagster_beiwe.simulator import demo
sys.path.append({str(REPOSITORY / "tests" / "support")!r})
from cheap_dagster import cheap_dagster

whole = demo.demo_plans

def last_weeks_of_two(now):
    for plan in whole(now):
        two = tuple(replace(each, start=None) for each in plan.participants[:2])
        yield replace(plan, start=now - timedelta(weeks=3), participants=two)

demo.demo_plans = lambda now: tuple(last_weeks_of_two(now))
with cheap_dagster(alone=True):
    runpy.run_module("dagster_beiwe", run_name="__main__")
"""
"""The command, with an Android phone and an iPhone in each study, for half of what the whole world costs."""


def test_installed_package_does_the_whole_job(python: Path, tmp_path: Path) -> None:
    """The demo runs from an empty folder, without the repository's own project beside it."""
    printed = run(python, "-c", SMALLER, "demo", "--once", "--folder", str(tmp_path / "demo"), folder=tmp_path)
    assert "Nothing failed." in printed
    assert printed.count("weeks recorded") == 3
    assert printed.count("stays incomplete, as planned") == 1
    assert list((tmp_path / "demo" / "lake").rglob("*.csv.zst.lock"))
    made = [tmp_path / "demo", *(tmp_path / "demo").rglob("*")]
    assert [path for path in made if stat.S_IMODE(path.stat().st_mode) & 0o077] == []


def test_importing_the_package_is_light(python: Path, tmp_path: Path) -> None:
    """Scripts that use the client or the lake don't load Dagster or pandas."""
    code = (
        "import sys; from dagster_beiwe import BeiweClient, BeiweLake; "
        "print(sorted({'dagster', 'pandas', 'pyarrow'} & set(sys.modules)))"
    )
    assert run(python, "-c", code, folder=tmp_path).strip() == "[]"
