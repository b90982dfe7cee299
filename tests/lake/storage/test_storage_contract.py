"""What the lake may rely on, whatever it is stored in."""

from __future__ import annotations

import hashlib
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dagster_beiwe.errors import CommitConflictError, IntegrityError, LakeUnavailableError
from dagster_beiwe.lake.storage.base import Storage
from dagster_beiwe.lake.storage.local import LocalStorage
from dagster_beiwe.lake.storage.object_store import PART_BYTES


def put(storage: Storage, path: str, data: bytes) -> None:
    with storage.create(path) as file:
        file.write(data)


def test_what_is_written_is_read_back(storage: Storage) -> None:
    """Whole, and as a file; names with spaces, colons and plus signs, and no content at all."""
    name = "study/person/gps/2026-03-09 05_00_00+00_00.csv.zst.lock"
    storage.create_new(name, b"some bytes")
    storage.create_new("study/empty", b"")
    assert storage.read(name) == b"some bytes"
    assert storage.read("study/empty") == b""
    with storage.open(name) as file:
        assert file.read() == b"some bytes"
    with storage.open("study/empty") as file:
        assert file.read() == b""


def test_of_many_that_create_a_file_at_once_one_wins(storage: Storage) -> None:
    """And what is there is the winner's."""
    if "memory" in storage.describe():
        pytest.skip("fsspec's memory looks first and writes then")

    def write(number: int) -> bool:
        try:
            storage.create_new("a/key", b"%d" % number)
        except FileExistsError:
            return False
        return True

    storage.create_new("a/other", b"")
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(write, range(8)))
    assert won.count(True) == 1
    assert storage.read("a/key") == b"%d" % won.index(True)


SIZES = pytest.mark.parametrize("size", [10, 2 * PART_BYTES + 7], ids=["few", "chunks"])


@pytest.mark.parametrize("size", [0, 10, PART_BYTES, 2 * PART_BYTES + 7], ids=["none", "few", "chunk", "chunks"])
def test_a_created_file_is_whole_when_it_is_closed(storage: Storage, size: int) -> None:
    """Of every size, written in parts of another; in an object store nothing shows before."""
    data = os.urandom(size)
    with storage.create("a/b/file", otherwise="a/b/file~1-aaaa") as file:
        for start in range(0, size, 3_000_001):
            file.write(data[start : start + 3_000_001])
        shows = isinstance(storage, LocalStorage) or ("memory" in storage.describe() and size > PART_BYTES)
        assert (storage.list("a/b") != []) == shows
    storage.sync_folder("a/b")
    assert storage.list("a/b") == [file.path.removeprefix("a/b/")]
    assert storage.read(file.path) == data
    assert file.path == "a/b/file" or size > PART_BYTES


def test_a_storage_used_folder_by_folder_is_the_same(storage: Storage) -> None:
    """Back and forth between folders, to create, to read, and to refuse; also from another thread meanwhile."""
    with storage.folder_by_folder(), ThreadPoolExecutor(1) as pool:
        for path in ("a/b/one", "a/c/two", "a/b/three"):
            put(storage, path, path.encode())
        pool.submit(put, storage, "a/b/beside", b"beside").result()
        with storage.create("a/c/two", otherwise="a/b/four") as file:
            file.write(b"elsewhere")
        assert file.path == "a/b/four"
        with pytest.raises(FileNotFoundError):
            storage.open("a/d/none")
        with storage.open("a/c/two") as opened:
            assert opened.read() == b"a/c/two"
        with pytest.raises(IntegrityError, match="inside the lake"):
            storage.open("a/../outside")
    assert storage.list("a/b") == ["beside", "four", "one", "three"]
    assert storage.read("a/b/four") == b"elsewhere"


