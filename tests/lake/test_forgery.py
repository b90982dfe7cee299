"""Documents with a right MAC and hostile content, and things that are no files: refused, and nothing outside touched.

Without a passphrase the MAC is a plain digest, so whoever can write to such a lake can make any document.
"""

from __future__ import annotations

import copy
import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zstandard
from core_helpers import PERSON, STUDY, commit, tree, week
from hypothesis import given, settings
from hypothesis import strategies as st

from dagster_beiwe.errors import BeiweError, IntegrityError, LakeError
from dagster_beiwe.lake import BeiweLake, StudyLake
from dagster_beiwe.lake.catalog.authentication import Authenticator
from dagster_beiwe.lake.catalog.batch import Batch
from dagster_beiwe.lake.collecting import collect
from dagster_beiwe.lake.layout import LogLayout, Subject
from dagster_beiwe.lake.storage.base import LARGEST_DOCUMENT_BYTES
from dagster_beiwe.maintenance.exposure import find_exposures
from dagster_beiwe.maintenance.purge import purge_participant
from dagster_beiwe.maintenance.repair import repair_study
from dagster_beiwe.maintenance.verify import verify_study

DIGEST = Authenticator(None)
LAYOUT = LogLayout(STUDY)
FOLDER = f"{STUDY}/{PERSON}"
OUTWARDS = "../../../outside/victim.txt"

Document = dict[str, Any]


def fresh(folder: Path) -> StudyLake:
    """A lake that anybody who can write to it can forge documents for."""
    return BeiweLake(folder).study(STUDY, passphrase=None, cipher=None)


@pytest.fixture
def lake(folder: Path) -> StudyLake:
    return fresh(folder)


@pytest.fixture
def victim(folder: Path) -> Path:
    """A file beside the lake."""
    path = folder.parent / "outside" / "victim.txt"
    path.parent.mkdir()
    path.write_text("mine")
    return path


def forge(lake: StudyLake, edit: Callable[[Document], object]) -> None:
    """Commit a manifest that says something else, as a program of somebody else could."""
    manifest = lake.manifest(PERSON, week())
    catalog = lake.catalog()
    assert catalog
    document = json.loads(msgspec.json.encode(manifest))
    edit(document)
    data = zstandard.compress(json.dumps(document).encode())
    with Batch(catalog, run_id="evil", subjects=[Subject(PERSON)]) as batch:
        batch.commit([batch.change(Subject(PERSON), week().key, data)])


@pytest.mark.parametrize("field", ["path", "member"])
@pytest.mark.parametrize(
    "value", [OUTWARDS, "/etc/hostname", "gps/../x", "gps//x", ".beiwe/x", "gps\\x", "gps/x\n", ""]
)
def test_a_forged_manifest_leads_nowhere(lake: StudyLake, folder: Path, victim: Path, field: str, value: str) -> None:
    """Neither what is read nor exported, nor what is written, repaired or collected, is outside the folder."""
    commit(lake, {1: b"first"})
    forge(lake, lambda document: document["files"][0].update({field: value}))
    before = tree(folder.parent)
    with pytest.raises(IntegrityError):
        fresh(folder).manifest(PERSON, week())
    with pytest.raises(IntegrityError):
        commit(fresh(folder), {2: b"second"})
    assert tree(folder.parent) == before
    found = verify_study(fresh(folder)).findings
    assert {finding.kind for finding in found} == {"manifest changed"}
    catalog = fresh(folder).catalog()
    assert catalog
    collect(catalog, keep_days=0, run_id="c", also=[Subject(PERSON)])
    repair_study(fresh(folder), found, run_id="r")
    assert verify_study(fresh(folder)).findings == []
    assert victim.read_text() == "mine"


