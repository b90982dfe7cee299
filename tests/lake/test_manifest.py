"""Manifests and the key file: what is stored is what was committed, or the one error says that it is not."""

from __future__ import annotations

import itertools
import json
import shutil
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
import zstandard
from core_helpers import NOW, PASSPHRASE, PERSON, START, STUDY, commit, tree, week
from hypothesis import given, settings
from hypothesis import strategies as st

from dagster_beiwe.encryption import CrypteaseCipher
from dagster_beiwe.errors import IntegrityError, WindowMismatchError, WrongPassphraseError
from dagster_beiwe.lake import BeiweLake, FetchFailure, FileRecord, Manifest, StudyLake
from dagster_beiwe.lake.catalog import key_file
from dagster_beiwe.lake.layout import LogLayout, Subject
from dagster_beiwe.lake.manifest import FileSizes, PreviousVersion, decode, decode_sizes, encode
from dagster_beiwe.lake.writer import LakeWriter
from dagster_beiwe.windows import Window

NEXT = Window(week().end, week().end + timedelta(days=7))

texts = st.text(max_size=20)
sizes = st.integers(0, 2**63)
paths = st.from_regex(r"[a-z_]{1,9}(/[A-Za-z0-9_-]{1,9})?/[0-9 _+~-]{1,20}[.]csv([.]zst)?([.]lock)?", fullmatch=True)
moments = st.datetimes(timezones=st.just(timezone.utc)).map(datetime.isoformat)
records = st.builds(
    FileRecord,
    key=texts, member=paths, path=paths, stream=texts, survey_id=st.none() | texts, time=moments, size_bytes=sizes,
    md5=st.none() | texts, sha1=texts, sha256=texts, stored_size_bytes=sizes, stored_sha256=texts, encryption=texts,
    compression=texts, first_seen=texts, fetched_at=texts, run_id=texts, restatements=sizes,
    known_by=st.sampled_from(["sha1", "md5"]), checked=st.booleans(), counted_in=texts, counted_at=texts,
    previous=st.none() | st.builds(PreviousVersion, size_bytes=sizes, sha256=texts, fetched_at=texts),
    last_seen=st.none() | texts, deleted_upstream_at=st.none() | texts, times_deleted_upstream=sizes,
)  # fmt: skip
manifests = st.builds(
    Manifest,
    study_id=st.just(STUDY), participant=st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True),
    window=st.just(week().key), start=st.just(week().start.isoformat()), end=st.just(week().end.isoformat()),
    committed_at=texts, run_id=texts, streams=st.tuples(texts, texts), files=st.lists(records, max_size=3).map(tuple),
    removed=st.lists(records, max_size=2).map(tuple), counts_fingerprint=texts,
    failures=st.tuples(st.builds(FetchFailure, start=texts, end=texts, streams=st.tuples(texts), error=texts)),
)  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(manifest=manifests)
def test_manifests_survive_being_written_and_read(manifest: Manifest) -> None:
    """Whatever a manifest holds, it comes back equal."""
    assert decode(encode(manifest), name="m") == manifest


@settings(max_examples=50, deadline=None)
@given(manifest=manifests)
def test_sizes_are_read_without_the_manifest(manifest: Manifest) -> None:
    """Those of the files that the server still has, also from a manifest that was stored without them."""
    stored = encode(manifest)
    alone = zstandard.ZstdCompressor().compress(zstandard.ZstdDecompressor().decompress(stored))
    found = decode_sizes(stored, name="m")
    assert found == decode_sizes(alone, name="m") == FileSizes.of(manifest)
    present = [file for file in manifest.files if file.deleted_upstream_at is None]
    assert [found.streams[number] for number in found.stream] == [file.stream for file in present]
    assert found.seconds == [int(file.moment.timestamp()) for file in present]
    assert found.size_bytes == [file.size_bytes for file in present]


def packed(document: object) -> bytes:
    return zstandard.ZstdCompressor().compress(json.dumps(document).encode())


