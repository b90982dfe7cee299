"""Files that others may have put in the place of ours: nothing waits, nothing is followed, nothing is exchanged."""

from __future__ import annotations

import os
import shutil
import socket
import stat
from contextlib import suppress
from pathlib import Path

import pytest
from core_helpers import PASSPHRASE, PERSON, STUDY, commit, week
from swapped_files import swapping

from dagster_beiwe.cli import main
from dagster_beiwe.credentials import read_keyring, write_keyring
from dagster_beiwe.demo.folder import prepare_folder
from dagster_beiwe.demo.living import LivingServer
from dagster_beiwe.encryption import read_identity
from dagster_beiwe.errors import ConfigurationError, IntegrityError, KeyringFileError, LakeError, LakeUnavailableError
from dagster_beiwe.lake import BeiweLake, StudyLake
from dagster_beiwe.maintenance.exposure import find_exposures
from dagster_beiwe.maintenance.purge import purge_participant
from dagster_beiwe.maintenance.verify import verify_study
from dagster_beiwe.private_files import (
    FileTooLargeError,
    NotRegularFileError,
    make_folder,
    open_file,
    read_file,
    write_file,
)
from dagster_beiwe.reading import ManoTree
from dagster_beiwe.studies.discovery import StudyMemory

pytestmark = pytest.mark.usefixtures("at_once")

KINDS = ("pipe", "socket", "folder", "link", "link to a device", "link to nothing")


def plant(place: Path, kind: str, *, target: Path | None = None) -> None:
    """Put something else in a file's place."""
    if place.exists():
        place.unlink()
    if kind == "pipe":
        os.mkfifo(place)
    elif kind == "folder":
        place.mkdir()
    elif kind == "socket":
        here = os.getcwd()
        os.chdir(place.parent)  # a socket's path may not be long
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(place.name)
        os.chdir(here)
    else:
        places = {"link to a device": Path("/dev/zero"), "link to nothing": Path("/nowhere/at/all")}
        place.symlink_to(places.get(kind) or target or Path("/etc/hostname"))


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# One file


@pytest.mark.parametrize("kind", KINDS)
def test_only_regular_files_are_opened(tmp_path: Path, kind: str) -> None:
    """And the error says what lies there."""
    plant(tmp_path / "file", kind)
    with pytest.raises(NotRegularFileError) as caught:
        open_file(tmp_path / "file")
    assert kind.split()[0] in str(caught.value)


@pytest.mark.parametrize("kind", [*KINDS[:3], "link to a device"])
def test_a_path_of_the_users_own_may_be_a_link_to_a_file_only(tmp_path: Path, kind: str) -> None:
    """Not to a pipe that nobody writes to, nor to a device that never ends."""
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    assert read_file(tmp_path / "link", limit_bytes=7, follow=True) == b"content"
    plant(tmp_path / "file", kind)
    with pytest.raises(NotRegularFileError):
        read_file(tmp_path / "link", limit_bytes=7, follow=True)


def test_what_is_opened_is_looked_at_not_its_name(tmp_path: Path) -> None:
    """A file that is exchanged in the last moment is found out."""
    (file := tmp_path / "file").write_bytes(b"content")
    with swapping("file", lambda: plant(file, "pipe")), pytest.raises(NotRegularFileError):
        read_file(file, limit_bytes=7)


def test_a_small_file_is_not_read_beyond_its_limit(tmp_path: Path) -> None:
    """Whether its size says so, or it grows while it is read, as those of the kernel do."""
    (file := tmp_path / "file").write_bytes(b"content")
    assert read_file(file, limit_bytes=7) == b"content"
    with file.open("r+b") as sparse:
        sparse.truncate(2**40)
    with pytest.raises(FileTooLargeError):
        read_file(file, limit_bytes=7)
    if Path("/proc/self/maps").exists():
        with pytest.raises(FileTooLargeError):
            read_file("/proc/self/maps", limit_bytes=7)


