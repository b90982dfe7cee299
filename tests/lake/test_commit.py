"""Commits: the old version or the new one, whatever fails in between, and nothing left over."""

from __future__ import annotations

import errno
import hashlib
import os
import pathlib
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest
from core_helpers import (
    PASSPHRASE,
    PERSON,
    STUDY,
    as_other_user,
    check_lake,
    commit,
    commit_request,
    finished,
    leftovers,
    stage,
    too_open,
    tree,
    week,
)

from dagster_beiwe.errors import CommitConflictError, LakeError, LakeUnavailableError
from dagster_beiwe.lake import BeiweLake, Manifest, StudyLake
from dagster_beiwe.lake.writer import LakeWriter
from dagster_beiwe.maintenance.verify import Finding, verify_study

OLD = {1: b"first", 2: b"second", 3: b"third"}
NEW = {1: b"FIRST, restated", 2: b"SECOND, restated", 4: b"fourth"}
GONE = f"{STUDY}/{PERSON}/gps/2026-02-23T03:00:00.csv"
OPERATIONS = ("open", "replace", "unlink", "link", "mkdir", "fsync")


def contents(lake: StudyLake) -> dict[int, bytes]:
    """The window's files by hour."""
    manifest = lake.manifest(PERSON, week())
    return {record.moment.hour: lake.read(PERSON, record) for record in manifest.files} if manifest else {}


def restate(lake: StudyLake) -> Manifest:
    """Two files restated, one new, one removed."""
    return commit(lake, NEW, deleted_upstream={GONE}, remove_deleted_upstream=True, run_id="run-2")


def suspicions(folder: Path) -> list[Finding]:
    """What looks as if somebody had tampered with the lake; files that a dead run has left do not."""
    return [finding for finding in verify_study(fresh(folder)).findings if finding.kind != "file unaccounted for"]


def begin(folder: Path) -> None:
    commit(fresh(folder), OLD)


def fresh(folder: Path) -> StudyLake:
    """The study as a new process opens it; without locking, which costs time and plays no part here."""
    return BeiweLake(folder).study(STUDY, passphrase=PASSPHRASE, cipher=None)


@contextmanager
def hooked(before: Callable[[str, object], None]) -> Iterator[None]:
    """Call ``before`` ahead of every operation that changes the file system."""
    originals = {name: getattr(os, name) for name in OPERATIONS}
    accessor = getattr(pathlib, "_NormalAccessor", None)  # Python 3.10's pathlib keeps references of its own
    kept = [name for name in OPERATIONS if name != "open" and hasattr(accessor, name)]

    def hook(name: str) -> Callable[..., object]:
        def operation(*args: object, **options: object) -> object:
            if name != "open" or (len(args) > 1 and isinstance(args[1], int) and args[1] & os.O_CREAT):
                before(name, args[0])
            return originals[name](*args, **options)

        return operation

    try:
        for name in OPERATIONS:
            setattr(os, name, hook(name))
        for name in kept:
            setattr(accessor, name, staticmethod(hook(name)))
        yield
    finally:
        for name, original in originals.items():
            setattr(os, name, original)
        for name in kept:
            setattr(accessor, name, originals[name])


def count_operations(work: Callable[[], object]) -> int:
    seen: list[str] = []
    with hooked(lambda name, path: seen.append(name)):
        work()
    return len(seen)


