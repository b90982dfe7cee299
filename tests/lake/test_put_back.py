"""Whatever is put back, cut off or swapped is noticed by the next reader, run and `verify`; the table of what is not.

``docs/security.md`` has that table: each of its lines is a test here.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from core_helpers import PASSPHRASE, PERSON, STUDY, commit, week
from damage import flip

from dagster_beiwe.errors import BeiweError, IntegrityError
from dagster_beiwe.lake import BeiweLake, StudyLake
from dagster_beiwe.lake.catalog.opening import Seen
from dagster_beiwe.lake.layout import LogLayout
from dagster_beiwe.lake.writer import LakeWriter
from dagster_beiwe.maintenance.exposure import find_exposures
from dagster_beiwe.maintenance.repair import repair_study
from dagster_beiwe.maintenance.verify import verify_study

OTHER = "p2person"
LAYOUT = LogLayout(STUDY)


@pytest.fixture
def witness(tmp_path: Path) -> Path:
    return tmp_path / "witness"


def opened(folder: Path, witness: Path | None = None) -> StudyLake:
    """The study as a new process opens it."""
    return BeiweLake(folder, witness=witness).study(STUDY, passphrase=PASSPHRASE)


def history(folder: Path, witness: Path | None = None) -> tuple[StudyLake, list[Path], list[Seen]]:
    """Four runs: of two participants one commit, then three of the first; copies of the lake and heads after each."""
    lake = opened(folder, witness)
    copies, heads = [], []
    for number in range(4):
        commit(lake, {1: b"version %d" % number}, participant=PERSON if number else OTHER)
        copies.append(folder.parent / f"copy-{number}")
        shutil.copytree(folder, copies[-1])
        seen = lake.log.seen()
        assert seen
        heads.append(seen)
    return lake, copies, heads


def lay_back(folder: Path, copy: Path, below: str = STUDY) -> None:
    """Put a folder or file of the lake back to what it was."""
    for place, back in ((folder / below, copy / below),):
        if place.is_dir():
            shutil.rmtree(place)
        else:
            place.unlink(missing_ok=True)
        if back.is_dir():
            shutil.copytree(back, place)
        elif back.exists():
            place.write_bytes(back.read_bytes())


def record(folder: Path, number: int) -> Path:
    return folder / LAYOUT.record(number)


def read_both(lake: StudyLake, remembered: list[Seen]) -> None:
    lake.log.check(remembered)
    for participant in (PERSON, OTHER):
        assert lake.manifest(participant, week())


def run_of(lake: StudyLake, remembered: list[Seen]) -> None:
    """As a run of Dagster does: it asks whether all is there that was seen, and then commits."""
    lake.log.check(remembered)
    commit(lake, {2: b"more"})


def is_noticed(folder: Path, *, remembered: list[Seen] = [], witness: Path | None = None) -> bool:  # noqa: B006
    """Whether `verify` tells, and then also a reader and a run, which writes nothing."""
    found = verify_study(opened(folder, witness), remembered=remembered)
    if found.intact:
        return False
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(IntegrityError):
        read_both(opened(folder, witness), remembered)
    lake = opened(folder, witness)
    with pytest.raises(IntegrityError):
        run_of(lake, remembered)
    with pytest.raises(IntegrityError):
        commit(lake, {2: b"more"})
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    return True


def newest_manifest(folder: Path) -> Path:
    return max((folder / STUDY / PERSON / ".beiwe").glob("*.json.zst"), key=lambda path: path.name)


ATTACKS: dict[str, Callable[[Path, list[Path]], object]] = {
    "an older manifest in the place of the newest": lambda folder, copies: newest_manifest(folder).write_bytes(
        newest_manifest(copies[1]).read_bytes()
    ),
    "a participant put back by one run": lambda folder, copies: lay_back(folder, copies[2], f"{STUDY}/{PERSON}"),
    "a participant put back by two runs": lambda folder, copies: lay_back(folder, copies[1], f"{STUDY}/{PERSON}"),
    "a participant removed": lambda folder, _copies: shutil.rmtree(folder / STUDY / PERSON),
    "an older record in the place of the newest": lambda folder, _copies: record(folder, 4).write_bytes(
        record(folder, 2).read_bytes()
    ),
    "an older record appended": lambda folder, _copies: record(folder, 5).write_bytes(record(folder, 4).read_bytes()),
    "a record removed in the middle": lambda folder, _copies: record(folder, 2).unlink(),
    "the first record removed": lambda folder, _copies: record(folder, 0).unlink(),
    "tokens swapped between participants": lambda folder, _copies: swap(
        folder / STUDY / PERSON / ".beiwe/token-0", folder / STUDY / OTHER / ".beiwe/token-0"
    ),
    "folders of participants swapped": lambda folder, _copies: swap(folder / STUDY / PERSON, folder / STUDY / OTHER),
}  # fmt: skip


def swap(one: Path, other: Path) -> None:
    aside = one.with_name("aside")
    one.rename(aside)
    other.rename(one)
    aside.rename(other)


@pytest.mark.parametrize("attack", ATTACKS)
def test_what_is_put_back_is_noticed_by_the_lake_alone(folder: Path, attack: str) -> None:
    """Nobody has to remember anything."""
    _, copies, _ = history(folder)
    ATTACKS[attack](folder, copies)
    assert is_noticed(folder)


@pytest.mark.parametrize("runs", [1, 2, 3])
@pytest.mark.parametrize("memory", ["nobody", "Dagster", "witness"])
def test_a_tail_that_was_cut_is_noticed_by_who_remembers_it(
    folder: Path, witness: Path, runs: int, memory: str
) -> None:
    """The participant and the log's tail, put back together: all in the lake agrees with itself."""
    _, copies, heads = history(folder, witness if memory == "witness" else None)
    lay_back(folder, copies[3 - runs])
    remembered = [heads[-1]] if memory == "Dagster" else []
    noticed = is_noticed(folder, remembered=remembered, witness=witness if memory == "witness" else None)
    assert noticed is (memory != "nobody")