@SIZES
def test_a_created_file_replaces_nothing(storage: Storage, size: int) -> None:
    """It goes to its other name, and where it has none that is an error."""
    data = os.urandom(size)
    put(storage, "a/file", b"of a dead run")
    with storage.create("a/file", otherwise="a/file~1-aaaa") as file:
        file.write(data)
    assert file.path == "a/file~1-aaaa"
    assert storage.read(file.path) == data
    assert storage.read("a/file") == b"of a dead run"
    if size <= PART_BYTES or isinstance(storage, LocalStorage):
        with pytest.raises(FileExistsError), storage.create("a/file") as file:
            file.write(data)
    assert storage.list("a") == ["file", "file~1-aaaa"]
    assert storage.read("a/file") == b"of a dead run"


@SIZES
def test_a_file_that_breaks_off_is_removed(storage: Storage, size: int) -> None:
    """And what is in its way is not."""

    def break_off(name: str) -> None:
        with storage.create(name, otherwise=f"{name}~1-aaaa") as file:
            file.write(bytes(size))
            raise KeyError

    put(storage, "a/taken", b"")
    for name in ("a/file", "a/taken"):
        with pytest.raises(KeyError):
            break_off(name)
    assert storage.list("a") == ["taken"]


def test_a_file_is_read_from_any_place(storage: Storage) -> None:
    """Over the edges of chunks, back and forth."""
    data = os.urandom(PART_BYTES + 1000)
    put(storage, "a/large", data)
    with storage.open("a/large") as file:
        assert file.seekable()
        file.seek(PART_BYTES - 10)
        assert file.read(20) == data[PART_BYTES - 10 : PART_BYTES + 10]
        file.seek(3)
        assert file.read(5) == data[3:8]
        assert file.seek(0, os.SEEK_END) == len(data)
        assert file.read() == b""


def test_a_deleted_file_is_gone(storage: Storage) -> None:
    """At once and everywhere; deleting it again does nothing."""
    storage.create_new("a/b/file", b"")
    storage.delete("a/b/file")
    storage.delete("a/b/file")
    assert not storage.exists("a/b/file")
    assert list(storage.scan("a")) == []
    storage.delete_folder("a")
    assert storage.list("") == []


def test_what_is_not_there_is_said_to_be_missing(storage: Storage) -> None:
    """By FileNotFoundError where something is read, by nothing where something is listed."""
    with pytest.raises(FileNotFoundError):
        storage.read("no/file")
    with pytest.raises(FileNotFoundError):
        storage.open("no/file")
    assert storage.list("no") == []
    assert list(storage.scan("no")) == []
    assert not storage.exists("no/file")


def test_lists_hold_names_and_scans_hold_paths(storage: Storage) -> None:
    """Files and folders directly below; no neighbor whose name begins alike; a folder is no file, and a file none."""
    for path in ("study/b/x.json", "study/a", "study/b/c/deep", "study2/other"):
        storage.create_new(path, b"")
    assert storage.list("study") == ["a", "b"]
    assert storage.list("study/b") == ["c", "x.json"]
    assert storage.list("") == ["study", "study2"]
    assert sorted(file.path for file in storage.scan("study")) == ["study/a", "study/b/c/deep", "study/b/x.json"]
    assert len(list(storage.scan(""))) == 4
    assert storage.list("study/a") == []
    if not isinstance(storage, LocalStorage):  # which says what is in a folder's place
        assert list(storage.scan("study/a")) == []
    assert not storage.exists("study/b")
    assert storage.exists("study/a")


def test_no_path_leads_out_of_the_lake(storage: Storage) -> None:
    """Whatever a forged document says; a name with two dots in it is no way up."""
    storage.create_new("a/file..csv", b"x")
    assert storage.exists("a/file..csv")
    for attempt in (
        storage.read,
        lambda path: storage.read_all(["a/file..csv", path]),
        lambda path: storage.hash_all(["a/file..csv", path]),
        storage.open,
        storage.exists,
        storage.delete,
        storage.list,
    ):
        with pytest.raises(IntegrityError, match="inside the lake"):
            attempt("a/../../outside")
    with pytest.raises(IntegrityError, match="inside the lake"):
        storage.create_new("/outside", b"x")