def test_a_file_that_grows_is_read_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was written after its size was looked at belongs to it, up to the limit."""
    (file := tmp_path / "file").write_bytes(b"short")
    real = os.fstat

    def grow(descriptor: int) -> os.stat_result:
        status = real(descriptor)
        with file.open("ab") as more:
            more.write(b" and the rest of a sentence")
        return status

    with monkeypatch.context() as patched:
        patched.setattr(os, "fstat", grow)
        assert read_file(file, limit_bytes=100) == b"short and the rest of a sentence"
        with pytest.raises(FileTooLargeError):
            read_file(file, limit_bytes=58)


def test_a_file_is_replaced_whole_and_for_its_owner_only(tmp_path: Path, umask_zero: None) -> None:
    """Whatever the umask says, whoever could read the one before; nothing else stays."""
    make_folder(tmp_path / "a" / "b")
    (file := tmp_path / "a" / "b" / "file").write_bytes(b"old")
    write_file(file, b"new")
    assert (file.read_bytes(), mode_of(file)) == (b"new", 0o600)
    assert {mode_of(tmp_path / "a"), mode_of(tmp_path / "a" / "b")} == {0o700}
    with pytest.raises(FileExistsError):
        write_file(file, b"newer", exclusive=True)
    with pytest.raises(OSError, match="regular file"):
        write_file(tmp_path / "a", b"")
    assert os.listdir(tmp_path / "a" / "b") == ["file"]
    assert file.read_bytes() == b"new"


def test_a_link_of_the_users_own_stays_and_its_file_is_replaced(tmp_path: Path) -> None:
    """As a manager of configuration files lays them out. Elsewhere a link in a file's place is an error."""
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").write_bytes(b"old")
    (tmp_path / "file").symlink_to("kept/file")
    write_file(tmp_path / "file", b"new", follow=True)
    assert (tmp_path / "file").is_symlink()
    assert (tmp_path / "kept" / "file").read_bytes() == b"new"
    with pytest.raises(NotRegularFileError):
        write_file(tmp_path / "file", b"newer")


@pytest.mark.parametrize("kind", KINDS[:3])
def test_nothing_but_files_is_replaced(tmp_path: Path, kind: str) -> None:
    """Whoever runs as root would lose /dev/null."""
    plant(tmp_path / "file", kind)
    with pytest.raises(NotRegularFileError):
        write_file(tmp_path / "file", b"", follow=True)
    assert len(os.listdir(tmp_path)) == 1


# A lake


@pytest.fixture
def filled(lake: StudyLake, folder: Path) -> list[Path]:
    """Every file of a study that has data, below the lake's folder."""
    commit(lake, {1: b"first", 2: b"second"})
    return sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_in_the_place_of_a_file_makes_anybody_wait(
    folder: Path, filled: list[Path], tmp_path: Path, kind: str
) -> None:
    """Each file of a study in turn: a run, a reader, `verify`, the checks and `purge` end, well or with an error."""
    assert len(filled) >= 5
    for path in filled:
        copy = tmp_path / "copy"
        shutil.copytree(folder, copy)
        plant(copy / path, kind)

        def again(copy: Path = copy) -> StudyLake:
            return BeiweLake(copy).study(STUDY, passphrase=PASSPHRASE)

        with suppress(LakeError):
            manifest = again().manifest(PERSON, week())
            for record in manifest.files if manifest else ():
                again().read(PERSON, record)
        with suppress(LakeError):
            assert not verify_study(again()).intact, path
        with suppress(LakeError):
            find_exposures(again())
        with suppress(LakeError):
            commit(again(), {2: b"SECOND", 3: b"third"})
        with suppress(LakeError):
            purge_participant(again(), PERSON, run_id="purge")
        shutil.rmtree(copy)


@pytest.mark.parametrize("kind", ["pipe", "socket", "link", "link to nothing"])
def test_a_marker_that_is_no_file_stops_nobody(lake: StudyLake, folder: Path, kind: str) -> None:
    """Runs go on, and `purge` does its work."""
    commit(lake, {1: b"first"})
    plant(folder / STUDY / ".beiwe" / "runs" / f"0-{'ab' * 8}-0", kind)
    commit(lake, {2: b"second"})
    assert purge_participant(lake, PERSON, run_id="purge").files
    assert not (folder / STUDY / PERSON).exists()