@pytest.mark.parametrize("memory", ["nobody", "Dagster", "witness"])
def test_a_lake_that_was_continued_from_a_copy_is_noticed_by_who_remembers(
    folder: Path, witness: Path, memory: str
) -> None:
    """Its newest record has a higher number than the one that was seen: that is no proof."""
    _, copies, heads = history(folder, witness if memory == "witness" else None)
    lay_back(folder, copies[1])
    continued = opened(folder)
    for number in range(4):
        commit(continued, {1: b"another version %d" % number})
    remembered = [heads[-1]] if memory == "Dagster" else []
    found = verify_study(opened(folder, witness if memory == "witness" else None), remembered=remembered)
    assert found.intact is (memory == "nobody")


@pytest.mark.parametrize("memory", ["nobody", "Dagster", "witness"])
@pytest.mark.parametrize("all_of_it", [True, False])
def test_a_study_that_was_removed_is_noticed_by_who_remembers(
    folder: Path, witness: Path, memory: str, all_of_it: bool
) -> None:
    """No run begins another log in its place. If only the log was removed the data that is left tells, too."""
    _, _, heads = history(folder, witness if memory == "witness" else None)
    shutil.rmtree(folder / STUDY if all_of_it else folder / STUDY / ".beiwe/log")
    remembered = [heads[-1]] if memory == "Dagster" else []
    noticed = is_noticed(folder, remembered=remembered, witness=witness if memory == "witness" else None)
    assert noticed is (memory != "nobody" or not all_of_it)


def test_who_has_just_committed_notices_another_log_too(folder: Path) -> None:
    """It is as long as the own one was. A commit on top of it would leave a chain that nothing can mend."""
    lake, copies, _ = history(folder)
    lay_back(folder, copies[2])
    commit(opened(folder), {1: b"another version"})
    with pytest.raises(IntegrityError, match="differs"):
        commit(lake, {2: b"more"})
    assert verify_study(opened(folder)).intact


def test_commits_since_the_last_event_are_not_missed(folder: Path) -> None:
    """A run that was killed told Dagster only of what it had done before."""
    _, copies, heads = history(folder)
    lay_back(folder, copies[2])
    assert not is_noticed(folder, remembered=[heads[2]])


def test_a_witness_is_told_what_it_has_missed(folder: Path, witness: Path) -> None:
    """It was away for two commits: only the tail that it never saw can be cut unnoticed."""
    lake = opened(folder, witness)
    commit(lake, {1: b"first"})
    shutil.copytree(folder, folder.parent / "older")
    seen = {path.name for path in witness.rglob("*-*")}
    commit(opened(folder), {1: b"second"})
    commit(opened(folder, witness), {1: b"third"})
    assert len({path.name for path in witness.rglob("*-*")}) == len(seen) + 2
    lay_back(folder, folder.parent / "older")
    assert is_noticed(folder, witness=witness)


def test_who_writes_to_all_memories_is_not_noticed(folder: Path, witness: Path) -> None:
    """Lake and witness put back together."""
    lake = opened(folder, witness)
    commit(lake, {1: b"first"})
    for place in (folder, witness):
        shutil.copytree(place, place.with_name(f"{place.name} older"))
    commit(lake, {1: b"second"})
    for place in (folder, witness):
        shutil.rmtree(place)
        place.with_name(f"{place.name} older").rename(place)
    assert not is_noticed(folder, witness=witness)


OLD_RECORDS: dict[str, Callable[[Path], object]] = {
    "removed": Path.unlink,
    "changed": flip,
    "exchanged for another": lambda path: path.write_bytes(path.with_name("003").read_bytes()),
    "changed, its time put back": lambda path: put_back_in_time(path, flip),
}