@pytest.mark.parametrize(
    "edit",
    [
        lambda document: document.update(window="../../../outside/victim"),
        lambda document: document.update(participant="p2person"),
        lambda document: document.update(start="yesterday"),
        lambda document: document.pop("files"),
        lambda document: document.update(more=1),
    ],
)
def test_a_manifest_of_another_place_is_refused(
    lake: StudyLake, folder: Path, edit: Callable[[Document], object]
) -> None:
    """Its hash is the record's, its fields are not."""
    commit(lake, {1: b"first"})
    forge(lake, edit)
    with pytest.raises(IntegrityError):
        fresh(folder).manifest(PERSON, week())


def test_the_storage_itself_refuses_to_leave_the_lake(lake: StudyLake, folder: Path, victim: Path) -> None:
    """Whatever a document said, and whoever asked."""
    storage = lake.storage
    attempts: list[Callable[[], object]] = [
        lambda: storage.read("../outside/victim.txt"),
        lambda: storage.open("../outside/victim.txt"),
        lambda: storage.exists("a/../../outside/victim.txt"),
        lambda: storage.delete("../outside/victim.txt"),
        lambda: storage.delete_all(["../outside/victim.txt"]),
        lambda: storage.create_new("../outside/new", b"x"),
        lambda: storage.create_new(str(victim), b"x"),
        lambda: storage.create("../outside/new"),
        lambda: storage.delete_folder("../outside"),
        lambda: storage.list("../outside"),
        lambda: list(storage.scan("../outside")),
        lambda: storage.read("nul\0"),
    ]
    for attempt in attempts:
        with pytest.raises(IntegrityError, match="inside the lake"):
            attempt()
    assert victim.read_text() == "mine"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("\ud800"),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=3,
)


def places(value: object, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place inside a document."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [(*path, key) for key, _ in inside] + [each for key, one in inside for each in places(one, (*path, key))]


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Path]]:
    """A lake with one document of each kind: the first and the last record, a token, a checkpoint and its section."""
    folder = tmp_path_factory.mktemp("forgery")
    lake = fresh(folder)
    commit(lake, {1: b"first", 2: b"second"})
    catalog = lake.catalog()
    assert catalog
    catalog.write_checkpoint()
    commit(lake, {1: b"restated"})
    return folder, [
        folder / LAYOUT.record(0),
        folder / LAYOUT.record(2),
        folder / LAYOUT.home(Subject(PERSON)).token(0),
        *sorted((folder / LAYOUT.checkpoints).iterdir()),
    ]


def read_all(folder: Path) -> None:
    lake = fresh(folder)
    for participant in lake.participants():
        for manifest in lake.manifests(participant):
            assert manifest.span
    catalog = lake.catalog()
    assert catalog
    assert len(list(catalog.history())) == catalog.state.number + 1


@settings(max_examples=300)
@given(data=st.data())
def test_well_signed_documents_with_other_fields_are_refused_by_name(
    documents: tuple[Path, list[Path]], data: st.DataObject
) -> None:
    """Each kind of document, anything in any place of it, signed rightly: what is read is usable, or refused."""
    folder, kinds = documents
    path = data.draw(st.sampled_from(kinds))
    whole = path.read_bytes()
    line, _, body = whole.partition(b"\n")
    signed = line.startswith(b"beiwe-")
    packed = "checkpoints" in path.parts
    document = (msgspec.msgpack.decode if packed else json.loads)(body if signed else whole)
    place = data.draw(st.sampled_from(places(document)))
    parent = document
    for key in place[:-1]:
        parent = parent[key]
    if data.draw(st.booleans()) and isinstance(parent, dict):
        del parent[place[-1]]
    else:
        parent[place[-1]] = data.draw(json_values)
    try:
        made = msgspec.msgpack.encode(document) if packed else json.dumps(document).encode()
    except (UnicodeEncodeError, OverflowError):  # nothing that MessagePack can say
        return
    try:
        path.write_bytes(DIGEST.sign(line.split()[0].decode(), made) if signed else made)
        read_all(folder)
    except BeiweError:
        pass
    finally:
        path.write_bytes(whole)


