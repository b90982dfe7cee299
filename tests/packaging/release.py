"""What would be published, as its users get it: ``python3 run.py release``.

The other tests need no network and leave this to themselves: dependencies are fetched, once for each Python.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from distributions import REPOSITORY, build, outside

sys.path.append(str(REPOSITORY))
from run import SUPPORTED, pythons

SMOKE = Path(__file__).with_name("smoke.py")
FOUND = pythons()
ENVIRONMENTS = REPOSITORY / ".venv-release"
"""Not in a temporary folder, which may be in memory: uv links to the files of its cache where it can."""


@pytest.fixture(scope="session")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The sdist and the wheel, built with the newest tools."""
    return build(tmp_path_factory.mktemp("distributions"), "--installer", "uv")


def test_the_index_takes_both(distributions: tuple[Path, Path]) -> None:
    """Metadata are valid, and the README is rendered without a warning."""
    output_of(sys.executable, "-m", "twine", "check", "--strict", *map(str, distributions))


def test_there_is_a_python_to_install_on() -> None:
    assert FOUND


@pytest.mark.parametrize("minor", SUPPORTED)
def test_the_wheel_installs_and_works(minor: int, distributions: tuple[Path, Path], tmp_path: Path) -> None:
    """In an environment that was empty, away from the repository."""
    if minor not in FOUND:
        pytest.skip(f"Python 3.{minor} is not installed here: the wheel was not tried on it")
    uv = str(Path(sys.executable).with_name("uv"))
    programs = ENVIRONMENTS / f"3.{minor}" / "bin"
    output_of(uv, "venv", "--quiet", "--clear", "--python", FOUND[minor], str(programs.parent))
    output_of(uv, "pip", "install", "--quiet", "--python", str(programs / "python"), str(distributions[1]))
    output_of(uv, "pip", "check", "--python", str(programs / "python"))
    version = distributions[1].name.split("-")[1]
    assert version in output_of(str(programs / "dagster-beiwe"), "--version", folder=tmp_path)
    assert "verify" in output_of(str(programs / "dagster-beiwe"), "--help", folder=tmp_path)
    assert "35 fixes" in output_of(str(programs / "python"), "-I", str(SMOKE), str(tmp_path), folder=tmp_path)


def output_of(*command: str, folder: Path | None = None) -> str:
    done = subprocess.run(command, cwd=folder, env=outside(), capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
