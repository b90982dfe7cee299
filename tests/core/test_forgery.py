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
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from core_helpers import PERSON, START, STUDY, cells_of, commit, sync, tree, week
from dagster_beiwe.lake.index import index_path, read_index
from dagster_beiwe.lake.pending import read_pending
from dagster_beiwe.lake.roll import read_roll, roll_path
from hypothesis import given, settings
from hypothesis import strategies as st

from dagster_beiwe.client import BeiweClient
from dagster_beiwe.errors import BeiweError, IntegrityError, LakeError
from dagster_beiwe.lake import BeiweLake, StudyLake
from dagster_beiwe.lake.keys import key_path, open_authenticator
from dagster_beiwe.lake.manifest import Authenticator, Manifest
from dagster_beiwe.lake.protect import look_for_exposures
from dagster_beiwe.lake.purge import purge_participant
from dagster_beiwe.lake.repair import repair_study
from dagster_beiwe.lake.storage import LARGEST_DOCUMENT_BYTES, LocalStorage
from dagster_beiwe.lake.verify import verify_study

DIGEST = Authenticator(None)
FOLDER = f"{STUDY}/{PERSON}"
OUTWARDS = "../../../outside/victim.txt"

Document = dict[str, Any]
Kinds = dict[str, tuple[str, Callable[[LocalStorage], object]]]


@pytest.fixture
def lake(folder: Path) -> StudyLake:
    """A lake that anybody who can write to it can forge documents for."""
    return BeiweLake(folder).study(STUDY, passphrase=None, cipher=None)


@pytest.fixture
def victim(folder: Path) -> Path:
    """A file beside the lake."""
    path = folder.parent / "outside" / "victim.txt"
    path.parent.mkdir()
    path.write_text("mine")
    return path


def plant(folder: Path, path: str, purpose: str, document: Document) -> None:
    place = folder / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(DIGEST.seal(purpose, document))


def manifest_path() -> str:
    return f"{FOLDER}/.beiwe/{week().key}.json"


def pending_of(manifest: Manifest) -> Document:
    document = replace(manifest, generation=2, previous_mac=manifest.mac, mac="").to_document()
    return {"manifest": document, "moves": [], "removals": []}


def set_moves_out(document: Document) -> None:
    document["moves"] = [[document["manifest"]["files"][0]["path"], OUTWARDS]]


def set_moves_in(document: Document) -> None:
    document["moves"] = [[OUTWARDS, "gps/mine.csv"]]


def set_removals(document: Document) -> None:
    document["removals"] = [OUTWARDS]


def set_removals_of_manifests(document: Document) -> None:
    document["removals"] = [".beiwe/2026-02-23.json"]


def set_path(document: Document) -> None:
    document["manifest"]["files"][0]["path"] = OUTWARDS


def set_window(document: Document) -> None:
    document["manifest"]["window"] = "../../../outside/victim"


@pytest.mark.parametrize(
    "forge", [set_moves_out, set_moves_in, set_removals, set_removals_of_manifests, set_path, set_window]
)
def test_a_forged_commit_touches_nothing_outside(
    client: BeiweClient, lake: StudyLake, folder: Path, victim: Path, forge: Callable[[Document], None]
) -> None:
    """A planted record of a commit that would remove, move or replace files elsewhere is refused as it is read."""
    document = pending_of(commit(lake, {1: b"first"}))
    forge(document)
    plant(folder, f"{FOLDER}/.beiwe/{week().key}.pending", "pending commit", document)
    before = tree(folder.parent)
    with pytest.raises(IntegrityError):
        sync(client, lake, cells_of(PERSON))
    with pytest.raises(IntegrityError), lake.writer(run_id="r") as writer:
        writer._finish_pending(PERSON, week().key)
    after = {name: data for name, data in tree(folder.parent).items() if not name.endswith("participants.roll")}
    assert after == {name: data for name, data in before.items() if not name.endswith("participants.roll")}


@pytest.mark.parametrize("field", ["path", "member"])
@pytest.mark.parametrize(
    "value", [OUTWARDS, "/etc/hostname", "gps/../x", "gps//x", ".beiwe/x", "gps\\x", "gps/x\n", ""]
)
def test_a_forged_manifest_leads_nowhere(lake: StudyLake, folder: Path, victim: Path, field: str, value: str) -> None:
    """Neither what is read nor what is exported can be named outside the participant's folder."""
    document = json.loads(json.dumps(commit(lake, {1: b"first"}).to_document()))
    document["files"][0][field] = value
    plant(folder, manifest_path(), "manifest", document)
    with pytest.raises(IntegrityError):
        lake.manifest(PERSON, week())
    assert {finding.kind for finding in verify_study(lake).findings} >= {"manifest changed"}


