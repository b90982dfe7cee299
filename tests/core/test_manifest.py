"""Manifests, index, pending commits and key file: what was committed is provable, and every change to it is found."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from core_helpers import HOUR, NOW, PASSPHRASE, PERSON, START, STUDY, commit, occasion, stage, tree, week
from dagster_beiwe.lake.index import read_index
from dagster_beiwe.lake.pending import Pending, read_pending, write_pending
from hypothesis import given, settings
from hypothesis import strategies as st

from dagster_beiwe.encryption import CrypteaseCipher
from dagster_beiwe.errors import IntegrityError, WindowMismatchError, WrongPassphraseError
from dagster_beiwe.lake import BeiweLake, FileRecord, Hole, Manifest, StudyLake, keys
from dagster_beiwe.lake.manifest import Authenticator, PreviousVersion
from dagster_beiwe.windows import Window

COST = keys._SCRYPT  # before the other tests make it cheap
KEY = Authenticator(b"k" * 32)
NEXT = Window(week().end, week().end + timedelta(days=7))

texts = st.text(max_size=20)
sizes = st.integers(0, 2**63)
paths = st.from_regex(r"[a-z_]{1,9}(/[A-Za-z0-9_-]{1,9})?/[0-9 _+-]{1,20}[.]csv([.]zst)?([.]lock)?", fullmatch=True)
moments = st.datetimes(timezones=st.just(timezone.utc)).map(datetime.isoformat)
records = st.builds(
    FileRecord,
    key=texts, member=paths, path=paths, stream=texts, survey_id=st.none() | texts, time=moments, size_bytes=sizes,
    md5=texts, sha1=texts, sha256=texts, stored_size_bytes=sizes, stored_sha256=texts, encryption=texts,
    compression=texts, first_seen=texts, fetched_at=texts, run_id=texts, restatements=sizes,
    known_by=st.sampled_from(["sha1", "md5"]),
    previous=st.none() | st.builds(PreviousVersion, size_bytes=sizes, sha256=texts, fetched_at=texts),
    last_seen=st.none() | texts, vanished_at=st.none() | texts, times_vanished=sizes,
)  # fmt: skip
manifests = st.builds(
    Manifest,
    study_id=st.just(STUDY), participant=st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True),
    window=st.just(week().key), start=st.just(week().start.isoformat()), end=st.just(week().end.isoformat()),
    generation=sizes, previous_mac=texts,
    committed_at=texts, run_id=texts, streams=st.tuples(texts, texts), files=st.lists(records, max_size=3).map(tuple),
    removed=st.lists(records, max_size=2).map(tuple),
    holes=st.tuples(st.builds(Hole, start=texts, end=texts, streams=st.tuples(texts), error=texts)),
    format=st.just(1),
)  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(manifest=manifests, key=st.none() | st.binary(min_size=1, max_size=40))
def test_manifests_survive_being_written_and_read(manifest: Manifest, key: bytes | None) -> None:
    """Whatever a manifest holds, it comes back equal, with the MAC it was given."""
    authenticator = Authenticator(key)
    sealed, data = authenticator.seal_manifest(manifest)
    back = authenticator.unseal_manifest(data, name="m")
    assert back == manifest
    assert back.mac == sealed.mac
    assert sealed.mac.startswith("sha256:" if key is None else "hmac-sha256:")


def sample() -> bytes:
    record = FileRecord(
        key="k", member="gps/a.csv", path="gps/a.csv.zst.lock", stream="gps", survey_id=None, time=START.isoformat(),
        size_bytes=10, md5="00", sha1="11", sha256="22", stored_size_bytes=12, stored_sha256="33",
        encryption="cryptease", compression="zstd", first_seen="t", fetched_at="t", run_id="r",
    )  # fmt: skip
    manifest = Manifest(
        study_id=STUDY, participant=PERSON, window=week().key, start=START.isoformat(), end=week().end.isoformat(),
        generation=1, previous_mac="", committed_at=NOW.isoformat(), run_id="r", streams=("gps",), files=(record,),
    )  # fmt: skip
    return KEY.seal_manifest(manifest)[1]


def test_every_edited_byte_is_found() -> None:
    """No byte of a manifest can be changed, removed or doubled so that it means something else."""
    data = sample()
    original = KEY.unseal_manifest(data, name="m")
    for place in range(len(data)):
        for edited in (
            data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :],
            data[:place] + data[place + 1 :],
            data[:place] + data[place : place + 1] + data[place:],
        ):
            try:
                assert KEY.unseal_manifest(edited, name="m") == original  # white space between fields
            except IntegrityError:
                continue


@settings(max_examples=100, deadline=None)
@given(
    data=st.binary(max_size=100)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | texts, lambda inner: st.lists(inner) | st.dictionaries(texts, inner)
    ).map(lambda value: json.dumps(value).encode())
)
def test_anything_else_is_refused(data: bytes) -> None:
    """Noise and other JSON never count as a manifest, and never raise anything but the one error."""
    with pytest.raises(IntegrityError):
        KEY.unseal_manifest(data, name="m")


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"format": 1},
        {"format": 1, "files": None, "holes": []},
        {"format": 1, "files": [1], "holes": []},
        {"format": 1, "files": [{}], "holes": []},
        {"format": 1, "files": [], "holes": [{"streams": None}]},
        {"format": 1, "files": [], "holes": [], "streams": [], "more": 1},
        {"format": 2, "files": [], "holes": []},
        {"format": "1"},
    ],
)
def test_well_sealed_documents_of_another_shape_are_refused(document: dict[str, object]) -> None:
    """A right MAC over other fields (a newer version's, say) is an error that says so."""
    with pytest.raises(IntegrityError):
        KEY.unseal_manifest(KEY.seal("manifest", document), name="m")


@pytest.mark.usefixtures("deep_stack")
def test_deep_nesting_is_refused() -> None:
    """JSON that is nested beyond reason is refused like anything else."""
    with pytest.raises(IntegrityError):
        KEY.unseal_manifest(b"[" * 100_000, name="m")


def test_kinds_of_documents_and_keys_are_kept_apart() -> None:
    """A MAC of one purpose, or of another study's key, is none."""
    data = KEY.seal("window index", {"a": 1})
    assert KEY.unseal("window index", data, name="i")["a"] == 1
    for authenticator, purpose in (
        (KEY, "manifest"),
        (Authenticator(b"x" * 32), "window index"),
        (Authenticator(None), "window index"),
    ):
        with pytest.raises(IntegrityError):
            authenticator.unseal(purpose, data, name="i")


def test_data_versions_come_from_content(lake: StudyLake) -> None:
    """Equal content gives an equal version, whoever fetched it when and in which order; other content another."""
    first = commit(lake, {1: b"a", 2: b"b"}, run_id="one")
    again = commit(lake, {2: b"b", 1: b"a"}, run_id="two", now=NOW + HOUR)
    other = commit(lake, {1: b"A"})
    assert first.data_version == again.data_version != other.data_version
    assert replace(first, files=first.files[::-1]).data_version == first.data_version


def test_commits_form_a_chain(lake: StudyLake) -> None:
    """Each manifest counts up and names the MAC of the one before; the index knows the newest."""
    first = commit(lake, {1: b"a"})
    second = commit(lake, {1: b"b"})
    assert (first.generation, second.generation) == (1, 2)
    assert (first.previous_mac, second.previous_mac) == ("", first.mac)
    index = lake.index(PERSON)
    assert index[week().key].agrees_with(second)
    assert not index[week().key].agrees_with(first)


def test_a_manifest_put_back_to_an_older_one_is_found_through_the_index(lake: StudyLake, folder: Path) -> None:
    """An old manifest is authentic, but the index shows that it is not the newest; so is a removed one missing."""
    commit(lake, {1: b"a"})
    path = folder / lake.folder(PERSON, f".beiwe/{week().key}.json")
    old = path.read_bytes()
    commit(lake, {1: b"b"})
    path.write_bytes(old)
    rolled_back = lake.manifest(PERSON, week())
    index = lake.index(PERSON)
    assert rolled_back is not None
    assert not index[week().key].agrees_with(rolled_back)
    path.unlink()
    assert lake.manifest(PERSON, week()) is None
    assert week().key in lake.index(PERSON)


def test_swapped_manifests_are_refused(lake: StudyLake, folder: Path) -> None:
    """A manifest that lies under another participant's, window's or study's name is not trusted."""
    commit(lake, {1: b"a"})
    commit(lake, {1: b"b"}, participant="p2person")
    commit(lake, {169: b"c"}, window=NEXT)
    mine = folder / lake.folder(PERSON, f".beiwe/{week().key}.json")
    for place in (lake.folder("p2person", f".beiwe/{week().key}.json"), lake.folder(PERSON, f".beiwe/{NEXT.key}.json")):
        shutil.copy(mine, folder / place)
    with pytest.raises(IntegrityError, match="another"):
        lake.manifest("p2person", week())
    with pytest.raises(IntegrityError, match="another"):
        lake.manifest(PERSON, NEXT)
    assert lake.manifest(PERSON, week()) is not None


def test_swapped_and_edited_indexes_are_refused(lake: StudyLake, folder: Path) -> None:
    """The index of another participant, or a changed one, is not trusted, and nothing is committed on top of it."""
    commit(lake, {1: b"a"})
    commit(lake, {1: b"b"}, participant="p2person")
    mine, other = (folder / f"{STUDY}/.beiwe/{person}.index" for person in (PERSON, "p2person"))
    shutil.copy(mine, other)
    with pytest.raises(IntegrityError, match="swapped"):
        read_index(lake.storage, lake.authenticator, STUDY, "p2person")
    mine.write_bytes(mine.read_bytes().replace(b": [1, ", b": [2, "))
    with pytest.raises(IntegrityError):
        commit(lake, {1: b"c"})


def test_pending_commits_survive_being_written_and_read(lake: StudyLake, folder: Path) -> None:
    """The record of a commit comes back equal; an edited one is refused, and none is None."""
    manifest = commit(lake, {1: b"a"})
    pending = Pending(manifest=replace(manifest, mac=""), moves=(("a", "b"), ("c", "d")), removals=("e",))
    where = lake.folder(PERSON)
    assert read_pending(lake.storage, lake.authenticator, where, week().key) is None
    write_pending(lake.storage, lake.authenticator, where, pending)
    assert read_pending(lake.storage, lake.authenticator, where, week().key) == pending
    path = folder / where / f".beiwe/{week().key}.pending"
    path.write_bytes(path.read_bytes().replace(b'"e"', b'"f"'))
    with pytest.raises(IntegrityError):
        lake.manifest(PERSON, week())


def test_no_flipped_bit_of_a_stored_file_changes_what_is_read(lake: StudyLake, folder: Path) -> None:
    """Wherever a stored file is damaged: reading raises the one error, or gives what was committed all the same."""
    content, found = b"timestamp,UTC time\n1,2\n", 0
    manifest = commit(lake, {1: content})
    path = folder / lake.folder(PERSON, manifest.files[0].path)
    data = path.read_bytes()
    for bit in range(0, len(data) * 8, 11):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        try:
            assert lake.read(PERSON, manifest.files[0]) == content
        except IntegrityError:
            found += 1
    assert found > len(data) // 4


@pytest.mark.parametrize("change", ["cut", "removed", "another file", "another's version of it"])
def test_other_changes_of_a_stored_file_are_found(lake: StudyLake, folder: Path, change: str) -> None:
    """Cut, removed and exchanged files are named, and no wrong byte is returned."""
    manifest = commit(lake, {1: b"first" * 100, 2: b"other" * 100})
    path, other = (folder / lake.folder(PERSON, record.path) for record in manifest.files)
    if change == "removed":
        path.unlink()
    elif change == "cut":
        path.write_bytes(path.read_bytes()[:-7])
    elif change == "another file":
        shutil.copy(other, path)
    else:
        strange = commit(lake, {1: b"FIRST" * 100}, participant="p2person")
        shutil.copy(folder / lake.folder("p2person", strange.files[0].path), path)
    with pytest.raises(IntegrityError):
        lake.read(PERSON, manifest.files[0])


def test_a_wrong_passphrase_is_found_before_anything_happens(lake: StudyLake, folder: Path) -> None:
    """Neither reading nor writing starts with another passphrase, with none, or without locking; nothing changes."""
    commit(lake, {1: b"a"})
    before = tree(folder)
    others = (
        BeiweLake(folder).study(STUDY, passphrase="another one"),
        BeiweLake(folder).study(STUDY, passphrase=None, cipher=None),
        BeiweLake(folder).study(STUDY, passphrase="another one", cipher=CrypteaseCipher(PASSPHRASE)),
    )
    for other in others:
        with pytest.raises(WrongPassphraseError), other.writer(run_id="r"):
            pytest.fail("writing had begun")
        with pytest.raises(WrongPassphraseError):
            other.manifest(PERSON, week())
    assert tree(folder) == before


def test_a_lake_without_passphrase_wants_none(folder: Path) -> None:
    """A study that was written without a passphrase is not opened with one: nobody would notice edits any more."""
    commit(BeiweLake(folder).study(STUDY, passphrase=None, cipher=None), {1: b"a"})
    with pytest.raises(WrongPassphraseError, match="without"):
        commit(BeiweLake(folder).study(STUDY, passphrase=PASSPHRASE), {1: b"b"})


def test_messages_never_hold_the_passphrase(lake: StudyLake, folder: Path) -> None:
    """Neither errors nor reprs show what locks the data."""
    commit(lake, {1: b"a"})
    with pytest.raises(WrongPassphraseError) as failure:
        BeiweLake(folder).study(STUDY, passphrase="tell nobody").manifest(PERSON, week())
    assert "tell nobody" not in str(failure.value)
    assert PASSPHRASE not in repr(lake) + str(lake)


def test_a_lost_key_file_is_not_replaced(lake: StudyLake, folder: Path) -> None:
    """Manifests without their key file can't be checked: a new key file would only hide that."""
    commit(lake, {1: b"a"})
    (folder / STUDY / ".beiwe/study.key").unlink()
    before = tree(folder)
    fresh = BeiweLake(folder).study(STUDY, passphrase=PASSPHRASE)
    with pytest.raises(IntegrityError, match="key file"):
        commit(fresh, {1: b"b"})
    with pytest.raises(IntegrityError, match="key file"):
        fresh.manifest(PERSON, week())
    assert tree(folder) == before


@pytest.mark.parametrize("edit", [b"", b"{}", b"noise"])
def test_a_damaged_key_file_is_refused(lake: StudyLake, folder: Path, edit: bytes) -> None:
    """A key file that was changed or emptied is an error, not a new study."""
    commit(lake, {1: b"a"})
    path = folder / STUDY / ".beiwe/study.key"
    path.write_bytes(edit)
    with pytest.raises(IntegrityError):
        BeiweLake(folder).study(STUDY, passphrase=PASSPHRASE).manifest(PERSON, week())


def test_the_key_file_holds_no_key(lake: StudyLake, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file holds a salt and a check value; guessing costs scrypt's usual price for each guess."""
    monkeypatch.setattr(keys, "_SCRYPT", COST)
    commit(lake, {1: b"a"})
    document = json.loads((folder / STUDY / ".beiwe/study.key").read_bytes())
    assert set(document) == {"format", "study_id", "created_at", "authentication", "derivation", "salt", "check", "mac"}
    assert PASSPHRASE not in json.dumps(document)
    assert document["derivation"]["n"] >= 2**15


def test_windows_of_another_length_are_refused(lake: StudyLake) -> None:
    """A window that was committed with another end is an error that says what to do, and nothing is written."""
    commit(lake, {1: b"a"})
    shorter = Window(START, START + timedelta(days=1))
    with pytest.raises(WindowMismatchError, match="window"):
        lake.manifest(PERSON, shorter)
    with lake.writer(run_id="r") as writer, pytest.raises(WindowMismatchError):
        writer.commit(occasion(shorter), [stage(writer, lake, b"b")], base_generation=0)


def test_an_empty_lake_has_nothing(lake: StudyLake, folder: Path) -> None:
    """Reading a lake that does not exist yet gives nothing and writes nothing."""
    assert BeiweLake(folder).studies() == []
    assert lake.participants() == []
    assert lake.windows(PERSON) == []
    assert lake.manifest(PERSON, week()) is None
    assert not folder.exists()