def test_a_document_is_not_read_beyond_its_limit(storage: Storage) -> None:
    """Up to the limit it is whole."""
    storage.create_new("a/document", b"12345")
    storage.create_new("a/empty", b"")
    assert storage.read("a/document", limit_bytes=5) == b"12345"
    assert storage.read("a/empty", limit_bytes=5) == b""
    with pytest.raises(IntegrityError, match="larger than 4 bytes"):
        storage.read("a/document", limit_bytes=4)


def test_files_are_hashed_as_they_are_stored(storage: Storage) -> None:
    """Empty ones, and those that are read in several parts; a missing one has no hash."""
    contents = [bytes(range(256)) * kilobytes for kilobytes in (0, 1, 1024, 1025)]
    for number, content in enumerate(contents):
        storage.create_new(f"a/{number}", content)
    hashes = [(len(content), hashlib.sha256(content).hexdigest()) for content in contents]
    assert storage.hash_all(["a/0", "none/0", "a/1", "a/none", "a/2", "a/3"]) == [
        hashes[0],
        None,
        hashes[1],
        None,
        *hashes[2:],
    ]


def test_a_new_file_is_whole_durable_and_the_only_one(storage: Storage) -> None:
    """What has to be written before it shows lies elsewhere, and nothing of it is left."""
    storage.create_new("a/log/000", b"first", staging="a/staging")
    with pytest.raises(FileExistsError):
        storage.create_new("a/log/000", b"second", staging="a/staging")
    storage.create_new("a/other", b"beside")
    assert storage.read_all(["a/log/000", "a/none", "a/other"]) == [b"first", None, b"beside"]
    assert storage.read_all(["none/000", "none/001", "a/log/000"]) == [None, None, b"first"]
    assert storage.list("a/log") == ["000"]
    assert storage.list("a/staging") == []


def test_a_listing_tells_sizes_and_times(storage: Storage) -> None:
    """Of all files below a folder, by the store's own clock."""
    before = time.time()
    for name, data in (("a/b/one", b"1"), ("a/two", b"22"), ("ab/three", b"333")):
        storage.create_new(name, data)
    found = {file.path: file for file in storage.scan("a")}
    assert {path: file.size_bytes for path, file in found.items()} == {"a/b/one": 1, "a/two": 2}
    assert all(abs(file.written_at - before) < 60 for file in found.values())
    storage.delete_all(["a/b/one", "a/none", "a/two"])
    assert list(storage.scan("a")) == []


def test_a_guard_keeps_others_out_where_there_are_locks(storage: Storage) -> None:
    """Writers share a folder, and whoever wants it alone is refused; an object store cannot know."""
    with storage.guard("a", exclusive=False), storage.guard("a", exclusive=False):
        if storage.locks:
            with pytest.raises(CommitConflictError), storage.guard("a", exclusive=True):
                pytest.fail("nobody was kept out")
    with storage.guard("a", exclusive=True):
        pass


def test_a_lake_that_went_away_is_not_begun_anew(tmp_path: Path) -> None:
    """An empty folder in its place, as under a mount that was taken off, stays empty."""
    storage = LocalStorage(tmp_path / "lake")
    with storage.guard("study/.beiwe", exclusive=False):
        put(storage, "study/person/file", b"x")
        (tmp_path / "lake").rename(tmp_path / "elsewhere")
        (tmp_path / "lake").mkdir()
        with pytest.raises(LakeUnavailableError, match="mount"):
            put(storage, "study/person/other", b"x")
    assert list((tmp_path / "lake").iterdir()) == []
    put(storage, "study/person/other", b"x")


def test_a_file_that_the_disk_refuses_is_removed_and_explained(tmp_path: Path) -> None:
    """With what to do about it; /dev/full says that it is full."""
    storage = LocalStorage(tmp_path / "lake")

    def fill() -> None:
        with open("/dev/full", "wb") as full, storage.create("a/file") as file:
            os.dup2(full.fileno(), file.fileno())
            file.write(bytes(200_000))

    with pytest.raises(LakeUnavailableError, match="Free space"):
        fill()
    assert storage.list("a") == []
