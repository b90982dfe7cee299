"""A lake that was tampered with is not built upon, and can be brought back to what the server has."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from core_helpers import PASSPHRASE, PERSON, STUDY, cells_of, check_lake, commit, sync, week
from damage import flip

from dagster_beiwe.client import BeiweClient
from dagster_beiwe.errors import IntegrityError
from dagster_beiwe.lake import BeiweLake, StudyLake
from dagster_beiwe.lake.snapshots import create_snapshot, delete_snapshot
from dagster_beiwe.maintenance.purge import purge_participant
from dagster_beiwe.maintenance.repair import Repaired, repair_study
from dagster_beiwe.maintenance.verify import Finding, verify_study
from dagster_beiwe.progress import Progress
from dagster_beiwe.simulator import SimulatedServer

Hurt = Callable[[Path], object]


def manifest_of(study: Path) -> Path:
    return max((study / PERSON / ".beiwe").glob("*.json.zst"))


HURTS: dict[str, tuple[Hurt, set[str]]] = {
    "manifest removed": (lambda study: manifest_of(study).unlink(), {"manifest missing"}),
    "manifest emptied": (lambda study: manifest_of(study).write_bytes(b""), {"manifest changed"}),
    "file removed": (lambda study: min((study / PERSON / "gps").iterdir()).unlink(), {"file missing"}),
    "file changed": (lambda study: flip(min((study / PERSON / "gps").iterdir())), {"file changed"}),
    "token removed": (lambda study: (study / PERSON / ".beiwe/token-0").unlink(), {"participant missing"}),
    "token changed": (
        lambda study: flip(study / PERSON / ".beiwe/token-0"), {"participant missing", "token changed"}
    ),
    "participant removed": (lambda study: shutil.rmtree(study / PERSON), {"participant missing"}),
    "garbage after the log": (
        lambda study: (study / ".beiwe/log/000000/000" ).with_name(
            f"{len(list((study / '.beiwe/log/000000').iterdir())):03}").write_bytes(b"x"), {"log damaged"}
    ),
}  # fmt: skip
"""What may happen to a participant's folder or to the log, and how it is called."""


def kinds(lake: StudyLake) -> set[str]:
    return {finding.kind for finding in verify_study(lake).findings}


@pytest.mark.parametrize("hurt", HURTS)
def test_a_repair_and_a_run_bring_the_lake_back(
    server: SimulatedServer, client: BeiweClient, lake: StudyLake, folder: Path, hurt: str
) -> None:
    """Each damage is found; after the repair and a run the lake is intact and whole."""
    sync(client, lake, cells_of(PERSON))
    whole = {record.key for manifest in lake.manifests(PERSON) for record in manifest.files}
    act, expected = HURTS[hurt]
    act(folder / STUDY)
    found = verify_study(lake)
    assert {finding.kind for finding in found.findings} == expected
    repair_study(lake, found.findings, run_id="repair")
    assert verify_study(lake).findings == []
    lake = BeiweLake(folder).study(STUDY, passphrase=PASSPHRASE)
    sync(client, lake, cells_of(PERSON))
    assert verify_study(lake).findings == []
    assert {record.key for manifest in lake.manifests(PERSON) for record in manifest.files} == whole


def test_a_token_that_was_lost_is_told_by_the_manifests(lake: StudyLake, folder: Path) -> None:
    """Nothing has to be fetched again: the log proves the manifests, and they say whose they are."""
    manifest = commit(lake, {1: b"first"})
    (folder / STUDY / PERSON / ".beiwe/token-0").unlink()
    assert repair_study(lake, verify_study(lake).findings, run_id="repair") == Repaired()
    assert BeiweLake(folder).study(STUDY, passphrase=PASSPHRASE).manifest(PERSON, week()) == manifest


def test_one_damaged_manifest_stops_nobody_else(lake: StudyLake, folder: Path) -> None:
    """Whoever reads or writes other windows and participants is not told of it."""
    commit(lake, {1: b"first"})
    commit(lake, {1: b"hers"}, participant="p2person")
    manifest_of(folder / STUDY).write_bytes(b"")
    with pytest.raises(IntegrityError):
        lake.manifest(PERSON, week())
    with pytest.raises(IntegrityError):
        commit(lake, {2: b"second"})
    commit(lake, {2: b"hers too"}, participant="p2person")
    assert len(lake.index("p2person")) == 1
    assert lake.participants() == [PERSON, "p2person"]


