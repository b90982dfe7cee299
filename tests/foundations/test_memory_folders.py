"""The folder in memory: private, gone with its run, and gone after a killed one when the next run begins."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from dagster_beiwe import memory_folders
from dagster_beiwe.errors import ConfigurationError
from dagster_beiwe.memory_folders import MEMORY
from dagster_beiwe.private_files import lock_folder

KILLED = """
import sys
from dagster_beiwe.memory_folders import memory_folder
with memory_folder("test", disk=sys.argv[1], otherwise="name") as folder:
    (folder / "data").write_text("a row")
    print(folder, flush=True)
    sys.stdin.read()
"""

memory_folder = partial(memory_folders.memory_folder, "test", otherwise="name in DISK")


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Callable[[], tuple[Path, subprocess.Popen[str]]]]:
    """Starts another process that uses a folder on the same disk, until it is told to end."""
    started: list[subprocess.Popen[str]] = []

    def start() -> tuple[Path, subprocess.Popen[str]]:
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stdout is not None
        return Path(process.stdout.readline().strip()), process

    yield start
    for process in started:
        process.communicate("")


def test_a_folder_is_private_and_gone_at_the_end() -> None:
    """It is in memory, and nobody else can look into it or into the one above."""
    with memory_folder() as folder:
        (folder / "data").mkdir()
        (folder / "data" / "gps.csv").write_text("a row")
        assert folder.is_relative_to(MEMORY)
        for each in (folder, folder.parent):
            assert stat.S_IMODE(each.stat().st_mode) == 0o700
    assert not folder.exists()


def test_a_folder_is_gone_if_the_block_fails() -> None:
    with pytest.raises(ValueError, match="no"), memory_folder() as folder:
        raise ValueError("no")
    assert not folder.exists()


def test_what_a_killed_process_left_is_removed_by_the_next(
    elsewhere: Callable[[], tuple[Path, subprocess.Popen[str]]], tmp_path: Path
) -> None:
    """And only that: the folder of a living process stays."""
    left, killed = elsewhere()
    used, _ = elsewhere()
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert (left / "data").exists()
    with memory_folder(disk=str(tmp_path)):
        assert not left.exists()
        assert (used / "data").exists()


def test_a_run_can_end_while_another_begins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its folder goes between a look at the place and a look at the folder."""
    with memory_folder(disk=str(tmp_path)) as ending:

        def ended(folder: Path, *, wait: bool) -> int | None:
            if folder == ending:
                ending.rmdir()
            return lock_folder(folder, wait=wait)

        monkeypatch.setattr(memory_folders, "lock_folder", ended)
        with memory_folder(disk=str(tmp_path)) as folder:
            assert folder.exists()
        ending.mkdir()


def test_without_a_file_system_in_memory_it_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A disk must be named for plain files to be there."""
    monkeypatch.setattr(memory_folders, "MEMORY", str(tmp_path))
    with pytest.raises(ConfigurationError, match=r"(?s)no file system in memory.*name in DISK"), memory_folder():
        pass
    monkeypatch.chdir(tmp_path)
    with memory_folder(disk="named") as folder:  # the program that reads it has another current folder
        assert folder.is_relative_to(tmp_path / "named")


@pytest.mark.parametrize("strange", ["open to others", "a link", "another user's"])
def test_a_place_that_is_not_its_own_is_refused(tmp_path: Path, strange: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Anybody may write to the file system in memory."""
    if strange == "another user's":
        user = os.getuid() + 1
        monkeypatch.setattr(os, "getuid", lambda: user)
    place = tmp_path / f"dagster-beiwe-test-{os.getuid()}"
    if strange == "a link":
        (tmp_path / "other").mkdir(mode=0o700)
        place.symlink_to(tmp_path / "other")
    else:
        place.mkdir(mode=0o700)
        place.chmod(0o755 if strange == "open to others" else 0o700)
    with (
        pytest.raises(ConfigurationError, match="is not a folder of this user alone"),
        memory_folder(disk=str(tmp_path)),
    ):
        pass
