"""Forest's own environment: how it is found, and what stops it from being made."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from dagster_beiwe.environment import BEIWE_FOREST
from dagster_beiwe.errors import ConfigurationError
from dagster_beiwe.forest.environment import PROGRAM, ForestEnvironment, clean_variables, make_environment


def test_an_environment_with_forest_is_found(stand_in: Path) -> None:
    """With the version of Forest that is in it."""
    found = ForestEnvironment.configured({BEIWE_FOREST: str(stand_in)})
    assert (found.folder, found.version) == (stand_in, "1.0")


def test_a_folder_without_forest_is_refused(tmp_path: Path) -> None:
    """The error says how to make one."""
    with pytest.raises(ConfigurationError, match=r"where Forest is not installed.*dagster-beiwe forest --at"):
        ForestEnvironment.configured({BEIWE_FOREST: str(tmp_path)})


def test_a_folder_in_use_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(ConfigurationError, match="not a new or empty folder"):
        make_environment(tmp_path)


@pytest.mark.parametrize("python", ["3 10", None], ids=["too old", "missing"])
def test_a_python_that_forest_cannot_use_is_refused(tmp_path: Path, python: str | None) -> None:
    """Nothing is made."""
    program = tmp_path / "python"
    if python:
        program.write_text(f"#!/bin/sh\necho {python}\n")
        program.chmod(0o755)
    with pytest.raises(ConfigurationError, match=r"is no Python 3.11 or newer.*--python"):
        make_environment(tmp_path / "environment", python=str(program))
    assert not (tmp_path / "environment").exists()


def test_a_program_gets_no_value_of_ours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Not even of variables that this package does not know."""
    monkeypatch.setenv("BEIWE_LAKE_PASSPHRASE", "a passphrase for tests only")
    monkeypatch.setenv("VAULT_TOKEN", "another secret")
    variables = clean_variables(tmp_path)
    assert {name for name, value in variables.items() if value} <= {
        "HOME",
        "LANG",
        "LD_LIBRARY_PATH",
        "PATH",
        "TMPDIR",
        "TZ",
    }
    assert variables["BEIWE_LAKE_PASSPHRASE"] == variables["VAULT_TOKEN"] == ""


ANALYSIS = """
import runpy, signal, sys
runpy.run_path(sys.argv[1])["end_with_parent"]()
print("ready", flush=True)
signal.pause()
"""
A_RUN = "import subprocess, sys; subprocess.run([sys.executable, '-I', '-c', *sys.argv[1:]])"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process of its parent's death")
def test_an_analysis_ends_with_its_run() -> None:
    """However the run dies: it is killed, and the pipe that only its analysis still holds is closed."""
    command = [sys.executable, "-I", "-c", A_RUN, ANALYSIS, str(PROGRAM)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == "ready\n"
        run.kill()
        assert run.stdout.read() == ""