def test_a_damaged_log_stops_the_study(lake: StudyLake, folder: Path) -> None:
    """A record that is missing is found wherever it was, and nothing is written over it."""
    for hour in range(3):
        commit(lake, {hour: b"%d" % hour})
    (folder / STUDY / ".beiwe/log/000000/002").unlink()
    found = verify_study(lake).findings
    assert [finding.kind for finding in found] == ["log damaged"]
    assert "002" in found[0].detail
    fresh = BeiweLake(folder).study(STUDY, passphrase=PASSPHRASE)
    with pytest.raises(IntegrityError, match="002"):
        commit(fresh, {4: b"4"})
    with pytest.raises(IntegrityError, match="002"):
        repair_study(fresh, found, run_id="repair")
    assert (folder / STUDY / ".beiwe/log/000000/003").exists()


@pytest.mark.parametrize("kind", ["empty", "full"])
@pytest.mark.parametrize(
    "place",
    [
        ".beiwe/log/000000/003",
        ".beiwe/log/000009/000",
        ".beiwe/checkpoints/1/000000000002-01234567",
        ".beiwe/checkpoints/1/000000000002-01234567.people",
        ".beiwe/packs/000000",
        f"{PERSON}/.beiwe/token-0",
    ],
)
def test_a_folder_in_the_place_of_a_document_is_taken_out(lake: StudyLake, folder: Path, place: str, kind: str) -> None:
    """Nothing that the lake makes has a folder there, so neither a repair nor a withdrawal stops at it."""
    commit(lake, {1: b"first"})
    commit(lake, {1: b"hers"}, participant="p2person")
    taken = folder / STUDY / place
    taken.unlink(missing_ok=True)
    taken.mkdir(parents=True)
    if kind == "full":
        (taken / "x").write_bytes(b"")
    fresh = BeiweLake(folder).study(STUDY, passphrase=PASSPHRASE)
    repair_study(fresh, verify_study(fresh).findings, run_id="repair")
    fresh = BeiweLake(folder).study(STUDY, passphrase=PASSPHRASE)
    assert verify_study(fresh).findings == []
    assert fresh.participants() == [PERSON, "p2person"]
    if "checkpoints" in place:
        taken.mkdir(parents=True, exist_ok=True)
        assert purge_participant(fresh, PERSON, run_id="purge").certain
        assert not taken.exists()


@pytest.mark.parametrize("number", [0, 2, 3])
@pytest.mark.parametrize("hurt", ["removed", "rotten", "emptied"])
def test_a_record_comes_back_from_the_witness(folder: Path, tmp_path: Path, number: int, hurt: str) -> None:
    """The first one, one in the middle, and the last one, which would otherwise be gone unnoticed."""
    lake = BeiweLake(folder, witness=tmp_path / "witness").study(STUDY, passphrase=PASSPHRASE)
    for hour in range(3):
        commit(lake, {hour: b"%d" % hour})
    record = folder / STUDY / f".beiwe/log/000000/{number:03}"
    whole = record.read_bytes()
    acts: dict[str, Callable[[], object]] = {
        "removed": record.unlink, "rotten": lambda: flip(record), "emptied": lambda: record.write_bytes(b"")
    }  # fmt: skip
    acts[hurt]()
    found = verify_study(lake).findings
    assert [finding.kind for finding in found] == ["log damaged"]
    repair_study(lake, found, run_id="repair")
    assert record.read_bytes() == whole
    assert verify_study(lake).findings == []


def test_a_version_of_the_past_that_was_damaged_is_told_and_given_up(lake: StudyLake, folder: Path) -> None:
    """The newest one is not touched by that."""
    commit(lake, {1: b"first"})
    manifest = commit(lake, {1: b"second"})
    first = min((folder / STUDY / PERSON / "gps").iterdir(), key=lambda path: "~" in path.name)
    first.write_bytes(b"")
    found = verify_study(lake)
    assert [finding.kind for finding in found.findings] == ["past version damaged"]
    assert found.partitions == []
    repair_study(lake, found.findings, run_id="repair")
    assert verify_study(lake).findings == []
    assert lake.manifest(PERSON, week()) == manifest


