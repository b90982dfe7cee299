"""`verify` names every file that nothing accounts for, wherever it lies below a study, and no other."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from core_helpers import PASSPHRASE, PERSON, STUDY, commit

from dagster_beiwe.lake import BeiweLake, StudyLake
from dagster_beiwe.lake.protect import look_for_exposures
from dagster_beiwe.lake.repair import repair_study
from dagster_beiwe.lake.seals import unaccounted_tables
from dagster_beiwe.lake.verify import verify_study

TOKEN = "0123456789abcdef"
STRANGERS = [
    "notes.txt",
    ".hidden",
    f".{TOKEN}-0.part",
    "a folder/file.csv",
    ".Trash/x/y",
    ".beiwe/notes.txt",
    ".beiwe/evil.run",
    ".beiwe/study.key.old",
    f".beiwe/.{TOKEN}-fedcba9876543210-study.key.part",
    ".beiwe/.0-fedcba9876543210-participants.roll.part",
    ".beiwe/sub/study.key",
    f"{PERSON}/file.csv",
    f"{PERSON}/.beiwe/notes.txt",
    f"{PERSON}/.beiwe/{TOKEN}.run",
    f"{PERSON}/.beiwe/sub/2026-02-23.json",
    f"{PERSON}/gps/.{TOKEN}-0.part",
    f"{PERSON}/gps/.part",
    "somebody/gps/file.csv",
    "somebody",
]


@pytest.mark.parametrize("path", STRANGERS)
def test_a_file_that_nothing_accounts_for_is_named_and_taken_out(lake: StudyLake, folder: Path, path: str) -> None:
    """In the study's folder, in folders that are no participant's, among the lake's documents, beside the data."""
    commit(lake, {1: b"first"})
    assert verify_study(lake).findings == []
    (place := folder / STUDY / path).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    place.write_text("timestamp,latitude,longitude\n1700000000000,47.1,8.5\n")
    place.chmod(0o644)
    found = verify_study(lake).findings
    assert [finding.kind for finding in found] == ["file unlisted"]
    assert str(found[0]).endswith(path)
    assert look_for_exposures(lake).exposed >= (not path.endswith(".part") or "gps" in path)
    repair_study(lake, found, run_id="repair")
    assert not place.exists()
    assert verify_study(lake).findings == []


@pytest.mark.parametrize("path", [f".beiwe/{TOKEN}.run", f"{PERSON}/gps/.{TOKEN}-0.part", ".beiwe/stranger"])
@pytest.mark.parametrize("kind", ["pipe", "link"])
def test_what_is_no_file_is_named_too(lake: StudyLake, folder: Path, path: str, kind: str, at_once: None) -> None:
    """Also where a run's own file could lie."""
    commit(lake, {1: b"first"})
    place = folder / STUDY / path
    if kind == "pipe":
        os.mkfifo(place)
    else:
        place.symlink_to("/etc/hostname")
    found = verify_study(lake).findings
    assert [finding.kind for finding in found] == ["file unlisted"]
    repair_study(lake, found, run_id="repair")
    assert not os.path.lexists(place)


def test_what_a_run_has_not_finished_is_accounted_for(lake: StudyLake, folder: Path) -> None:
    """While it is alive, and after it died: the next run takes it away."""
    commit(lake, {1: b"first"})
    gps, inside = folder / STUDY / PERSON / "gps", folder / STUDY / PERSON / ".beiwe"
    for token in (TOKEN, "fedcba9876543210"):
        (folder / STUDY / ".beiwe" / f"{token}.run").touch(0o600)
        (inside / f"{token}.run").touch(0o600)
        (gps / f".{token}-0.part").write_bytes(b"half")
        (inside / f".{token}-0011223344556677-2026-02-23.json.part").write_bytes(b"half")
    assert verify_study(lake).findings == []
    commit(lake, {2: b"second"})
    assert not list((folder / STUDY).rglob("*.part"))
    assert verify_study(lake).findings == []


def test_runs_that_come_and_go_leave_nothing_to_find(lake: StudyLake, folder: Path) -> None:
    """What they stage and take away meanwhile is nobody's mistake."""
    commit(lake, {1: b"first"})
    stop = threading.Event()

    def work() -> None:
        own, number = BeiweLake(folder).study(STUDY, passphrase=PASSPHRASE), 0
        while not stop.is_set():
            number += 1
            commit(own, {2: b"version %d" % number})

    thread = threading.Thread(target=work)
    thread.start()
    try:
        found = [finding for _ in range(20) for finding in verify_study(lake).findings]
    finally:
        stop.set()
        thread.join()
    assert found == []


def test_a_study_without_a_beginning_is_looked_at(lake: StudyLake, folder: Path) -> None:
    """A folder of its name that holds somebody's file is not intact."""
    (folder / STUDY).mkdir(parents=True)
    (folder / STUDY / "notes.txt").touch()
    assert [str(finding) for finding in verify_study(lake).findings] == [f"file unlisted: {STUDY}/notes.txt"]


@pytest.mark.parametrize("path", ["notes.txt", "beiwe/core/.x.part", ".beiwe/old.key", "beiwe/core/table.csv"])
def test_files_among_the_tables_are_named(lake: StudyLake, folder: Path, path: str) -> None:
    """That are no tables, nor of one that is being written."""
    assert list(unaccounted_tables(lake.storage)) == []
    (place := folder / ".tables" / path).parent.mkdir(parents=True)
    place.touch()
    assert list(unaccounted_tables(lake.storage)) == [f".tables/{path}"]