def test_a_folder_that_cannot_be_listed_is_an_error(
    lake: StudyLake, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be looked at is neither intact nor purged."""
    commit(lake, {1: b"first"})
    real = os.scandir

    def refuse(place: int) -> object:
        if "gps" in os.readlink(f"/proc/self/fd/{place}"):
            raise PermissionError(13, "Permission denied")
        return real(place)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(LakeUnavailableError, match="Permission denied"):
        purge_participant(lake, PERSON, run_id="purge")


def test_a_committed_file_that_grew_is_not_read_to_its_end(lake: StudyLake, folder: Path) -> None:
    """A terabyte of nothing takes a terabyte's time to read; one byte too many is enough to know."""
    commit(lake, {1: b"first"})
    (record,) = next(lake.manifests(PERSON)).files
    with (folder / lake.folder(PERSON, record.path)).open("r+b") as file:
        file.truncate(2**40)
    assert [finding.kind for finding in verify_study(lake).findings] == ["file changed"]
    with pytest.raises(IntegrityError):
        lake.read(PERSON, record)


# What else is opened


@pytest.mark.parametrize("kind", ["pipe", "socket", "folder", "link to a device"])
def test_settings_that_name_something_else_than_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A private key's path, and a keyring's: an error that says so."""
    plant(place := tmp_path / "file", kind)
    monkeypatch.setenv("BEIWE_AGE_IDENTITY", str(place))
    with pytest.raises(ConfigurationError, match="BEIWE_AGE_IDENTITY"):
        read_identity("BEIWE_AGE_IDENTITY")
    with pytest.raises(KeyringFileError, match=rf"{place} is a .*, not a regular file"):
        read_keyring(place, passphrase=PASSPHRASE)
    monkeypatch.setenv("NRG_KEYRING_PASS", PASSPHRASE)
    before = os.lstat(place).st_ino
    for action in (["list"], ["set", "site"]):
        assert main(["keyring", *action, "--file", str(place)]) == 2
        assert "KeyringFileError" in capsys.readouterr().err
    with pytest.raises(KeyringFileError):
        write_keyring(place, {}, PASSPHRASE)
    assert os.lstat(place).st_ino == before


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_remembered_of_studies_is_asked_again(
    tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Where something else lies in the place of the file, definitions load as without it, and the log tells of it."""
    StudyMemory("beiwe", folder=tmp_path).remember({STUDY: "Sleep"})
    assert set(StudyMemory("beiwe", folder=tmp_path).studies()) == {STUDY}
    plant(tmp_path / "beiwe.json", kind)
    again = StudyMemory("beiwe", folder=tmp_path)
    assert again.studies() == {}
    assert "where a regular file belongs" in caplog.text
    assert set(again.remember({STUDY: "Sleep"})) == {STUDY}


def test_the_demo_reads_its_own_files_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe in the place of what an earlier demo left."""
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        prepare_folder(tmp_path / "demo")
        LivingServer(tmp_path / "demo", profile="2026-03")
    assert [mode_of(path) for path in (tmp_path / "demo").rglob("*") if path.is_file()] == [0o600] * 3
    plant(tmp_path / "demo" / "studies.json", "pipe")
    with pytest.raises(NotRegularFileError):
        LivingServer(tmp_path / "demo", profile="2026-03")


@pytest.mark.parametrize("kind", KINDS)
def test_manos_tree_has_files_only(tmp_path: Path, kind: str) -> None:
    """What else lies in it is named; what takes a file's place later is an error."""
    (gps := tmp_path / PERSON / "gps").mkdir(parents=True)
    names = [f"2026-03-02 0{hour}_00_00+00_00.csv" for hour in (1, 2)]
    for name in names:
        (gps / name).write_text("timestamp,latitude\n1,2\n")
    tree = ManoTree(tmp_path)
    files = list(tree.files())
    assert len(files) == 2
    plant(gps / names[0], kind)
    assert len(list(ManoTree(tmp_path).files())) == 1
    if kind != "folder":
        assert ManoTree(tmp_path).unknown == [f"{PERSON}/gps/{names[0]}"]
    with pytest.raises(LakeUnavailableError, match="regular file"):
        tree.open(files[0])
