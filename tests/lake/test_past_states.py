"""Past states: kept by snapshots, read byte for byte, and named when they were collected or somebody was withdrawn."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from core_helpers import PASSPHRASE, PERSON, STUDY, commit, week

from dagster_beiwe.errors import ConfigurationError, PastStateError, UnknownStateError
from dagster_beiwe.lake import BeiweLake, Manifest, StudyLake
from dagster_beiwe.lake.catalog import collector
from dagster_beiwe.lake.collecting import collect
from dagster_beiwe.lake.history import history
from dagster_beiwe.lake.snapshots import citation, contents_of, create_snapshot, delete_snapshot, snapshots
from dagster_beiwe.maintenance.purge import purge_participant, purge_study
from dagster_beiwe.maintenance.verify import verify_study
from dagster_beiwe.tables.files import TableContent, TableFiles

OTHER = "p2person"


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Superseded versions need not be an hour old to be collected."""
    monkeypatch.setattr(collector, "_HOUR", 0.0)


def contents(lake: StudyLake) -> dict[str, bytes]:
    return {
        f"{person}/{record.member}": lake.read(person, record)
        for person in lake.participants()
        for manifest in lake.manifests(person)
        for record in manifest.files
    }


def collected(lake: StudyLake) -> collector.Collected:
    catalog = lake.catalog()
    assert catalog
    return collect(catalog, keep_days=0, run_id="collect")


def fill(lake: StudyLake) -> list[Manifest]:
    """A file that is restated twice, one that comes and goes, and somebody else's."""
    commit(lake, {1: b"hers"}, participant=OTHER)
    first = commit(lake, {1: b"first", 2: b"lasting"})
    return [first, commit(lake, {1: b"second", 3: b"short"})]


@pytest.mark.usefixtures("at_once")
def test_a_snapshot_is_read_byte_for_byte_whatever_comes(lake: StudyLake, folder: Path) -> None:
    """Restated, taken out of the lake, collected: only what no snapshot keeps is gone, and that is named."""
    manifest = fill(lake)[1]
    before, state = contents(lake), lake.state.number
    create_snapshot(lake, "paper", run_id="s")
    gone = [record.key for record in manifest.files if lake.read(PERSON, record) == b"short"]
    commit(lake, {1: b"third"}, deleted_upstream=gone, remove_deleted_upstream=True)
    commit(lake, {1: b"fourth"})
    assert collected(lake).versions == 2
    newest = BeiweLake(folder).study(STUDY, passphrase=PASSPHRASE)
    assert set(contents(newest).values()) == {b"hers", b"fourth", b"lasting"}
    for when in ("paper", state):
        assert contents(newest.at(when)) == before
        assert verify_study(newest, as_of=when).findings == []
    with pytest.raises(PastStateError, match="collected"):
        contents(newest.at(state - 1))
    (found,) = verify_study(newest, as_of=state - 1).findings
    assert str(found) == f"collected: {PERSON}/{week().key}"
    assert verify_study(newest).findings == []
    delete_snapshot(newest, "paper", run_id="s")
    assert collected(newest).versions == 1
    assert [each.kind for each in verify_study(newest, as_of=state).findings] == ["collected"]


def test_the_digest_is_that_of_the_exported_files(lake: StudyLake, tmp_path: Path) -> None:
    """Anybody can make it, with tools that are everywhere."""
    commit(lake, {1: b"another"}, participant=f"{PERSON}-2")
    fill(lake)
    snapshot = create_snapshot(lake, "paper", run_id="s")
    for name, data in contents(lake).items():
        (path := tmp_path / "export" / name).parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    command = "find * -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum"
    printed = subprocess.run(command, shell=True, cwd=tmp_path / "export", capture_output=True, text=True, check=True)
    assert printed.stdout.split()[0] == snapshot.content == contents_of(lake.at("paper")).content
    text = citation(lake, snapshot)
    assert all(each in text for each in (snapshot.content, snapshot.at.digest, "3 participants", "5 files"))


