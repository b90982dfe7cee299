"""Staging: bytes are checked, hashed, locked and written as they arrive; plain ones never reach the disk."""

from __future__ import annotations

import errno
import hashlib
import os
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import zstandard
from core_helpers import (
    PASSPHRASE,
    PERSON,
    START,
    STUDY,
    chunked,
    commit,
    commit_request,
    finished,
    stage,
    too_open,
    tree,
    week,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dagster_beiwe.encryption import CrypteaseCipher, decrypt_bytes
from dagster_beiwe.encryption.cipher import Cipher
from dagster_beiwe.errors import (
    ConnectionFailedError,
    DamagedMemberError,
    FrameTooLargeError,
    LakeUnavailableError,
    PassphraseMissingError,
)
from dagster_beiwe.lake import BeiweLake, FetchedFile, StudyLake
from dagster_beiwe.lake.frames import LARGEST_FRAME_BYTES
from dagster_beiwe.lake.staging import (
    Compression,
    FileForm,
    FilePlace,
    StagedFile,
    examine,
    keep_file,
    small_size,
    stage_file,
    store_all,
)
from dagster_beiwe.lake.storage.local import LocalStorage
from dagster_beiwe.lake.writer import LakeWriter
from dagster_beiwe.member_names import parse_member_name

NAME = f"{PERSON}/gps/{START:%Y-%m-%d %H_%M_%S}+00_00.csv"
ROWS = b"timestamp,UTC time,latitude,longitude,altitude,accuracy\n" + b"\n".join(
    b"%d,2026-02-23T00:00:%02d.000,42.36%04d,-71.05%04d,12.5,8" % (1771804800000 + 1000 * n, n % 60, n, n)
    for n in range(2000)
)
PLACE = FilePlace("a/a.csv")
CIPHERS: dict[str, Cipher | None] = {"cryptease": CrypteaseCipher(PASSPHRASE), "none": None}


def frame(data: bytes, **options: object) -> bytes:
    """One zstd frame as get-data/v2 sends it: content size in the header, no checksum."""
    return zstandard.ZstdCompressor(level=2, **options).compress(data)  # type: ignore[arg-type]


PLAIN = FileForm(cipher=None, compression="zstd")


def put_large(folder: Path, body: bytes, *, compressed: bool = True, form: FileForm = PLAIN) -> StagedFile:
    """The way of large files: chunk by chunk."""
    chunks = chunked(body, 777)
    return stage_file(LocalStorage(folder), PLACE, chunks, name="a.csv", compressed=compressed, form=form)


def put_small(folder: Path, body: bytes, *, compressed: bool = True, form: FileForm = PLAIN) -> StagedFile:
    """The way of small files: examined whole, then stored with others."""
    examined = examine(body, name="a.csv", compressed=compressed, form=form)
    with ThreadPoolExecutor(2) as pool:
        (staged,) = store_all(LocalStorage(folder), [(PLACE, examined)], form=form, pool=pool)
    return staged


Put = Callable[..., StagedFile]
WAYS: dict[str, Put] = {"large": put_large, "small": put_small}


@pytest.fixture(params=WAYS)
def put(request: pytest.FixtureRequest) -> Put:
    """Both ways of a file into the lake."""
    return WAYS[request.param]


@pytest.mark.parametrize("cipher", CIPHERS)
@pytest.mark.parametrize("compression", ["zstd", "none"])
@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("content", [ROWS, b"", b"x"], ids=["rows", "empty", "byte"])
def test_every_way_to_store_keeps_the_content(
    folder: Path, content: bytes, compressed: bool, compression: Compression, cipher: str
) -> None:
    """However a file arrives and is stored, the hashes are of its plain bytes, and they can be read back."""
    lake = BeiweLake(folder).study(STUDY, passphrase=PASSPHRASE, cipher=CIPHERS[cipher], compression=compression)
    member = parse_member_name(NAME)
    with LakeWriter(lake, run_id="r") as writer:
        plan = writer.plan(PERSON, [week()])
        body = frame(content) if compressed else content
        staged = writer.stage(member, chunked(body, 100), compressed=compressed, md5=True)
        fetched_file = FetchedFile(key="k", member=member, staged=staged, form=lake.form("gps"))
        manifest = finished(writer, writer.commit(plan, commit_request(), [fetched_file]))
    (record,) = manifest.files
    assert (record.size_bytes, record.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert (record.md5, record.sha1) == (hashlib.md5(content).hexdigest(), hashlib.sha1(content).hexdigest())
    stored = (folder / lake.folder(PERSON, record.path)).read_bytes()
    assert (record.stored_size_bytes, record.stored_sha256) == (len(stored), hashlib.sha256(stored).hexdigest())
    suffix = (".zst" if compression == "zstd" else "") + (".lock" if cipher == "cryptease" else "")
    assert record.path == f"gps/2026-02-23 00_00_00+00_00.csv{suffix}"
    assert lake.read(PERSON, record) == content


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_both_ways_store_the_same(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Whatever the content and the form: hashes and sizes are the same, and so is what the lock hides."""
    content = data.draw(st.binary(max_size=5000))
    compressed, cipher = data.draw(st.booleans()), data.draw(st.sampled_from([*CIPHERS]))
    form = FileForm(cipher=CIPHERS[cipher], compression=data.draw(st.sampled_from(["zstd", "none"])))
    body = frame(content) if compressed else content
    large, small = (
        put(tmp_path_factory.mktemp("way"), body, compressed=compressed, form=form) for put in (put_large, put_small)
    )
    if cipher == "cryptease":
        large, small = (replace(each, stored_sha256="") for each in (large, small))
    assert large == small


def test_the_servers_frame_is_kept_byte_for_byte(folder: Path, put: Put) -> None:
    """A compressed file is stored as the server compressed it, inside the lock too."""
    body = frame(ROWS)
    put(folder, body)
    assert (folder / PLACE.path).read_bytes() == body
    (folder / PLACE.path).unlink()
    put(folder, body, form=FileForm(cipher=CIPHERS["cryptease"], compression="zstd"))
    assert decrypt_bytes((folder / PLACE.path).read_bytes(), PASSPHRASE) == body


def test_uncompressed_lakes_are_manos(folder: Path, put: Put) -> None:
    """With ``compression: none`` the locked file opens to the very bytes of the CSV."""
    put(folder, frame(ROWS), form=FileForm(cipher=CIPHERS["cryptease"], compression="none"))
    assert decrypt_bytes((folder / PLACE.path).read_bytes(), PASSPHRASE) == ROWS


def declaring(size: int) -> bytes:
    """The header of a frame that declares ``size`` bytes, and a first block."""
    return b"\x28\xb5\x2f\xfd\xe0" + size.to_bytes(8, "little") + frame(bytes(1000))[6:]


GARBAGE = {
    "nothing": b"",
    "noise": hashlib.sha256(b"").digest() * 10,
    "plain text": ROWS,
    "first bytes only": frame(ROWS)[:4],
    "header only": frame(ROWS)[:9],
    "cut in the middle": frame(ROWS)[:-100],
    "cut by one byte": frame(ROWS)[:-1],
    "damaged inside": frame(ROWS)[:7] + b"\xff" * 9 + frame(ROWS)[16:],
    "size not declared": frame(ROWS, write_content_size=False),
    "declares more than it holds": declaring(2000),
    "declares less than it holds": declaring(10),
    "a second frame behind": frame(ROWS) + frame(b"more"),
    "noise behind": frame(ROWS) + b"noise behind it",
    "one byte behind": frame(ROWS) + b"n",
    "half a second frame behind": frame(ROWS) + frame(b"more")[:5],
    "a skippable frame behind": frame(ROWS) + b"\x50\x2a\x4d\x18\x04\0\0\0skip",
    "a skippable frame before": b"\x50\x2a\x4d\x18\x04\0\0\0skip" + frame(ROWS),
    "cut inside its checksum": frame(ROWS, write_checksum=True)[:-2],
    "a wrong checksum": frame(ROWS, write_checksum=True)[:-1] + b"\0",
}


@pytest.mark.parametrize("compression", ["zstd", "none"])
@pytest.mark.parametrize("kind", GARBAGE)
def test_what_is_no_proper_frame_is_damaged(folder: Path, put: Put, kind: str, compression: Compression) -> None:
    """Objects that the server delivers as garbage are named as damaged, and leave no file."""
    with pytest.raises(DamagedMemberError) as failure:
        put(folder, GARBAGE[kind], form=FileForm(cipher=None, compression=compression))
    assert failure.value.member == "a.csv"
    assert tree(folder) == {}


@pytest.mark.parametrize("size", [LARGEST_FRAME_BYTES + 1, 16 << 30, 2**64 - 3])
def test_a_frame_that_declares_much_is_not_unpacked(folder: Path, put: Put, size: int) -> None:
    """The size that a frame declares is refused before memory is taken for it."""
    with pytest.raises(FrameTooLargeError):
        put(folder, declaring(size) + bytes(1000))
    assert tree(folder) == {}


@pytest.mark.parametrize("declared", [True, False])
def test_bombs_stay_small(folder: Path, put: Put, declared: bool) -> None:
    """A few kB that unpack to 256 MB cost neither memory nor disk, whether or not they say so."""
    packer = zstandard.ZstdCompressor(level=1).compressobj(size=(256 << 20) if declared else -1)
    block = bytes(1 << 20)
    bomb = b"".join(packer.compress(block) for _ in range(256)) + packer.flush()
    assert len(bomb) < 1 << 20
    tracemalloc.start()
    try:
        with pytest.raises(DamagedMemberError):
            put(folder, bomb)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 16 << 20
    assert tree(folder) == {}


def gps_files(folder: Path) -> list[str]:
    return [name for name in tree(folder) if "/gps/" in name]


def test_a_body_that_breaks_off_leaves_nothing(lake: StudyLake, folder: Path) -> None:
    """The error of the connection passes through, and no temporary file stays."""

    def breaking() -> Iterator[bytes]:
        yield b"timestamp"
        raise ConnectionFailedError("cut")

    with LakeWriter(lake, run_id="r") as writer:
        with pytest.raises(ConnectionFailedError):
            writer.stage(parse_member_name(NAME), breaking(), compressed=False)
        assert not gps_files(folder)


def test_staged_files_are_removed_when_the_run_ends(lake: StudyLake, folder: Path) -> None:
    """What was staged and not committed does not survive its writer, nor what was discarded the moment it was."""
    with LakeWriter(lake, run_id="r") as writer:
        first = stage(writer, lake, b"a", hours=1)
        stage(writer, lake, b"b", hours=2)
        assert len(gps_files(folder)) == 2
        writer.discard([first.staged])
        assert len(gps_files(folder)) == 1
    assert gps_files(folder) == []
    assert not list((folder / STUDY / ".beiwe" / "runs").iterdir())


def test_locking_needs_a_passphrase_at_once(folder: Path) -> None:
    """No passphrase is an error before anything is downloaded or written."""
    with pytest.raises(PassphraseMissingError, match="BEIWE_LAKE_PASSPHRASE"):
        BeiweLake(folder).study(STUDY, passphrase=None)
    with pytest.raises(PassphraseMissingError):
        BeiweLake(folder).study(STUDY, passphrase="")
    assert not folder.exists()


def test_plain_streams_are_plain_and_the_others_locked(folder: Path) -> None:
    """A stream named as plain is stored readable; every other one is not."""
    lake = BeiweLake(folder).study(STUDY, passphrase=PASSPHRASE, plain_streams=["power_state"], compression="none")
    with LakeWriter(lake, run_id="r") as writer:
        plan = writer.plan(PERSON, [week()])
        fetched_files = [
            stage(writer, lake, b"readable", stream="power_state"),
            stage(writer, lake, b"secret coordinate", stream="gps"),
        ]
        manifest = finished(writer, writer.commit(plan, commit_request(), fetched_files))
    stored = tree(folder)
    assert any(data == b"readable" for data in stored.values())
    assert not any(b"secret coordinate" in data for data in stored.values())
    assert {record.stream: record.encryption for record in manifest.files} == {
        "power_state": "none",
        "gps": "cryptease",
    }
    assert {record.stream: lake.read(PERSON, record) for record in manifest.files}["gps"] == b"secret coordinate"


class Watcher(threading.Thread):
    """Reads every file below a folder over and over, and keeps those that held the canary."""

    def __init__(self, folder: Path, canary: bytes) -> None:
        super().__init__(daemon=True)
        self.folder, self.canary = folder, canary
        self.found: set[str] = set()
        self.seen: set[str] = set()
        self.done, self.passed = threading.Event(), threading.Event()

    def run(self) -> None:
        while not self.done.is_set():
            self.passed.set()
            for path in self.folder.rglob("*"):
                try:
                    data = path.read_bytes() if path.is_file() else b""
                except OSError:
                    continue
                if data:
                    self.seen.add(path.name)
                if self.canary in data:
                    self.found.add(path.name)


@pytest.mark.parametrize("locked", [True, False], ids=["locked", "the watcher catches what is not locked"])
def test_no_plain_byte_is_ever_on_disk(folder: Path, locked: bool) -> None:
    """While a file is staged in many small chunks, no temporary file ever holds a chunk of it."""
    canary = b"latitude 42.3601,-71.0589"
    lake = BeiweLake(folder).study(
        STUDY, passphrase=PASSPHRASE, compression="none", plain_streams=[] if locked else ["gps"]
    )
    watcher = Watcher(folder, canary)

    def body() -> Iterator[bytes]:
        for number in range(40):
            yield canary * 10_000
            if number == 20:
                watcher.start()
            if number == 30:  # everything is looked at from here on, at least once
                for _ in range(2):
                    watcher.passed.clear()
                    watcher.passed.wait(60)

    with LakeWriter(lake, run_id="r") as writer:
        staged = writer.stage(parse_member_name(NAME), body(), compressed=False)
        watcher.done.set()
        watcher.join()
        held = (folder / staged.path).read_bytes()
    assert any(name.endswith(".csv.lock" if locked else ".csv") for name in watcher.seen)
    assert (canary not in held and not watcher.found) is locked


def test_everything_is_for_the_owner_only(lake: StudyLake, folder: Path, umask_zero: None) -> None:
    """Files are 0600 and folders 0700 while a run writes and afterwards, whatever the umask is."""
    with LakeWriter(lake, run_id="r") as writer:
        stage(writer, lake, b"a")
        assert too_open(folder) == []
    commit(lake, {1: b"a"})
    commit(lake, {1: b"b", 2: b"c"})
    assert too_open(folder) == []
    assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    ("body", "compressed", "compression", "held"),
    [
        (ROWS, False, "zstd", len(ROWS)),
        (frame(ROWS), True, "zstd", len(frame(ROWS))),
        (frame(ROWS), True, "none", len(ROWS)),
        (frame(bytes(LARGEST_FRAME_BYTES)), True, "none", None),
        (frame(bytes(LARGEST_FRAME_BYTES)), True, "zstd", None),
        (b"no frame", True, "zstd", None),
    ],
)
def test_small_files_are_told_by_what_they_unpack_to(
    body: bytes, compressed: bool, compression: Compression, held: int | None
) -> None:
    """A file is handled whole only if neither what arrives nor its content is large."""
    form = FileForm(cipher=None, compression=compression)
    assert small_size(body, len(body), compressed=compressed, form=form) == held


@pytest.mark.parametrize("keep", [True, False])
def test_a_source_that_cannot_be_read_is_no_error_of_the_lake(folder: Path, keep: bool) -> None:
    """Its own error says so, and nothing stays."""

    def failing() -> Iterator[bytes]:
        yield b"x"
        raise OSError(errno.EIO, os.strerror(errno.EIO), "old.csv")

    storage, take = LocalStorage(folder), partial(stage_file, compressed=False)
    if keep:
        take = partial(keep_file, cipher=CrypteaseCipher(PASSPHRASE))
    with pytest.raises(OSError, match=r"old\.csv"):
        take(storage, PLACE, failing(), name="a.csv", form=PLAIN)
    assert tree(folder) == {}


def test_where_one_of_many_cannot_be_stored_none_stays(folder: Path) -> None:
    """The error is told when no thread is writing any more, and what was written by then is removed."""
    names = ["a", *(f"b{number}" for number in range(20))]
    files = [(FilePlace(f"{name}/x"), examine(b"x", name="n", compressed=False, form=PLAIN)) for name in names]
    folder.mkdir()
    (folder / "a").write_bytes(b"no folder")
    with ThreadPoolExecutor(2) as pool, pytest.raises(LakeUnavailableError, match="where a folder belongs"):
        store_all(LocalStorage(folder), files, form=PLAIN, pool=pool)
    assert tree(folder) == {"a": b"no folder"}
