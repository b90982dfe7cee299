"""An export that was stopped: the same command continues it, and the folder holds whole files only."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dagster_beiwe.cli import main
from dagster_beiwe.lake import StudyLake
from dagster_beiwe.lake.catalog.past import take_out
from dagster_beiwe.lake.catalog.records import Place
from dagster_beiwe.lake.layout import Subject
from dagster_beiwe.simulator import SimulatedServer

KILLED = """
import os, signal, sys

def kill(event, arguments):
    global files
    if event == "os.rename" and str(arguments[1]).endswith(".csv"):
        files += 1
        if files == 5:
            os.kill(os.getpid(), signal.SIGKILL)

files = 0
sys.addaudithook(kill)
from dagster_beiwe.cli import main
main(sys.argv[1:])
"""
"""Dies in the moment before its fifth file has its name."""


def command(target: Path, *more: str) -> list[str]:
    return ["export", "--study", "Sleep", "--stream", "gps", "--to", str(target), *more]


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@contextmanager
def missing(lake: StudyLake, participant: str) -> Iterator[None]:
    """One of the participant's files is not there, so that an export stops at it."""
    folder = Path(lake.storage.root, lake.study_id, participant)  # type: ignore[attr-defined]
    path = sorted((folder / "gps").iterdir())[3]
    data = path.read_bytes()
    path.unlink()
    yield
    path.write_bytes(data)


def test_a_killed_export_is_continued(
    lake: StudyLake, tmp_path: Path, server: SimulatedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """What has its name is whole and kept; at the end there are the files that were asked for and no others."""
    target = tmp_path / "plain"
    done = subprocess.run([sys.executable, "-c", KILLED, *command(target)], capture_output=True, check=False)
    assert done.returncode == -9
    expected = {file.read() for file in server.world.files(lake.study_id, streams=["gps"])}
    assert {data for name, data in content(target).items() if name.endswith(".csv")} < expected
    assert main(command(target, "--json")) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["files"], result["kept_files"]) == (len(expected), 4)
    assert set(content(target).values()) == expected
    assert all(name.endswith(".csv") for name in content(target))


@pytest.mark.parametrize("form", ["tree", "forest", "csv", "parquet"])
def test_an_export_reads_the_state_that_it_began_with(
    lake: StudyLake, tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    """Whatever is committed until it is continued."""
    form_options = ("--format", form)
    assert main(command(tmp_path / "whole", *form_options)) == 0
    target = tmp_path / "plain"
    with missing(lake, "bert2222"):
        assert main(command(target, *form_options)) == 1
    catalog = lake.catalog()
    assert catalog
    token = catalog.identities.token(Subject("anna1111"), catalog.state) or ""
    versions = [(Place(token, window), version.at) for window, version in lake.index("anna1111").items()]
    take_out(catalog, versions, run_id="test")
    capsys.readouterr()
    assert main(command(target, *form_options)) == 0
    assert "were there already" in capsys.readouterr().out
    assert content(target) == content(tmp_path / "whole")


def test_a_file_that_was_changed_since_is_written_again(lake: StudyLake, tmp_path: Path) -> None:
    """Complete files are compared by size and hash before they are kept."""
    assert main(command(tmp_path / "whole")) == 0
    target = tmp_path / "plain"
    with missing(lake, "bert2222"):
        assert main(command(target)) == 1
    longer, other = sorted(target.rglob("*.csv"))[:2]
    longer.write_bytes(longer.read_bytes() + b"\n")
    other.write_bytes(other.read_bytes()[::-1])
    assert main(command(target)) == 0
    assert content(target) == content(tmp_path / "whole")


def test_an_unfinished_export_is_continued_by_its_own_command_only(
    lake: StudyLake, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither by another selection, nor among files of others."""
    target = tmp_path / "plain"
    with missing(lake, "bert2222"):
        assert main(command(target)) == 1
    before = content(target)
    capsys.readouterr()
    assert main(command(target, "--participant", "anna1111")) == 2
    assert "holds a part of another export" in capsys.readouterr().err
    (target / "anna1111" / "notes.txt").write_text("mine")
    assert main(command(target)) == 2
    assert "'anna1111/notes.txt' is there" in capsys.readouterr().err
    os.unlink(target / "anna1111" / "notes.txt")
    assert content(target) == before