def test_a_snapshot_says_who_was_withdrawn_since(lake: StudyLake, folder: Path, tmp_path: Path) -> None:
    """The others stay readable in it; nothing in the lake links to the person, and the chain verifies."""
    fill(lake)
    tables = TableFiles.of_study(lake)
    for person in (PERSON, OTHER):
        content = TableContent(
            fill=lambda file, _: file.write(bytes(8)), rows=1, size_bytes=8, sha256="", written_at="now", run_id="r"
        )
        tables.commit(["lab", "days"], {f"{person}|2026-03-02": content}, run_id="r")
    state = lake.state.number
    create_snapshot(lake, "paper", run_id="s")
    shutil.copytree(folder / STUDY / PERSON, tmp_path / "hers")
    purge = purge_participant(lake, PERSON, run_id="purge")
    assert (purge.certain, purge.tables) == (True, 1)
    assert purge.files
    lake = BeiweLake(folder).study(STUDY, passphrase=PASSPHRASE)
    (kept,) = snapshots(lake)
    assert kept.withdrawn == (purge.record,)
    assert list(contents(lake.at("paper")).values()) == [b"hers"]
    found = verify_study(lake, as_of=state)
    assert (found.findings, found.withdrawn) == ([], (purge.record,))
    assert verify_study(lake).findings == []
    assert [event.kind for event in history(lake)][-1] == "purge"
    for path in folder.rglob("*"):
        assert PERSON not in path.name
        assert not path.is_file() or PERSON.encode() not in path.read_bytes()
    shutil.copytree(tmp_path / "hers", folder / STUDY / PERSON)
    assert {each.kind for each in verify_study(lake).findings} == {"file unaccounted for"}
    assert lake.participants() == [OTHER]
    again = purge_participant(lake, PERSON, run_id="purge")
    assert (again.files > 0, again.certain, again.record) == (True, True, purge.record)
    assert purge_participant(lake, PERSON, run_id="purge").files == 0
    commit(lake, {1: b"came again"})
    assert lake.participants() == [PERSON, OTHER]
    assert list(contents(lake.at("paper")).values()) == [b"hers"]


def test_a_whole_study_is_withdrawn_and_its_log_stays(lake: StudyLake, folder: Path) -> None:
    """A tombstone that names nobody: the next run begins with nothing."""
    fill(lake)
    number = lake.state.number
    assert purge_study(lake, run_id="purge").certain
    lake = BeiweLake(folder).study(STUDY, passphrase=PASSPHRASE)
    assert lake.participants() == []
    assert lake.state.number == number + 1
    left = [path for path in folder.rglob("*") if path.is_file()]
    assert {path.relative_to(folder / STUDY).parts[:2] for path in left} == {
        (".beiwe", "log"), (".beiwe", "checkpoints")
    }  # fmt: skip
    assert not any(name.encode() in path.read_bytes() for path in left for name in (PERSON, OTHER))
    assert verify_study(lake).findings == []


@pytest.mark.parametrize("name", ["", "1", "2026-03-01", "a b", "a/b", "x" * 65, "\u00e4"])
def test_names_of_snapshots_are_no_numbers_or_times(lake: StudyLake, name: str) -> None:
    """`--as-of` takes all three. Nothing is written for a name that is none."""
    commit(lake, {1: b"first"})
    with pytest.raises(ConfigurationError, match="name of a snapshot"):
        create_snapshot(lake, name, run_id="s")
    assert lake.state.number == 1


def test_a_study_is_read_as_it_was_at_a_time(lake: StudyLake) -> None:
    """The last record whose time is not later counts; records come with their time."""
    first = fill(lake)[0]
    events = list(history(lake))
    assert [event.kind for event in events] == ["begin", "commit", "commit", "commit"]
    assert not any(event.backwards for event in events)
    assert lake.at(events[-1].time).state.number == 3
    with pytest.raises(UnknownStateError):
        lake.at(events[0].time - timedelta(days=1))
    assert lake.at(2).manifest(PERSON, week()) == first
    assert [event.number for event in history(lake, PERSON)] == [2, 3]
    assert {event.windows for event in history(lake, PERSON)} == {(week().key,)}


def test_history_marks_times_that_run_backwards(lake: StudyLake) -> None:
    """The clock of a machine was wrong: numbers tell the order, and a time means the last record that is not later."""
    commit(lake, {1: b"first"})
    catalog = lake.catalog()
    assert catalog
    now = catalog.state.time
    catalog.terms = replace(catalog.terms, now=lambda: now - timedelta(days=1))
    commit(lake, {1: b"second"})
    assert [event.backwards for event in history(lake)] == [False, False, True]
    assert lake.at(now).state.number == 2