def die_at(number: int, work: Callable[[], object]) -> bool:
    """Do the work in another process that ends, as if killed, right before an operation; whether it got there."""
    child = os.fork()
    if child == 0:
        left = [number]

        def before(name: str, path: object) -> None:
            left[0] -= 1
            if left[0] < 0:
                os._exit(9)

        with suppress(BaseException), hooked(before):
            work()
            os._exit(0)
        os._exit(1)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, 9)
    return code == 9


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A lake with one committed window, to be copied."""
    folder = tmp_path / "base"
    commit(fresh(folder), OLD)
    return folder


def test_commits_replace_add_and_remove(folder: Path) -> None:
    """A commit over another gives exactly the new files, and nothing else on disk."""
    lake = fresh(folder)
    commit(lake, OLD)
    assert contents(lake) == OLD
    restate(lake)
    assert contents(fresh(folder)) == NEW
    assert [contents(lake.at(record)) for record in (0, 1, 2)] == [{}, OLD, NEW]
    check_lake(folder, lake)


def test_a_run_that_dies_at_any_moment_of_a_commit_leaves_old_or_new(base: Path, tmp_path: Path) -> None:
    """Killed before each single operation: readers see one version, and the next run ends as if nothing had been."""
    trial = tmp_path / "trial"
    shutil.copytree(base, trial)
    operations = count_operations(lambda: restate(fresh(trial)))
    seen = set()
    assert operations > 20
    for number in range(operations):
        shutil.rmtree(trial)
        shutil.copytree(base, trial)
        assert die_at(number, lambda: restate(fresh(trial)))
        found = contents(fresh(trial))
        assert found in (OLD, NEW)
        seen.add(len(found))
        assert too_open(trial) == []
        assert suspicions(trial) == []
        restate(fresh(trial))
        assert contents(fresh(trial)) == NEW
        check_lake(trial, fresh(trial))


def test_a_first_run_that_dies_at_any_moment_is_made_good(tmp_path: Path) -> None:
    """Killed before each single operation of a study's very first commit: the next run ends as if nothing had been."""
    operations = count_operations(partial(begin, tmp_path / "count"))
    for number in range(0, operations, 2):
        trial = tmp_path / f"trial{number}"
        assert die_at(number, partial(begin, trial))
        assert contents(fresh(trial)) in ({}, OLD)
        assert suspicions(trial) == []
        commit(fresh(trial), OLD)
        assert contents(fresh(trial)) == OLD
        check_lake(trial, fresh(trial))


def test_any_run_removes_what_a_dead_one_left(base: Path, tmp_path: Path) -> None:
    """What a killed run left of one participant goes with the next run, though that is about another."""
    trial = tmp_path / "trial"
    shutil.copytree(base, trial)
    operations = count_operations(lambda: restate(fresh(trial)))
    for number in range(0, operations, 3):
        shutil.rmtree(trial)
        shutil.copytree(base, trial)
        die_at(number, lambda: restate(fresh(trial)))
        commit(fresh(trial), {1: b"other"}, participant="p2person")
        assert leftovers(trial) == []
        assert contents(fresh(trial)) in (OLD, NEW)
        check_lake(trial, fresh(trial))


class Disk:
    """A disk on which operations fail: the ``number``-th, and those after it if it ``stays`` full."""

    def __init__(self, number: int, *, stays: bool, error: int = errno.ENOSPC) -> None:
        self.left, self.stays, self.error = number, stays, error

    def before(self, name: str, path: object) -> None:
        if name == "unlink":
            return  # a full disk lets files go
        self.left -= 1
        if self.left == -1 or (self.left < 0 and self.stays):
            raise OSError(self.error, os.strerror(self.error))


@pytest.mark.parametrize(("error", "stays"), [(errno.ENOSPC, True), (errno.EIO, False)])
def test_a_disk_that_fails_at_any_moment_is_named_and_loses_nothing(
    base: Path, tmp_path: Path, error: int, stays: bool
) -> None:
    """Each single operation fails: a clear error, the old version or the new one, and the next run makes it good."""
    trial = tmp_path / "trial"
    shutil.copytree(base, trial)
    operations = count_operations(lambda: restate(fresh(trial)))
    failures: list[str] = []
    for number in range(operations):
        shutil.rmtree(trial)
        shutil.copytree(base, trial)
        disk = Disk(number, stays=stays, error=error)
        with hooked(disk.before):
            try:
                restate(fresh(trial))
            except LakeUnavailableError as failure:
                failures.append(str(failure))
        assert contents(fresh(trial)) in (OLD, NEW)
        restate(fresh(trial))
        assert contents(fresh(trial)) == NEW
        check_lake(trial, fresh(trial))
    assert len(failures) > 15
    assert [
        text for text in failures if os.strerror(error) not in text or "the same partitions again" not in text
    ] == []


def test_a_lake_that_goes_away_in_mid_run_is_named(folder: Path) -> None:
    """An unmounted or deleted lake is an error, not the start of an empty one beside it."""
    lake = fresh(folder)
    commit(lake, OLD)
    with LakeWriter(lake, run_id="r") as writer:
        plan = writer.plan(PERSON, [week()])
        fetched_file = stage(writer, lake, b"new", hours=5)
        shutil.rmtree(folder)
        for request, fetched_files in ((commit_request(), [fetched_file]), (commit_request(streams=("gps",)), [])):
            with pytest.raises(LakeUnavailableError):
                writer.commit(plan, request, fetched_files)
        with pytest.raises(LakeUnavailableError):
            stage(writer, lake, b"new", hours=6)
        with pytest.raises(LakeUnavailableError):
            stage(writer, lake, b"new", hours=6, participant="p2person")
    assert not tree(folder)


