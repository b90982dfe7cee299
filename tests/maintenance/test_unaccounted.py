"""`verify` names every file that nothing accounts for, wherever it lies below a study, and no other."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import msgspec
import pytest
from core_helpers import PASSPHRASE, PERSON, STUDY, commit, stage

from dagster_beiwe.lake import BeiweLake, StudyLake
from dagster_beiwe.lake.catalog.records import Place
from dagster_beiwe.lake.collecting import dead_runs_left_something
from dagster_beiwe.lake.layout import Subject
from dagster_beiwe.lake.writer import LakeWriter
from dagster_beiwe.maintenance.exposure import find_exposures
from dagster_beiwe.maintenance.repair import repair_study
from dagster_beiwe.maintenance.verify import verify_study

UNACCOUNTED = [
    "notes.txt",
    ".hidden",
    ".0-0123456789abcdef-001.part",
    "a folder/file.csv",
    ".Trash/x/y",
    ".beiwe/notes.txt",
    ".beiwe/log/notes.txt",
    ".beiwe/log/000000/000.old",
    ".beiwe/checkpoints/notes.txt",
    ".beiwe/runs/evil",
    ".beiwe/runs/0-0123456789abcdef-0",
    ".beiwe/log/000000/\u0660\u0660\u0665",
    ".beiwe/log/\u0660\u0660\u0660\u0660\u0660\u0665/000",
    ".beiwe/.0-fedcba9876543210-001.part",
    ".beiwe/sub/log/000000/000",
    f"{PERSON}/file.csv",
    f"{PERSON}/.beiwe/notes.txt",
    f"{PERSON}/.beiwe/sub/token-0",
    f"{PERSON}/.beiwe/~0-01234567.json.zst",
    f"{PERSON}/gps/2026-02-23 01_00_00+00_00~0-01234567.csv",
    f"{PERSON}/gps/.part",
    "somebody/gps/file.csv",
    "somebody",
    ".tables/notes.txt",
    ".tables/beiwe/core/table.csv",
    ".tables/beiwe/core~1-01234567.parquet",
]
READABLE_BY_DESIGN = (".json.zst", "/.beiwe/sub/token-0", "runs/0-0123456789abcdef-0")


@pytest.mark.parametrize("path", UNACCOUNTED)
def test_a_file_that_nothing_accounts_for_is_named_and_taken_out(lake: StudyLake, folder: Path, path: str) -> None:
    """In the study's folder, in folders that are no participant's, among the lake's documents, beside the data."""
    commit(lake, {1: b"first"})
    assert verify_study(lake).findings == []
    (place := folder / STUDY / path).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    place.write_text("timestamp,latitude,longitude\n1700000000000,47.1,8.5\n")
    place.chmod(0o644)
    found = verify_study(lake).findings
    assert [finding.kind for finding in found] == ["file unaccounted for"]
    assert str(found[0]).endswith(path)
    exposed = {each.kind for each in find_exposures(lake).findings}
    assert exposed >= {"open to others"} if path.endswith(READABLE_BY_DESIGN) else len(exposed) == 2
    repair_study(lake, found, run_id="repair")
    assert not place.exists()
    assert verify_study(lake).findings == []


@pytest.mark.parametrize("path", [".beiwe/runs/0-0123456789abcdef-0", f"{PERSON}/gps/0", ".beiwe/stranger"])
@pytest.mark.parametrize("kind", ["pipe", "link"])
def test_what_is_no_file_is_named_too(lake: StudyLake, folder: Path, path: str, kind: str) -> None:
    """Also where a run's own file could lie."""
    commit(lake, {1: b"first"})
    place = folder / STUDY / path
    place.parent.mkdir(exist_ok=True)
    if kind == "pipe":
        os.mkfifo(place)
    else:
        place.symlink_to("/etc/hostname")
    found = verify_study(lake).findings
    assert [finding.kind for finding in found] == ["file unaccounted for"]
    repair_study(lake, found, run_id="repair")
    assert not os.path.lexists(place)


def test_a_marker_that_cannot_be_read_calls_for_no_collection(lake: StudyLake, folder: Path) -> None:
    """No collection removes it, so every run would collect again. The marker of a run that may have died does."""
    commit(lake, {1: b"first"})
    (folder / STUDY / ".beiwe" / "runs" / "0-0123456789abcdef-0").write_text("no marker")
    catalog = lake.catalog()
    assert catalog
    assert not dead_runs_left_something(catalog)
    with LakeWriter(lake, run_id="alive", participants=[PERSON]):
        assert dead_runs_left_something(catalog)
    assert not dead_runs_left_something(catalog)


def test_what_a_run_has_not_finished_is_accounted_for(lake: StudyLake, folder: Path) -> None:
    """While it is alive, and after it died: the next run takes it away."""
    commit(lake, {1: b"first"})
    writer = LakeWriter(lake, run_id="dead", participants=[PERSON]).__enter__()
    stage(writer, lake, b"half", hours=2)
    stage(writer, lake, b"half", hours=1)
    assert verify_study(lake).findings == []
    writer._open.pop_all()  # a process that dies has no time to tidy up
    del writer
    assert verify_study(lake).findings == []
    before = {path.name for path in (folder / STUDY / PERSON / "gps").iterdir()}
    commit(BeiweLake(folder).study(STUDY, passphrase=PASSPHRASE), {3: b"third"})
    after = {path.name for path in (folder / STUDY / PERSON / "gps").iterdir()}
    assert (len(before), len(after)) == (3, 2)
    assert verify_study(lake).findings == []


def test_a_marker_that_somebody_made_hides_nothing_for_long(lake: StudyLake, folder: Path) -> None:
    """The next collection takes it away, with what it hid; one of a record that the log does not have is none."""
    commit(lake, {1: b"first"})
    catalog = lake.catalog()
    assert catalog
    stranger = folder / STUDY / PERSON / "gps/2026-02-25 01_00_00+00_00.csv.zst.lock"
    marker = msgspec.json.encode([Place(str(catalog.identities.token(Subject(PERSON), catalog.state)))])
    for base, hidden in ((0, True), (10**11, False)):
        stranger.write_bytes(b"whose?")
        place = folder / catalog.layout.marker(base, "0" * 16, 0)
        place.write_bytes(marker)
        found = verify_study(lake).findings
        assert len(found) == (0 if hidden else 2)
        if hidden:
            commit(BeiweLake(folder).study(STUDY, passphrase=PASSPHRASE), {2: b"second"})
        repair_study(lake, found, run_id="repair")
        assert not place.exists()
        assert not stranger.exists()


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
    found = verify_study(lake).findings
    assert [str(finding) for finding in found] == [f"file unaccounted for: {STUDY}/notes.txt"]
    repair_study(lake, found, run_id="repair")
    assert verify_study(lake).findings == []
