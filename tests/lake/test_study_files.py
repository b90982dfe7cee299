"""A study's files in another process: it opens them as this one does, or says beforehand that it can't."""

from __future__ import annotations

import os
import pickle
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pyrage
import pytest
from core_helpers import PASSPHRASE, PERSON, commit

from dagster_beiwe.encryption import CIPHERS, AgeCipher, Cipher, CipherKeys, CrypteaseCipher, KeyRing
from dagster_beiwe.errors import LakeUnavailableError
from dagster_beiwe.lake import FileRecord, LakeWriter, StudyLake
from dagster_beiwe.lake.storage.base import Storage
from dagster_beiwe.lake.storage.local import LocalStorage
from dagster_beiwe.lake.storage.object_store import ObjectStorage
from dagster_beiwe.lake.stored import read_stored
from dagster_beiwe.lake.study_files import FilesElsewhere, StudyFiles
from dagster_beiwe.parallel import Processes

_KEY = pyrage.x25519.Identity.generate()
IDENTITY, RECIPIENT = str(_KEY), str(_KEY.to_public())
ALL_KEYS = CipherKeys(passphrase=PASSPHRASE, identity=IDENTITY)


class OwnCipher(CrypteaseCipher):
    """What a caller has made of one of the ciphers."""


class BroughtCipher(OwnCipher):
    """One that a caller has listed in the registry."""

    name = "brought"


class OwnStorage(LocalStorage):
    """What a caller has made of a folder."""


def rings() -> dict[str, KeyRing]:
    return {
        "age, recipients only": KeyRing(AgeCipher(recipients=[RECIPIENT]), CipherKeys(passphrase=PASSPHRASE)),
        "age, identity": KeyRing(AgeCipher(recipients=[RECIPIENT], identity=IDENTITY), CipherKeys()),
        "age, identity of the host": KeyRing(AgeCipher(recipients=[RECIPIENT]), CipherKeys(identity=IDENTITY)),
        "cryptease": KeyRing(CrypteaseCipher(PASSPHRASE), CipherKeys(passphrase=PASSPHRASE)),
        "cryptease, another passphrase": KeyRing(CrypteaseCipher("of its own"), CipherKeys()),
        "unencrypted": KeyRing(None, CipherKeys()),
        "unencrypted, with keys": KeyRing(None, ALL_KEYS),
    }


def encrypted(cipher: Cipher, data: bytes) -> bytes:
    encryptor = cipher.encryptor()
    return encryptor.update(data) + encryptor.finish()


def decrypted(cipher: Cipher, data: bytes) -> bytes:
    decryptor = cipher.decryptor()
    return decryptor.update(data) + decryptor.finish()


@pytest.mark.parametrize("name", rings())
def test_files_are_opened_with_the_same_keys(tmp_path: Path, name: str) -> None:
    """It encrypts what this process decrypts, and decrypts what this one can, and nothing else."""
    ring = rings()[name]
    elsewhere = FilesElsewhere.of(StudyFiles(LocalStorage(tmp_path), ring))
    assert elsewhere is not None
    storage, other, _ = pickle.loads(pickle.dumps(elsewhere)).opened()
    assert storage.root == tmp_path
    assert type(other.cipher) is type(ring.cipher)
    assert [other.can_decrypt(each) for each in CIPHERS] == [ring.can_decrypt(each) for each in CIPHERS]
    if ring.cipher is not None and other.cipher is not None:
        reader = ring.reader(ring.cipher.name, name="") if ring.cipher.can_decrypt else AgeCipher(identity=IDENTITY)
        assert reader is not None
        assert decrypted(reader, encrypted(other.cipher, b"rows")) == b"rows"
        if ring.can_decrypt(ring.cipher.name):
            own = other.reader(ring.cipher.name, name="")
            assert own is not None
            assert decrypted(own, encrypted(ring.cipher, b"rows")) == b"rows"


@pytest.mark.parametrize(
    ("storage", "cipher"),
    [
        pytest.param(LocalStorage, lambda: OwnCipher(PASSPHRASE), id="a cipher of the caller's own"),
        pytest.param(OwnStorage, lambda: None, id="a storage of the caller's own"),
        pytest.param(lambda _: ObjectStorage("s3://bucket/lake"), lambda: None, id="an object store"),
    ],
)
def test_what_another_process_does_not_know_stays_here(
    tmp_path: Path, storage: Callable[[Path], Storage], cipher: Callable[[], Cipher | None]
) -> None:
    """A cipher or a folder of the same name would be another; an object store takes its time anyway."""
    assert FilesElsewhere.of(StudyFiles(storage(tmp_path), KeyRing(cipher(), CipherKeys()))) is None


def test_a_registry_that_was_added_to_is_not_known_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lake may hold files of a cipher that only this process has."""
    monkeypatch.setitem(CIPHERS, BroughtCipher.name, BroughtCipher)
    assert FilesElsewhere.of(StudyFiles(LocalStorage(tmp_path), KeyRing(CrypteaseCipher("x"), CipherKeys()))) is None


@pytest.mark.parametrize("elsewhere", [False, True])
def test_no_lake_begins_in_the_place_of_one_that_went_away(tmp_path: Path, elsewhere: bool) -> None:
    """Here or in another process that was told of the lake before anybody wrote to it; not even in a thread that keeps
    folders open."""
    storage = LocalStorage(tmp_path / "lake")
    passed = FilesElsewhere.of(StudyFiles(storage, KeyRing(None, CipherKeys()), "study/.beiwe"))
    assert passed is not None
    there = passed.opened().storage if elsewhere else storage
    with storage.guard("study/.beiwe", exclusive=False), there.folder_by_folder():
        there.create("study/person/file").close()
        assert there.exists("study/person/file")
        (tmp_path / "lake").rename(tmp_path / "elsewhere")
        (tmp_path / "lake").mkdir()
        with pytest.raises(LakeUnavailableError, match="mount"):
            there.create("study/another/file")
    assert not list((tmp_path / "lake").iterdir())


def test_the_files_of_a_study_know_what_guards_them(lake: StudyLake, folder: Path) -> None:
    """Whoever stores files elsewhere would otherwise begin a new lake where this one was."""
    with LakeWriter(lake, run_id="test"):
        assert (folder / lake.files.guarded).is_dir()


def read(files: StudyFiles, path: str, record: FileRecord) -> tuple[int, bytes]:
    return os.getpid(), read_stored(files.storage, path, record, files.ring)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="nobody else shows what a process was started with")
def test_keys_go_through_a_pipe_and_nowhere_else(
    lake: StudyLake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not to where other users, or a backup, can see them: arguments, environment, files."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (record,) = commit(lake, {1: b"some rows"}).files
    elsewhere = FilesElsewhere.of(lake.files)
    assert elsewhere is not None
    assert PASSPHRASE not in repr(elsewhere)
    with Processes(elsewhere.opened, number=1) as processes:
        process, content = processes.run(partial(read, record=record), lake.folder(PERSON, record.path))
        shown = Path(f"/proc/{process}")
        assert (process != os.getpid(), content) == (True, b"some rows")
        assert b"python" in (shown / "cmdline").read_bytes()
        for name in ("cmdline", "environ"):
            assert PASSPHRASE.encode() not in (shown / name).read_bytes()
        opened = {os.readlink(each) for each in (shown / "fd").iterdir() if int(each.name) > 2}
        assert not [each for each in opened if not each.startswith(("pipe:", "socket:", "/dev/", "anon_inode:"))]
    assert not list((tmp_path / "temporary").iterdir())