def test_the_storage_itself_refuses_to_leave_the_lake(lake: StudyLake, folder: Path, victim: Path) -> None:
    """Whatever a document said, and whoever asked."""
    storage = lake.storage
    storage.write("here", b"x")
    attempts: list[Callable[[], object]] = [
        lambda: storage.read("../outside/victim.txt"),
        lambda: storage.open("../outside/victim.txt"),
        lambda: storage.exists("a/../../outside/victim.txt"),
        lambda: storage.delete("../outside/victim.txt"),
        lambda: storage.move("../outside/victim.txt", "stolen"),
        lambda: storage.move("here", "../outside/victim.txt"),
        lambda: storage.write("../outside/victim.txt", b"x"),
        lambda: storage.write(str(victim), b"x"),
        lambda: storage.create("../outside/new"),
        lambda: storage.delete_folder("../outside"),
        lambda: storage.list("../outside"),
        lambda: list(storage.walk("../outside")),
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


def example(folder: Path) -> Kinds:
    """{path: (purpose, reader)} of each kind of document, in a lake that holds one of each."""
    lake = BeiweLake(folder).study(STUDY, passphrase=None, cipher=None)
    commit(lake, {1: b"first", 2: b"second"}, holes=())
    manifest = commit(lake, {1: b"restated"})
    pending = f"{FOLDER}/.beiwe/{week().key}.pending"
    document = pending_of(manifest)
    document.update(moves=[["gps/.a.part", "gps/a.csv"]], removals=["gps/b.csv"])
    plant(folder, pending, "pending commit", json.loads(json.dumps(document)))

    def read_manifest(storage: LocalStorage) -> object:
        found = DIGEST.unseal_manifest(storage.read(manifest_path()), name="m")
        return found.span, found.data_version, [record.moment - START for record in found.files]

    return {
        manifest_path(): ("manifest", read_manifest),
        pending: ("pending commit", lambda storage: read_pending(storage, DIGEST, FOLDER, week().key)),
        index_path(STUDY, PERSON): ("window index", lambda storage: read_index(storage, DIGEST, STUDY, PERSON)),
        roll_path(STUDY): ("roll of participants", lambda storage: read_roll(storage, DIGEST, STUDY)),
        key_path(STUDY): ("study key file", lambda storage: open_authenticator(storage, STUDY, None, create=False)),
    }


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Kinds]:
    folder = tmp_path_factory.mktemp("forgery")
    return folder, example(folder)


@settings(max_examples=400)
@given(data=st.data())
def test_well_sealed_documents_with_other_fields_are_refused_by_name(
    documents: tuple[Path, Kinds], data: st.DataObject
) -> None:
    """Each kind of document, anything in any place of it, sealed rightly: what is read is usable, or refused."""
    folder, kinds = documents
    path = data.draw(st.sampled_from(sorted(kinds)))
    purpose, read = kinds[path]
    whole = (folder / path).read_bytes()
    document = copy.deepcopy(json.loads(whole))
    place = data.draw(st.sampled_from([each for each in places(document) if each != ("mac",)]))
    parent = document
    for key in place[:-1]:
        parent = parent[key]
    if data.draw(st.booleans()) and isinstance(parent, dict):
        del parent[place[-1]]
    else:
        parent[place[-1]] = data.draw(json_values)
    body = {key: value for key, value in document.items() if key != "mac"}
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":")).encode()
    try:
        (folder / path).write_bytes(json.dumps({**body, "mac": DIGEST.mac(purpose, canonical)}).encode())
        read(LocalStorage(folder))
    except BeiweError:
        pass
    finally:
        (folder / path).write_bytes(whole)


def test_a_document_beyond_all_measure_is_not_read(lake: StudyLake, folder: Path) -> None:
    """Its size is looked at first: a sparse file costs no disk to plant, and would cost memory to read."""
    commit(lake, {1: b"first"})
    with (folder / manifest_path()).open("r+b") as file:
        file.truncate(LARGEST_DOCUMENT_BYTES + 1)
    with pytest.raises(IntegrityError, match="at most"):
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
    found = verify_study(lake)
    assert "file changed" in {finding.kind for finding in found.findings}
    with pytest.raises(IntegrityError, match="no regular file"):
        lake.read(PERSON, commit(lake, {}).files[0])
    repair_study(lake, verify_study(lake).findings, run_id="repair")
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
    assert "file unlisted" in {finding.kind for finding in verify_study(lake).findings}
    before = tree(victim.parent)
    with pytest.raises(LakeError, match="a link"):
        commit(lake, {2: b"second"})
    purge_participant(lake, PERSON, run_id="purge")
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
def test_a_seal_nested_beyond_reason_does_not_end_the_look_for_exposures(lake: StudyLake, folder: Path) -> None:
    """It belongs to nobody who is known."""
    commit(lake, {1: b"first"})
    seal = folder / ".tables" / "deep.json"
    seal.parent.mkdir(mode=0o700)
    seal.write_bytes(b"[" * 100_000)
    seal.chmod(0o600)
    assert look_for_exposures(lake).protected


def test_keys_of_manifests_are_not_pickled() -> None:
    """Nor copied: they would be kept where nobody looks for them."""
    for act in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="holds a key"):
            act(Authenticator(b"k" * 32))