def mounted(folder: Path, *options: str) -> bool:
    """Mount a small file system on a folder; whether this process may."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", *options, "tmpfs", str(folder)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real disk of 300 kB."""
    folder = tmp_path / "small"
    if not mounted(folder, "-o", "size=300k"):
        pytest.skip("this process may not mount")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_really_full_disk_is_named(small_disk: Path) -> None:
    """The disk fills up while files are staged: the committed version stays, and what was staged goes."""
    lake = fresh(small_disk / "lake")
    commit(lake, OLD)
    noise = hashlib.shake_256(b"").digest(1_000_000)
    with pytest.raises(LakeUnavailableError, match="Free space"):
        commit(lake, {1: noise})
    assert contents(fresh(small_disk / "lake")) == OLD
    check_lake(small_disk / "lake", lake)
    commit(lake, NEW)
    check_lake(small_disk / "lake", lake)


def test_a_read_only_lake_is_read_and_not_written(small_disk: Path) -> None:
    """Reading works; writing says at once what is wrong, and nothing else comes on top."""
    folder = small_disk / "lake"
    commit(fresh(folder), OLD)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    assert contents(fresh(folder)) == OLD
    with pytest.raises(LakeUnavailableError, match="read-only"), LakeWriter(fresh(folder), run_id="r"):
        pytest.fail("writing had begun")
    with pytest.raises(LakeUnavailableError, match="read-only"):
        commit(fresh(small_disk / "new"), OLD)


@pytest.mark.skipif(not as_other_user(), reason="root may write anywhere")
def test_a_folder_without_permission_is_named(folder: Path) -> None:
    """The message says whose folder it should be."""
    commit(fresh(folder), OLD)
    folder.joinpath(STUDY, PERSON, "gps").chmod(0o500)
    with pytest.raises(LakeUnavailableError, match="own the folder"):
        commit(fresh(folder), NEW)


def test_protection_holds_under_a_careless_umask(folder: Path, umask_zero: None) -> None:
    """Every file that a run makes in a new or old lake is for its owner only."""
    commit(fresh(folder), OLD)
    restate(fresh(folder))
    commit(fresh(folder), OLD, participant="p2person")
    assert too_open(folder) == []


def test_a_commit_planned_on_an_older_version_is_refused(lake: StudyLake, folder: Path) -> None:
    """Another run was faster: nothing is written, and what was staged is dropped."""
    commit(lake, OLD)
    with LakeWriter(lake, run_id="slow") as slow:
        plan = slow.plan(PERSON, [week()])
        fetched_file = stage(slow, lake, b"slow", hours=1)
        commit(lake, {1: b"fast"})
        with pytest.raises(CommitConflictError):
            finished(slow, slow.commit(plan, commit_request(), [fetched_file]))
        assert not (folder / fetched_file.staged.path).exists()
    assert contents(lake)[1] == b"fast"
    check_lake(folder, lake)


def test_what_a_living_run_has_staged_is_left_alone(lake: StudyLake, folder: Path) -> None:
    """A second run that starts meanwhile does not take the first for dead."""
    with LakeWriter(lake, run_id="first") as first:
        plan = first.plan(PERSON, [week()])
        fetched_file = stage(first, lake, b"first", hours=1)
        commit(fresh(folder), {2: b"second"}, participant="p2person", run_id="second")
        finished(first, first.commit(plan, commit_request(), [fetched_file]))
    assert contents(lake) == {1: b"first"}
    check_lake(folder, lake)


def test_one_lakes_studies_and_participants_are_told(lake: StudyLake, folder: Path) -> None:
    """What is committed can be listed: studies, participants, windows."""
    commit(lake, OLD)
    commit(lake, OLD, participant="48213957")
    assert BeiweLake(folder).studies() == [STUDY]
    assert lake.participants() == ["48213957", PERSON]
    assert lake.windows(PERSON) == [week().key]
    assert [manifest.window for manifest in lake.manifests(PERSON)] == [week().key]


def test_errors_of_the_lake_have_one_base() -> None:
    """Whoever catches errors of the lake catches them all."""
    assert issubclass(LakeUnavailableError, LakeError)
    assert issubclass(CommitConflictError, LakeError)