def sample(**changes: object) -> dict[str, object]:
    """A manifest as JSON has it, with one file."""
    record = FileRecord(
        key="k", member="gps/a.csv", path="gps/a.csv.zst.lock", stream="gps", survey_id=None, time=START.isoformat(),
        size_bytes=10, md5="00", sha1="11", sha256="22", stored_size_bytes=12, stored_sha256="33",
        encryption="cryptease", compression="zstd", first_seen="t", fetched_at="t", run_id="r",
    )  # fmt: skip
    manifest = Manifest(
        study_id=STUDY, participant=PERSON, window=week().key, start=START.isoformat(), end=week().end.isoformat(),
        committed_at=NOW.isoformat(), run_id="r", streams=("gps",), files=(record,),
    )  # fmt: skip
    document: dict[str, object] = json.loads(zstandard.ZstdDecompressor().decompress(encode(manifest)))
    return {**document, **changes}


@settings(max_examples=100, deadline=None)
@given(
    data=st.binary(max_size=100)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | texts, lambda inner: st.lists(inner) | st.dictionaries(texts, inner)
    ).map(packed)
)
def test_anything_else_is_refused(data: bytes) -> None:
    """Noise and other JSON never count as a manifest, and never raise anything but the one error."""
    with pytest.raises(IntegrityError):
        decode(data, name="m")


@pytest.mark.parametrize(
    "changes",
    [
        {"more": 1},
        {"files": None},
        {"files": [1]},
        {"files": [{}]},
        {"failures": [{"streams": None}]},
        {"start": "yesterday"},
        {"end": START.isoformat()},
        {"participant": "../p2person"},
        {"window": "a/b"},
        *({"files": [{**sample()["files"][0], field: value}]} for field, value in (  # type: ignore[index]
            ("path", "../../other/a.csv"), ("path", "/etc/passwd"), ("path", ".beiwe/token-0"), ("member", ".."),
            ("time", "2026-02-23T00:00:00"), ("size_bytes", -1), ("size_bytes", 1.5), ("more", 1),
        )),
    ],
)  # fmt: skip
def test_documents_of_another_shape_are_refused(changes: dict[str, object]) -> None:
    """Other fields (a newer version's, say), and places and times that no manifest has, are an error that says so."""
    assert decode(packed(sample()), name="m")
    with pytest.raises(IntegrityError):
        decode(packed(sample(**changes)), name="m")


def test_what_claims_to_need_much_memory_is_refused() -> None:
    """A frame that says it unpacks to a terabyte, or does not say, is not unpacked."""
    endless = zstandard.ZstdCompressor(write_content_size=False).compress(b"{}")
    huge = b"\x28\xb5\x2f\xfd" + bytes([0xE0]) + (2**40).to_bytes(8, "little")
    for data in (endless, huge, b"[" * 100_000, packed([[]]) * 2):
        with pytest.raises(IntegrityError):
            decode(data, name="m")


@pytest.mark.usefixtures("deep_stack")
def test_deep_nesting_is_refused() -> None:
    """JSON that is nested beyond reason is refused like anything else."""
    with pytest.raises(IntegrityError):
        decode(zstandard.ZstdCompressor().compress(b"[" * 100_000), name="m")


def manifests_of(folder: Path, lake: StudyLake, person: str, window: Window) -> list[Path]:
    """The manifests of a window, oldest first."""
    home = LogLayout(STUDY).home(Subject(person))
    return [folder / home.manifest(each.base, each.nonce) for each in lake.versions(person)[window.key]]


def test_every_changed_bit_of_a_manifest_is_found(lake: StudyLake, folder: Path) -> None:
    """The record names the manifest by its hash: no bit can change, whatever it would mean."""
    commit(lake, {1: b"a"})
    (path,) = manifests_of(folder, lake, PERSON, week())
    data = path.read_bytes()
    for edited in itertools.chain(
        (data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :] for place in range(0, len(data), 7)),
        (data[:-1], data + b"x", b""),
    ):
        path.write_bytes(edited)
        with pytest.raises(IntegrityError):
            lake.manifest(PERSON, week())
    path.write_bytes(data)
    assert lake.manifest(PERSON, week()) is not None


