"""A lake under a new passphrase: the same data with the same history, and nothing that the old passphrase opens."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from damage import flip
from filled_lake import PASSPHRASE, fill
from rekeyed import FRAME, NEW, all_files, at, contents, delete_upstream, history, log_of

from dagster_beiwe.cli import main
from dagster_beiwe.errors import CommitConflictError, IntegrityError, WrongPassphraseError
from dagster_beiwe.lake import BeiweLake, FileRecord, StudyLake
from dagster_beiwe.lake.catalog.past import take_out
from dagster_beiwe.lake.catalog.records import Place
from dagster_beiwe.lake.layout import Subject
from dagster_beiwe.lake.writer import LakeWriter
from dagster_beiwe.maintenance.rekey import rekey_study
from dagster_beiwe.maintenance.verify import verify_study
from dagster_beiwe.progress import Progress
from dagster_beiwe.simulator import SimulatedServer
from dagster_beiwe.tables.store import TableStore


def test_everything_comes_over_under_the_new_passphrase(
    lake: StudyLake, environment: Path, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Raw data, history and tables; the old passphrase is refused, and the old lake is as it was."""
    delete_upstream(lake)
    TableStore.of_study(lake).write(["lab", "daily"], FRAME, partition="anna1111|2026-03-02", run_id="run")
    TableStore.of_lake(lake.storage, passphrase=PASSPHRASE).write(["lab", "all"], FRAME)
    TableStore.of_nobody(lake.storage).write(["lab", "studies"], FRAME)
    before = all_files(environment)
    assert main(["rekey", "--to", str(place)]) == 0
    printed = capsys.readouterr().out
    assert "2 participants, 4 windows (4 copied: " in printed
    assert "1 table (1 copied), 0 snapshots." in printed
    assert "Tables of no study: 2 (2 copied)." in printed
    assert all_files(environment) == before
    new = at(place, lake.study_id)
    assert contents(new) == contents(lake)
    assert history(new) == history(lake)
    remembered = lake.log.seen()  # as Dagster does after each run
    assert remembered is not None
    assert new.log.check([remembered]) is not None
    old_table, new_table = (
        TableStore.of_study(each).opened(["lab", "daily"], partition="anna1111|2026-03-02") for each in (lake, new)
    )
    assert new_table.stored() == old_table.stored(), "its key is wrapped anew, and the file stays"
    assert (log_of(new).begin.former_lineage, log_of(new).begin.former) == (
        log_of(lake).begin.lineage, log_of(lake).state.head,
    )  # fmt: skip
    assert (new_table.manifest.written_at, new_table.manifest.run_id) == (old_table.manifest.written_at, "run")
    assert new_table.manifest.modular != old_table.manifest.modular
    shared = TableStore.of_lake(new.storage, passphrase=NEW)
    pd.testing.assert_frame_equal(shared.read(["lab", "all"]), FRAME)
    with pytest.raises(WrongPassphraseError):
        at(place, lake.study_id, PASSPHRASE).catalog()
    monkeypatch.setenv("BEIWE_LAKE", str(place))
    assert main(["verify"]) == 1
    monkeypatch.setenv("BEIWE_LAKE_PASSPHRASE", NEW)
    assert main(["verify"]) == 0