def test_a_document_beyond_all_measure_is_not_read(lake: StudyLake, folder: Path) -> None:
    """Its size is looked at first: a sparse file costs no disk to plant, and would cost memory to read."""
    commit(lake, {1: b"first"})
    (manifest,) = (folder / FOLDER / ".beiwe").glob("*.json.zst")
    with manifest.open("r+b") as file:
        file.truncate(LARGEST_DOCUMENT_BYTES + 1)
    with pytest.raises(IntegrityError, match="larger than"):
        lake.manifest(PERSON, week())


def file_of(lake: StudyLake, folder: Path) -> Path:
    return folder / lake.folder(PERSON, commit(lake, {1: b"first"}).files[0].path)


@pytest.mark.parametrize("kind", ["pipe", "link", "link to a folder"])
def test_what_is_no_file_is_found_and_taken_out(lake: StudyLake, folder: Path, victim: Path, kind: str) -> None:
    """A pipe nobody writes to makes nobody wait, and a link to the very content is not followed."""
    place = file_of(lake, folder)
    kept = place.rename(victim.parent / "kept")
    if kind == "pipe":
        os.mkfifo(place)
    else:
        place.symlink_to(kept if kind == "link" else victim.parent)
    found = verify_study(lake).findings
    assert {finding.kind for finding in found} == {"file changed"}
    with pytest.raises(IntegrityError, match="no regular file"):
        lake.read(PERSON, lake.manifest(PERSON, week()).files[0])  # type: ignore[union-attr]
    repair_study(lake, found, run_id="repair")
    assert verify_study(lake).findings == []
    assert victim.read_text() == "mine"


@pytest.mark.parametrize("below", ["gps", ".beiwe", ""])
def test_a_folder_that_is_a_link_is_found_not_written_through_and_purged(
    lake: StudyLake, folder: Path, victim: Path, below: str
) -> None:
    """Whoever puts a link in a folder's place could have the lake's files written, and removed, elsewhere."""
    file_of(lake, folder)
    place = folder / lake.folder(PERSON, below)
    elsewhere = victim.parent / "elsewhere"
    shutil.move(place, elsewhere)
    place.symlink_to(elsewhere)
    found = verify_study(lake).findings
    assert "file unaccounted for" in {finding.kind for finding in found}
    before = tree(victim.parent)
    with pytest.raises(LakeError, match="a link"):
        commit(lake, {2: b"second"})
    repair_study(fresh(folder), found, run_id="repair")
    assert verify_study(lake).findings == []
    purge_participant(fresh(folder), PERSON, run_id="purge")
    assert tree(victim.parent) == before
    assert not (folder / FOLDER).exists()
    assert not (folder / FOLDER).is_symlink()


def test_a_study_may_lie_on_another_disk(lake: StudyLake, folder: Path, tmp_path: Path) -> None:
    """A link in place of the lake's or a whole study's folder is the operator's own."""
    file_of(lake, folder)
    shutil.move(folder / STUDY, tmp_path / "disk")
    (folder / STUDY).symlink_to(tmp_path / "disk")
    commit(lake, {2: b"second"})
    commit(lake, {2: b"second"}, participant="p2person")
    assert verify_study(lake).findings == []


@pytest.mark.usefixtures("deep_stack")
@pytest.mark.parametrize("path", [f"{LAYOUT.runs}/0-0123456789abcdef-0", LAYOUT.checkpoint(9, "01234567")])
def test_a_document_nested_beyond_reason_ends_nothing(lake: StudyLake, folder: Path, path: str) -> None:
    """A marker or checkpoint that cannot be read is nobody's."""
    commit(lake, {1: b"first"})
    place = folder / path
    for above in (place.parent.parent, place.parent):
        above.mkdir(mode=0o700, exist_ok=True)
    body = b"[" * 100_000
    place.write_bytes(DIGEST.sign("beiwe-checkpoint", body) if "checkpoints" in path else body)
    place.chmod(0o600)
    verify_study(lake)
    assert find_exposures(lake).protected
    commit(fresh(folder), {2: b"second"})


def test_keys_of_logs_are_not_pickled() -> None:
    """Nor copied: they would be kept where nobody looks for them."""
    for act in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="holds a key"):
            act(Authenticator(b"k" * 32))