def test_swapped_manifests_are_refused(lake: StudyLake, folder: Path) -> None:
    """A manifest in the place of another participant's, another window's or a newer version is not used."""
    commit(lake, {1: b"a"})
    (mine,) = manifests_of(folder, lake, PERSON, week())
    old = mine.read_bytes()
    commit(lake, {1: b"b"}, participant="p2person")
    commit(lake, {169: b"c"}, window=NEXT)
    commit(lake, {1: b"newer"})
    (other,), (following,) = manifests_of(folder, lake, "p2person", week()), manifests_of(folder, lake, PERSON, NEXT)
    (newer,) = (path for path in manifests_of(folder, lake, PERSON, week()) if path != mine)
    for place in (other, following, newer):
        place.write_bytes(old)
    for person, window in (("p2person", week()), (PERSON, NEXT), (PERSON, week())):
        with pytest.raises(IntegrityError, match="restore it from a backup"):
            lake.manifest(person, window)


def test_a_removed_manifest_is_missed(lake: StudyLake, folder: Path) -> None:
    """The log knows the version: its manifest is missing, not the window."""
    commit(lake, {1: b"a"})
    (path,) = manifests_of(folder, lake, PERSON, week())
    path.unlink()
    with pytest.raises(IntegrityError, match="missing"):
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
        with pytest.raises(WrongPassphraseError), LakeWriter(other, run_id="r"):
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


def first_record(folder: Path) -> Path:
    return folder / STUDY / ".beiwe/log/000000/000"


def test_a_lost_key_file_is_not_replaced(lake: StudyLake, folder: Path) -> None:
    """Data without the log's first record can't be proven: a new one would only hide that."""
    commit(lake, {1: b"a"})
    first_record(folder).unlink()
    before = tree(folder)
    fresh = BeiweLake(folder).study(STUDY, passphrase=PASSPHRASE)
    with pytest.raises(IntegrityError, match="000/000"):
        commit(fresh, {1: b"b"})
    with pytest.raises(IntegrityError, match="000/000"):
        fresh.manifest(PERSON, week())
    assert tree(folder) == before


@pytest.mark.parametrize("edit", [b"", b"{}", b"noise"])
def test_a_damaged_key_file_is_refused(lake: StudyLake, folder: Path, edit: bytes) -> None:
    """A key file that was changed or emptied is an error, not a new study."""
    commit(lake, {1: b"a"})
    first_record(folder).write_bytes(edit)
    with pytest.raises(IntegrityError):
        BeiweLake(folder).study(STUDY, passphrase=PASSPHRASE).manifest(PERSON, week())


def test_the_key_file_holds_no_key(lake: StudyLake, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It holds a salt and a MAC over itself; guessing costs scrypt's usual price for each guess."""
    monkeypatch.setattr(key_file, "LOG2_N", 15)
    commit(lake, {1: b"a"})
    line, _, body = first_record(folder).read_bytes().partition(b"\n")
    assert line.startswith(b"beiwe-log 1 hmac-sha256 ")
    assert set(json.loads(body)) == {"kind", "number", "previous", "time", "study", "lineage", "salt", "log2_n"}
    assert PASSPHRASE.encode() not in body
    assert json.loads(body)["log2_n"] == 15


def test_windows_of_another_length_are_refused(lake: StudyLake) -> None:
    """A window that was committed with another end is an error that says what to do, and nothing is written."""
    commit(lake, {1: b"a"})
    shorter = Window(START, START + timedelta(days=1))
    with pytest.raises(WindowMismatchError, match="window"):
        lake.manifest(PERSON, shorter)
    with LakeWriter(lake, run_id="r") as writer, pytest.raises(WindowMismatchError):
        writer.plan(PERSON, [shorter])


def test_an_empty_lake_has_nothing(lake: StudyLake, folder: Path) -> None:
    """Reading a lake that does not exist yet gives nothing and writes nothing."""
    assert BeiweLake(folder).studies() == []
    assert lake.participants() == []
    assert lake.windows(PERSON) == []
    assert lake.manifest(PERSON, week()) is None
    assert not folder.exists()