def put_back_in_time(path: Path, change: Callable[[Path], object]) -> None:
    before = path.stat()
    change(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("attack", OLD_RECORDS)
def test_a_record_that_a_checkpoint_stands_for_is_missed_too(folder: Path, attack: str) -> None:
    """It is not read to open the log, and what is read does not change; but no run builds upon that."""
    lake, _, _ = history(folder)
    keep_checkpoint(lake)
    OLD_RECORDS[attack](record(folder, 2))
    assert opened(folder).manifest(PERSON, week())
    assert not verify_study(opened(folder)).intact
    with pytest.raises(IntegrityError, match=r"002.*(verify|backup)"):
        commit(opened(folder), {2: b"more"})


def test_records_of_a_backup_that_was_laid_back_are_read_once(folder: Path) -> None:
    """All files have other times then, so a run reads them; the checkpoint that follows remembers that."""
    lake, _, _ = history(folder)
    keep_checkpoint(lake)
    shutil.copytree(folder, folder.parent / "backup")
    lay_back(folder, folder.parent / "backup")
    lake = opened(folder)
    commit(lake, {2: b"more"})
    keep_checkpoint(lake)
    flip(record(folder, 1))
    with pytest.raises(IntegrityError, match=r"001.*verify"):
        commit(opened(folder), {3: b"more"})


@pytest.mark.parametrize("attack", ["swapped", "changed", "removed"])
def test_tokens_that_a_checkpoint_stands_for_are_missed_too(folder: Path, attack: str) -> None:
    """A checkpoint says whose the data is, so it can be read. Nothing is committed of whose token is not whole."""
    lake, _, _ = history(folder)
    keep_checkpoint(lake)
    hers, his = (folder / STUDY / each / ".beiwe/token-0" for each in (PERSON, OTHER))
    attacks: dict[str, Callable[[], None]] = {
        "swapped": lambda: swap(hers, his),
        "changed": lambda: flip(hers),
        "removed": hers.unlink,
    }
    attacks[attack]()
    read_both(opened(folder), [])
    with LakeWriter(opened(folder), run_id="run") as writer:
        assert "--repair" in str(writer.plan(PERSON, [week()]).damaged[week().key])
        assert bool(writer.plan(OTHER, [week()]).damaged) is (attack == "swapped")
    with pytest.raises(IntegrityError, match="--repair"):
        commit(opened(folder), {2: b"more"})
    commit(opened(folder), {2: b"of somebody else"}, participant="p3person")
    found = verify_study(opened(folder)).findings
    assert {each.kind for each in found} & {"token changed", "participant missing"}
    repair_study(opened(folder), found, run_id="repair")
    commit(opened(folder), {2: b"more"})
    shutil.rmtree(folder / STUDY / ".beiwe/checkpoints")
    read_both(opened(folder), [])
    assert verify_study(opened(folder)).intact


def keep_checkpoint(lake: StudyLake) -> None:
    catalog = lake.catalog()
    assert catalog
    catalog.write_checkpoint()


@pytest.mark.parametrize("passphrase", [PASSPHRASE, None])
def test_a_forged_checkpoint_is_found(folder: Path, passphrase: str | None) -> None:
    """Without a passphrase anybody can make one that the log does not know: replaying the log tells."""
    lake = BeiweLake(folder).study(STUDY, passphrase=passphrase, cipher=None)
    commit(lake, {1: b"first"})
    commit(lake, {1: b"hers"}, participant=OTHER)
    catalog = lake.catalog()
    assert catalog
    state = catalog.state
    token = catalog.identities.token(next(iter(catalog.identities.subjects("", state.section(), state))), state)
    assert token
    state.section().remove(token)
    catalog.write_checkpoint()
    found = verify_study(BeiweLake(folder).study(STUDY, passphrase=passphrase, cipher=None))
    assert [finding.kind for finding in found.findings] == ["copy changed"]


def test_an_accepted_restore_is_no_attack(folder: Path, witness: Path) -> None:
    """The log notes what was given up; the same cut is noticed again if it is done once more."""
    _, copies, heads = history(folder, witness)
    lay_back(folder, copies[1])
    assert is_noticed(folder, remembered=heads[-1:], witness=witness)
    lost = opened(folder, witness).log.accept(heads[-1:], run_id="verify")
    assert len(lost) == 2
    lake = opened(folder, witness)
    assert verify_study(lake, remembered=heads[-1:]).intact
    shutil.copytree(folder, folder.parent / "accepted")
    commit(lake, {3: b"third"})
    assert verify_study(lake, remembered=heads[-1:]).intact
    lay_back(folder, folder.parent / "accepted")
    with pytest.raises(BeiweError):
        opened(folder, witness).catalog()


def test_ids_can_be_read_in_checkpoints(folder: Path) -> None:
    """As in the names of folders; records and the witness name nobody."""
    lake = opened(folder)
    commit(lake, {1: b"first"})
    catalog = lake.catalog()
    assert catalog
    catalog.write_checkpoint()
    inside = folder / STUDY / ".beiwe"
    assert any(PERSON.encode() in path.read_bytes() for path in (inside / "checkpoints/1").iterdir())
    assert not any(PERSON.encode() in path.read_bytes() for path in (inside / "log").rglob("*") if path.is_file())
    assert find_exposures(lake).protected
