"""`dagster-beiwe export --and-run`: a command works on plain files, which are gone when it ends."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from dagster_beiwe import memory_folders
from dagster_beiwe.cli import main
from dagster_beiwe.lake import StudyLake
from dagster_beiwe.memory_folders import MEMORY
from dagster_beiwe.simulator import SimulatedServer

EXPORT = ["export", "--study", "Sleep", "--stream", "gps"]


def in_memory() -> list[Path]:
    place = Path(MEMORY, f"dagster-beiwe-export-{os.getuid()}")
    return list(place.iterdir()) if place.exists() else []


def test_a_command_gets_a_folder_in_memory(lake: StudyLake, tmp_path: Path, server: SimulatedServer) -> None:
    """As its last word, whole, and nothing of it is left. The command's status is that of the export."""
    seen = tmp_path / "seen"
    script = 'echo "$1" > place; cp -r "$1" seen; exit 7'
    assert main([*EXPORT, "--and-run", f"sh -c 'cd {tmp_path}; {script}' run"]) == 7
    files = [path.read_bytes() for path in seen.rglob("*") if path.is_file()]
    assert sorted(files) == sorted(file.read() for file in server.world.files(lake.study_id, streams=["gps"]))
    assert (tmp_path / "place").read_text().startswith(f"{MEMORY}/dagster-beiwe-export-")
    assert in_memory() == []


def test_a_folder_that_was_named_is_removed_too(lake: StudyLake, tmp_path: Path) -> None:
    """It takes the place of {}, with what the command has added to it."""
    target = tmp_path / "plain"
    assert main([*EXPORT, "--to", str(target), "--and-run", "cp -r {}/anna1111 {}/more"]) == 0
    assert not target.exists()
    assert main([*EXPORT, "--to", str(target), "--and-run", "false"]) == 1
    assert not target.exists()


@pytest.mark.parametrize(("name", "status"), [("INT", 130), ("TERM", 143), ("HUP", 129)])
def test_a_signal_ends_the_command_and_removes_the_folder(
    lake: StudyLake, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, status: int
) -> None:
    """Ctrl-C, SIGTERM, or a closed terminal."""
    script = f"echo $$ > pid; kill -{name} $PPID; exec sleep 600"
    assert main([*EXPORT, "--and-run", f"sh -c 'cd {tmp_path}; {script}'"]) == status
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGTERM)
    assert in_memory() == []
    assert capsys.readouterr().err.endswith("ed. The exported files were removed.\n")


def test_nothing_is_decrypted_for_a_command_that_cannot_be_run(
    lake: StudyLake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """There is no such program, or no place for plain files."""
    before = lake.state.number
    assert main([*EXPORT, "--and-run", "no-such-program --fast"]) == 2
    assert "There is no program 'no-such-program' to run" in capsys.readouterr().err
    assert main([*EXPORT, "--and-run", "sh -c 'exit"]) == 2
    monkeypatch.setattr(memory_folders, "MEMORY", str(tmp_path))
    assert main([*EXPORT, "--and-run", "true"]) == 2
    assert "or name with --to a folder on a disk" in capsys.readouterr().err
    assert lake.state.number == before
    assert main([*EXPORT, "--and-run", "true", "--to", str(tmp_path / "plain")]) == 0
    assert main(EXPORT) == 2
