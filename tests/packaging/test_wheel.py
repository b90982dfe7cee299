"""The package as its users install it: a wheel in an environment that has never seen this repository."""

from __future__ import annotations

import re
import stat
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest
from distributions import REPOSITORY, build, outside


@pytest.fixture(scope="session")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The sdist and the wheel, built with what this environment has, so that nothing is downloaded."""
    return build(tmp_path_factory.mktemp("distributions"), "--no-isolation")


@pytest.fixture(scope="session")
def wheel(distributions: tuple[Path, Path]) -> Path:
    return distributions[1]


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
    subprocess.run([*install, "--quiet"], check=True, timeout=300, env=outside())
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return program


ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}


def run(python: Path, *arguments: str, folder: Path) -> str:
    """Run Python elsewhere, without this repository on its path, where nothing but ASCII can be shown."""
    done = subprocess.run(
        [python, *arguments],
        cwd=folder,
        env=outside() | ASCII,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_wheel_holds_the_library_with_its_types_and_nothing_else(wheel: Path) -> None:
    """No tests, no project, no benchmarks; ``py.typed``, the page of a report, and the license are there."""
    names = zipfile.ZipFile(wheel).namelist()
    assert {"dagster_beiwe/py.typed", "dagster_beiwe/report/page.html"} <= set(names)
    assert any(name.endswith("LICENSE") for name in names)
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"dagster_beiwe"}
    assert [
        name for name in names if not name.endswith((".py", ".html", "/py.typed")) and ".dist-info" not in name
    ] == []


@pytest.mark.skipif(not (REPOSITORY / ".git").exists(), reason="only git knows what is tracked")
def test_sdist_holds_the_repository_and_nothing_else(distributions: tuple[Path, Path]) -> None:
    """All that the tests need. MANIFEST.in says what goes in."""
    with tarfile.open(distributions[0]) as archive:
        held = {each.name.partition("/")[2] for each in archive.getmembers() if each.isfile()}
    made = {name for name in held if name in ("PKG-INFO", "setup.cfg") or name.startswith("dagster_beiwe.egg-info/")}
    tracked, others = _listed_by_git(), _listed_by_git("--others", "--exclude-standard")
    assert tracked - held == set()
    assert held - made - tracked - others == set()


def _listed_by_git(*options: str) -> set[str]:
    listed = subprocess.run(["git", "ls-files", "-z", *options], cwd=REPOSITORY, capture_output=True, check=True).stdout
    return set(filter(None, listed.decode().split("\0")))


def test_metadata_names_people_license_and_each_python(wheel: Path) -> None:
    """A classifier for each Python that it installs on."""
    (name,) = (each for each in zipfile.ZipFile(wheel).namelist() if each.endswith("/METADATA"))
    told = message_from_bytes(zipfile.ZipFile(wheel).read(name))
    assert (told["Author"], told["License-Expression"]) == ("dagster-beiwe contributors", "BSD-3-Clause")
    assert told["Author"] in (REPOSITORY / "LICENSE").read_text(encoding="utf-8")
    prefix = "Programming Language :: Python :: 3."
    minors = [int(each.removeprefix(prefix)) for each in told.get_all("Classifier", []) if each.startswith(prefix)]
    assert told["Requires-Python"] == f"<3.{max(minors) + 1},>=3.{min(minors)}"


def test_changelog_begins_with_the_version(wheel: Path) -> None:
    log = (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(r"(?m)^## (\S+)", log)[0] == wheel.name.split("-")[1]


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