@pytest.mark.parametrize("last", [1, 5, 34, 63, 131, 134])
def test_a_call_that_was_killed_is_continued(lake: StudyLake, environment: Path, place: Path, last: int) -> None:
    """Wherever it died, the new lake is sound as far as it goes, holds no plain byte, and comes to the same end."""
    order = {
        "old": str(environment), "new": str(place), "study_id": lake.study_id, "passphrase": PASSPHRASE,
        "new_passphrase": NEW, "last": last,
    }  # fmt: skip
    TableStore.of_study(lake).write(["lab", "daily"], FRAME)
    script = Path(__file__).with_name("killed_rekey.py")
    killed = subprocess.run(
        [sys.executable, str(script)], input=json.dumps(order), text=True, cwd=Path(__file__).parents[2], check=False,
        env={"PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL
    plain = contents(lake)
    assert not [path for path in place.rglob("*") if path.is_file() and b"timestamp" in path.read_bytes()[:200]]
    done = contents(at(place, lake.study_id))
    assert done.items() <= plain.items()
    assert main(["rekey", "--to", str(place)]) == 0
    new = at(place, lake.study_id)
    assert contents(new) == plain
    assert history(new) == history(lake)
    assert verify_study(new).intact
    assert not list(place.rglob("*.part"))
    assert not list(place.rglob(".beiwe/runs/*"))


def test_a_second_call_copies_what_came_since(lake: StudyLake, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And nothing else."""
    assert main(["rekey", "--to", str(place)]) == 0
    assert main(["rekey", "--to", str(place)]) == 0
    assert "4 windows (0 copied: 0 files, 0 B)" in capsys.readouterr().out
    delete_upstream(lake)
    assert main(["rekey", "--to", str(place)]) == 0
    assert "4 windows (1 copied: 0 files, 0 B)" in capsys.readouterr().out
    assert history(at(place, lake.study_id)) == history(lake)


def test_a_lake_that_was_rolled_back_is_not_copied(lake: StudyLake, place: Path) -> None:
    """The new log would pass for one that has all that Dagster has seen of the old one."""
    seen = lake.log.seen()
    assert seen is not None
    with pytest.raises(IntegrityError, match="rolled back"):
        rekey_study(lake, at(place, lake.study_id), remembered=[seen._replace(number=1, digest="0" * 64)])
    assert not place.exists()


def test_runs_go_on_in_the_new_lake(lake: StudyLake, place: Path, server: SimulatedServer) -> None:
    """They find all files there, and fetch none of them again."""
    assert main(["rekey", "--to", str(place)]) == 0
    new = at(place, lake.study_id)
    fetched = [record.fetched_at for record in _records(new)]
    fill(server, new)
    assert [record.fetched_at for record in _records(new)] == fetched
    assert {record.run_id for record in _records(new)} == {"test"}
    assert verify_study(new).intact


def test_a_new_lake_that_is_in_use_is_not_put_back(
    lake: StudyLake, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A call with the two places as they were before the switch changes nothing."""
    assert main(["rekey", "--to", str(place)]) == 0
    new = at(place, lake.study_id)
    delete_upstream(new)
    before = history(new)
    assert main(["rekey", "--to", str(place)]) == 1
    assert "The new lake is in use already" in capsys.readouterr().err
    assert history(at(place, lake.study_id)) == before


def test_a_changed_lake_is_not_copied(
    lake: StudyLake, environment: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that was changed does not become good by copying it, nor is one left out that is missing."""
    manifest = next(lake.manifests("anna1111"))
    victim = environment / lake.folder("anna1111", manifest.files[0].path)
    flip(victim)
    assert main(["rekey", "--to", str(place)]) == 1
    assert "IntegrityError" in capsys.readouterr().err
    assert at(place, lake.study_id).manifest("anna1111", manifest.window) is None
    victim.unlink()
    shutil.rmtree(place)
    assert main(["rekey", "--to", str(place)]) == 1
    assert "file missing" in capsys.readouterr().err
    assert not place.exists()


def test_nothing_is_copied_while_a_run_writes(lake: StudyLake, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What it commits would be missed."""
    with LakeWriter(lake, run_id="run"):
        assert main(["rekey", "--to", str(place)]) == 1
    assert "A run is writing" in capsys.readouterr().err
    assert not place.exists()


def test_what_a_run_commits_meanwhile_is_not_missed(lake: StudyLake, environment: Path, place: Path) -> None:
    """The call ends with an error; the next one copies that, too."""
    writer, new = BeiweLake(environment).study(lake.study_id, passphrase=PASSPHRASE), at(place, lake.study_id)

    class Commit(Progress):
        windows = 0

        def advance(self, number: int = 1, size_bytes: int = 0) -> None:
            self.windows += number
            if self.windows == 1:
                delete_upstream(writer)

    with pytest.raises(CommitConflictError, match="A run has written to"):
        rekey_study(lake, new, progress=Commit())
    assert history(new) != history(lake)
    rekey_study(lake, new)
    assert history(new) == history(lake)


def test_another_new_passphrase_than_before_is_said_to_be_that(
    lake: StudyLake, place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The variable of today's passphrase is right, and so not named."""
    assert main(["rekey", "--to", str(place)]) == 0
    monkeypatch.setenv("BEIWE_LAKE_PASSPHRASE_NEW", "a third horse, a third battery")
    capsys.readouterr()
    assert main(["rekey", "--to", str(place)]) == 1
    said = capsys.readouterr().err
    assert "Set BEIWE_LAKE_PASSPHRASE_NEW to that one" in said
    assert "BEIWE_LAKE_PASSPHRASE " not in said


def test_counts_of_the_server_agree_in_the_new_lake(lake: StudyLake, place: Path) -> None:
    """A sensor finds nothing to do there: fingerprints are made with the same secret."""
    new = at(place, lake.study_id)
    rekey_study(lake, new)
    for participant in lake.participants():
        assert new.counts_secret(participant) == lake.counts_secret(participant) is not None
        old_index, new_index = lake.index(participant), new.index(participant)
        facts = [[(key, each.counts, each.complete) for key, each in index.items()] for index in (old_index, new_index)]
        assert facts[0] == facts[1]


def test_what_was_taken_out_is_not_in_the_new_lake(lake: StudyLake, place: Path) -> None:
    """Nor is a participant who was withdrawn."""
    new = at(place, lake.study_id)
    rekey_study(lake, new)
    catalog = log_of(lake)
    tokens = {each: catalog.identities.token(Subject(each), catalog.state) or "" for each in lake.participants()}
    (first, *others) = lake.windows("anna1111")
    take_out(catalog, [(Place(tokens["anna1111"], first), lake.index("anna1111")[first].at)], run_id="verify")
    rekey_study(lake, new)
    assert new.windows("anna1111") == others


def test_compression_and_locks_can_change_on_the_way(lake: StudyLake, environment: Path, place: Path) -> None:
    """Files that lie plain stay so unless asked otherwise; names follow what they are."""
    bare = BeiweLake(environment.parent / "bare").study(lake.study_id, passphrase=None, cipher=None)
    rekey_study(lake, bare, compression="none")
    assert {record.encryption for record in _records(bare)} == {"none"}
    assert {record.path for record in _records(bare)} == {record.member for record in _records(bare)}
    new = at(place, lake.study_id)
    rekey_study(bare, new)
    assert {record.encryption for record in _records(new)} == {"none"}
    rekey_study(bare, new, compression="zstd", encrypt_all=True)
    assert {record.path for record in _records(new)} == {f"{record.member}.zst.lock" for record in _records(new)}
    assert contents(new) == contents(lake)
    assert verify_study(new).intact


def test_damaged_tables_are_named_and_the_rest_is_copied(
    lake: StudyLake, environment: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """They can be materialised again."""
    for name in ("good", "bad"):
        TableStore.of_study(lake).write(["lab", name], FRAME)
    (bad,) = (environment / lake.study_id / ".tables" / "lab").glob("bad~*.parquet")
    bad.write_bytes(b"")
    assert main(["rekey", "--to", str(place)]) == 1
    assert f"Materialize these tables again: {lake.study_id}/.tables/lab/bad\n" in capsys.readouterr().out
    pd.testing.assert_frame_equal(TableStore.of_study(at(place, lake.study_id)).read(["lab", "good"]), FRAME)
    with pytest.raises(IntegrityError):
        TableStore.of_study(lake).read(["lab", "bad"])


@pytest.mark.parametrize(
    ("new", "to", "said"),
    [
        ("", "../new", "BEIWE_LAKE_PASSPHRASE_NEW is not set"),
        (PASSPHRASE, "../new", "is its current one"),
        (NEW, ".", "Choose a place beside it"),
        (NEW, "./below", "Choose a place beside it"),
        (NEW, "..", "Choose a place beside it"),
        (NEW, "s3://me:secret@bucket/lake", "The lake's URL contains credentials"),
    ],
)
def test_mistakes_are_told_before_anything_is_written(
    lake: StudyLake,
    environment: Path,
    place: Path,
    new: str,
    to: str,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In one line without any secret."""
    monkeypatch.setenv("BEIWE_LAKE_PASSPHRASE_NEW", new)
    monkeypatch.chdir(environment)
    before = sorted(environment.parent.rglob("*"))
    assert main(["rekey", "--to", to]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert "secret@" not in line
    assert sorted(environment.parent.rglob("*")) == before


def _records(lake: StudyLake) -> list[FileRecord]:
    return [record for name in lake.participants() for manifest in lake.manifests(name) for record in manifest.files]