@pytest.mark.parametrize("hurt", ["file", "manifest", "missing file"])
def test_what_a_snapshot_keeps_is_not_given_up(lake: StudyLake, folder: Path, hurt: str) -> None:
    """The whole files of a damaged version stay readable, and what a backup has of the others can be put back."""
    commit(lake, {1: b"first", 2: b"second"})
    create_snapshot(lake, "paper", run_id="paper")
    whole = {path: path.read_bytes() for path in (folder / STUDY / PERSON).rglob("*") if path.is_file()}
    victim = manifest_of(folder / STUDY) if hurt == "manifest" else min((folder / STUDY / PERSON / "gps").iterdir())
    victim.unlink() if hurt == "missing file" else flip(victim)
    repaired = repair_study(lake, verify_study(lake).findings, run_id="repair")
    assert repaired == Repaired(partitions=[f"{PERSON}|{week().key}"], snapshots=["paper"])
    lake = BeiweLake(folder).study(STUDY, passphrase=PASSPHRASE)
    commit(lake, {1: b"first", 2: b"second"})
    assert [each.kind for each in verify_study(lake).findings] == ["past version damaged"]
    if hurt != "manifest":
        past = lake.at("paper")
        (manifest,) = past.manifests(PERSON)
        assert past.read(PERSON, manifest.files[1]) == b"second"
        with pytest.raises(IntegrityError):
            past.read(PERSON, manifest.files[0])
    victim.write_bytes(whole[victim])
    assert verify_study(lake).intact, "nothing new has the name of what a backup puts back"
    assert [past.read(PERSON, each) for past in [lake.at("paper")] for each in next(past.manifests(PERSON)).files] == [
        b"first", b"second",
    ]  # fmt: skip


def test_a_damaged_token_is_a_finding_of_its_participant(lake: StudyLake, folder: Path) -> None:
    """The log is whole, also if only that participant is verified."""
    commit(lake, {1: b"first"})
    flip(folder / STUDY / PERSON / ".beiwe/token-0")
    found = verify_study(lake, participants=[PERSON])
    assert found.head is not None
    assert {finding.kind for finding in found.findings} == {"token changed"}


def test_damage_goes_with_the_snapshot_that_keeps_it(lake: StudyLake, folder: Path) -> None:
    """Once the snapshot is removed, a repair takes out the rest."""
    commit(lake, {1: b"first"})
    create_snapshot(lake, "paper", run_id="paper")
    flip(min((folder / STUDY / PERSON / "gps").iterdir()))
    repair_study(lake, verify_study(lake).findings, run_id="repair")
    assert verify_study(lake, as_of="paper").findings
    delete_snapshot(lake, "paper", run_id="paper")
    assert repair_study(lake, verify_study(lake).findings, run_id="repair") == Repaired()
    assert verify_study(lake).intact


def test_what_is_committed_while_the_lake_is_verified_is_no_finding(lake: StudyLake, folder: Path) -> None:
    """A file that a run adds to a window that was already looked at is accounted for."""
    commit(lake, {1: b"first"})
    seen: list[int] = []

    class Meanwhile(Progress):
        def advance(self, number: int = 1, size_bytes: int = 0) -> None:
            if not seen:
                seen.append(number)
                commit(BeiweLake(folder).study(STUDY, passphrase=PASSPHRASE), {2: b"second"})

    assert verify_study(lake, progress=Meanwhile()).findings == []
    assert seen == [1]
    check_lake(folder, lake)


def test_what_was_committed_since_it_was_found_is_not_taken_out(lake: StudyLake, folder: Path) -> None:
    """Findings that are no longer so: the file is listed now, or is what the newest manifest says."""
    manifest = commit(lake, {1: b"first", 2: b"second"})
    one, other = (record.path for record in manifest.files)
    outdated = [
        Finding(kind="file unaccounted for", participant=PERSON, path=one),
        Finding(kind="file changed", participant=PERSON, window=manifest.window, path=other),
        Finding(kind="file missing", participant=PERSON, window=manifest.window, path=one),
        Finding(kind="manifest changed", participant=PERSON, window=manifest.window),
    ]
    repair_study(lake, outdated, run_id="repair")
    assert lake.manifest(PERSON, manifest.window) == manifest
    check_lake(folder, lake)


def test_a_repair_beside_a_run_keeps_what_the_run_commits(lake: StudyLake, folder: Path) -> None:
    """Verified and repaired over and over while another thread commits: every committed file is there."""
    writer = threading.Thread(target=lambda: [commit(lake, {hour: b"%d" % hour}) for hour in range(1, 13)])
    commit(lake, {0: b"0"})
    writer.start()
    while writer.is_alive():
        reader = BeiweLake(folder).study(STUDY, passphrase=PASSPHRASE)
        repair_study(reader, verify_study(reader).findings, run_id="repair")
    writer.join()
    manifest = lake.manifest(PERSON, week())
    assert manifest is not None
    assert [lake.read(PERSON, record) for record in manifest.files] == [b"%d" % hour for hour in range(13)]
    check_lake(folder, lake)
