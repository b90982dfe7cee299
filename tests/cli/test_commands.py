"""What a data manager sees of the command line."""

from __future__ import annotations

import importlib
import io
import json
import logging
import os
import re
import stat
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import click
import pandas as pd
import pytest
from damage import flip
from filled_lake import END, PASSPHRASE, START, fill

from dagster_beiwe.cli import main, runs
from dagster_beiwe.cli.commands import COMMANDS
from dagster_beiwe.credentials import read_keyring, write_keyring
from dagster_beiwe.encryption import AgeCipher
from dagster_beiwe.errors import IntegrityError
from dagster_beiwe.lake import BeiweLake, StudyLake
from dagster_beiwe.lake.catalog.opening import Opening
from dagster_beiwe.lake.catalog.past import add_snapshot, take_out
from dagster_beiwe.lake.catalog.records import Place
from dagster_beiwe.lake.lake import open_storage
from dagster_beiwe.lake.layout import Subject
from dagster_beiwe.lake.storage.local import LocalStorage
from dagster_beiwe.simulator import SimulatedServer, StudyPlan, World
from dagster_beiwe.tables.store import TableStore


def stored_file(lake: StudyLake, root: Path) -> Path:
    """The first locked file of the lake."""
    manifest = next(lake.manifests("anna1111"))
    return root / lake.folder("anna1111", manifest.files[0].path)


def test_check_names_studies_and_counts_participants(
    environment: Path, study_id: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A researcher learns in one call whether the keys work, what they see, and that the lake can be written."""
    assert main(["check"]) == 0
    printed = capsys.readouterr().out
    assert f"{study_id}      2 participants  Sleep" in printed
    assert "the keys are accepted" in printed
    assert f"{environment}: not there yet. The first run makes it." in printed
    assert f"{study_id}  new study: there is nothing to compare the passphrase with" in printed
    assert not environment.exists()


def test_check_finds_a_wrong_passphrase_without_writing(
    lake: StudyLake, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A passphrase that differs from the lake's is told, with a status that a script notices."""
    monkeypatch.setenv("BEIWE_LAKE_PASSPHRASE", "another one")
    assert main(["check"]) == 1
    assert "The passphrase is not the one that study" in capsys.readouterr().out


def test_check_accepts_what_the_lake_was_written_with(lake: StudyLake, capsys: pytest.CaptureFixture[str]) -> None:
    """Only where there is something to compare the passphrase with is it called accepted; nothing is left behind."""
    before = sorted(lake.storage.scan(""))
    assert main(["check"]) == 0
    printed = capsys.readouterr().out
    assert "can be written" in printed
    assert f"{lake.study_id}  passphrase accepted" in printed
    assert sorted(lake.storage.scan("")) == before


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("BEIWE_LAKE_PASSPHRASE", "no passphrase: runs fail. Set BEIWE_LAKE_PASSPHRASE"),
        ("BEIWE_LAKE", "set BEIWE_LAKE"),
    ],
)
def test_check_tells_what_every_run_would_fail_for(
    environment: Path, name: str, remedy: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A check that passes is followed by a run that passes."""
    monkeypatch.delenv(name)
    assert main(["check"]) == 1
    assert remedy in capsys.readouterr().out


def test_check_accepts_a_study_that_was_written_without_passphrase(
    environment: Path, study_id: str, server: SimulatedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `encryption: none` leaves it."""
    fill(server, BeiweLake(environment).study(study_id, passphrase=None, cipher=None))
    monkeypatch.delenv("BEIWE_LAKE_PASSPHRASE")
    assert main(["check"]) == 0


def test_check_finds_a_lake_that_cannot_be_made(
    environment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file in the way."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("BEIWE_LAKE", str(tmp_path / "file" / "lake"))
    assert main(["check"]) == 1
    assert "It can't be made" in capsys.readouterr().out


def test_check_reads_the_witness(
    lake: StudyLake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A lake that lost what the witness has seen fails, as every run would; so does a place that is none."""
    monkeypatch.setenv("BEIWE_WITNESS", str(tmp_path / "witness"))
    assert main(["check"]) == 0
    assert "witness: can be read; studies in it: 0" in capsys.readouterr().out
    assert not (tmp_path / "witness").exists()
    log = Opening(lake.storage, lake.study_id, PASSPHRASE, witness=LocalStorage(tmp_path / "witness"))
    log.begun().prepare()  # as a run does before it writes
    assert main(["check"]) == 0
    assert "witness: can be read; studies in it: 1" in capsys.readouterr().out
    records = sorted((tmp_path / "lake" / lake.study_id / ".beiwe" / "log" / "000000").iterdir())
    records[-1].unlink()
    assert main(["check"]) == 1
    assert "was cut or put back" in capsys.readouterr().out
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("BEIWE_WITNESS", str(tmp_path / "file" / "witness"))
    assert main(["check"]) == 1
    assert "\nWitness     " in (out := capsys.readouterr().out)
    assert "Not a directory" in out


def test_wrong_keys_end_in_one_clear_line(
    environment: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No traceback, and no key in the message."""
    monkeypatch.setenv("BEIWE_SECRET_KEY", "A" * 64)
    assert main(["check"]) == 1
    message = capsys.readouterr().err
    assert message.startswith("AccessDeniedError: ")
    assert "A" * 64 not in message


def test_missing_variables_are_a_usage_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing configured: exit status 2 and the names of what to set."""
    for name in ("BEIWE_URL", "BEIWE_ACCESS_KEY", "BEIWE_SECRET_KEY", "BEIWE_KEYRING_SECTION"):
        monkeypatch.delenv(name, raising=False)
    assert main(["check"]) == 2
    assert "BEIWE_ACCESS_KEY" in capsys.readouterr().err


def test_verify_passes_an_untouched_lake(lake: StudyLake, capsys: pytest.CaptureFixture[str]) -> None:
    """Everything is read, nothing is found."""
    assert main(["verify"]) == 0
    assert "Sleep" in (printed := capsys.readouterr().out)
    assert "intact; 2 participants, 4 windows" in printed


def test_names_of_studies_can_not_draw_on_the_terminal(
    lake: StudyLake, server: SimulatedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """A name with escapes and line breaks can fake no line of ours."""
    server.world.rename_study(lake.study_id, "Sleep\x1b[2J\n\rLake        all is well")
    try:
        for command in (["check"], ["verify"], ["verify", "--study", "nothing"], ["purge", "--study", "Sl"]):
            main([*command, *(["--participant", "nobody", "--yes"] if command[0] == "purge" else [])])
    finally:
        server.world.rename_study(lake.study_id, "Sleep")
    printed = "".join(capsys.readouterr())
    assert "all is well" in printed
    assert "\x1b" not in printed
    assert "\r" not in printed
    assert "\nLake        all is well" not in printed


def test_verify_finds_a_flipped_bit_and_repairs_it(
    lake: StudyLake, environment: Path, server: SimulatedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """The damaged file is named with the partition to run; after a repair and a run all is intact again."""
    victim = stored_file(lake, environment)
    flip(victim)
    assert main(["verify", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["partitions"] == ["anna1111|2026-03-02"]
    assert found["findings"][0].startswith("file changed: anna1111/2026-03-02/")
    assert main(["verify", "--repair", "--yes"]) == 1
    assert "Materialize these partitions of raw_data again: anna1111|2026-03-02" in capsys.readouterr().out
    fill(server, lake)
    assert main(["verify"]) == 0


def test_verify_finds_a_changed_table(lake: StudyLake, environment: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Tables of the study are checked too: one cut short, one swapped with another."""
    store = TableStore.of_study(lake)
    for name in ("one", "two", "three"):
        store.write(["lab", name], pd.DataFrame({"days": [len(name)]}))
    assert main(["verify"]) == 0
    tables = environment / lake.study_id / ".tables" / "lab"
    files = {name: next(tables.glob(f"{name}~*.parquet.lock")) for name in ("one", "two", "three")}
    files["one"].write_bytes(files["one"].read_bytes()[:-1])
    files["two"].write_bytes(files["three"].read_bytes())
    capsys.readouterr()
    assert main(["verify", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)["findings"]
    expected = [f"table changed: {files[name].relative_to(environment)}" for name in ("one", "two")]
    assert sorted(found) == sorted(expected)
    assert main(["verify", "--repair", "--yes"]) == 1
    assert main(["verify"]) == 0
    assert [store.exists(["lab", name]) for name in files] == [False, False, True]


def lake_table(environment: Path, passphrase: str | None) -> Path:
    """A table of no study, and where it lies."""
    storage = open_storage(environment)
    name = "locked" if passphrase else "plain"
    store = TableStore.of_lake(storage, passphrase=passphrase) if passphrase else TableStore.of_nobody(storage)
    store.write(["lab", name], pd.DataFrame({"days": [1]}))
    return next(environment.glob(f".*/.tables/lab/{name}~*.parquet*"))


@pytest.mark.parametrize("damage", ["removed", "put back", "emptied"])
def test_verify_finds_a_table_without_its_manifest(
    lake: StudyLake, environment: Path, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    """Also one that was put back together with the older table."""
    store = TableStore.of_study(lake)
    store.write(["lab", "one"], pd.DataFrame({"days": [1]}))
    older = {path: path.read_bytes() for path in (environment / lake.study_id / ".tables").rglob("one~*")}
    store.write(["lab", "one"], pd.DataFrame({"days": [2]}))
    assert main(["verify"]) == 0
    newer = [path for path in (environment / lake.study_id / ".tables").rglob("one~*") if path not in older]
    for path in newer:
        if damage == "put back":
            path.write_bytes(next(data for each, data in older.items() if each.suffix == path.suffix))
        elif path.suffix == ".zst":
            path.unlink() if damage == "removed" else path.write_bytes(b"")
    capsys.readouterr()
    assert main(["verify", "--json"]) == 1
    (found,) = json.loads(capsys.readouterr().out)["findings"]
    assert found.startswith("table changed: ")
    with pytest.raises(IntegrityError):
        TableStore.of_study(BeiweLake(environment).study(lake.study_id, passphrase=PASSPHRASE)).read(["lab", "one"])


@pytest.mark.parametrize("locked", [True, False])
def test_verify_looks_at_tables_of_no_study(
    lake: StudyLake,
    environment: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    locked: bool,
) -> None:
    """A flipped bit is found; what can't be looked at without a passphrase is said."""
    path = lake_table(environment, os.environ["BEIWE_LAKE_PASSPHRASE"] if locked else None)
    assert main(["verify"]) == 0
    flip(path)
    assert main(["verify"]) == 1
    assert f"table changed: {path.relative_to(environment)}" in capsys.readouterr().out


def test_verify_says_which_tables_it_can_not_look_at(
    server: SimulatedServer,
    study_id: str,
    environment: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Those of no study are locked with the lake's passphrase, which a study that is not locked does not need."""
    lake_table(environment, os.environ["BEIWE_LAKE_PASSPHRASE"])
    fill(server, BeiweLake(environment).study(study_id, passphrase=None, cipher=None), ["anna1111"])
    monkeypatch.delenv("BEIWE_LAKE_PASSPHRASE")
    assert main(["verify"]) == 0
    assert "Not looked at: tables of no study, because BEIWE_LAKE_PASSPHRASE is not set" in capsys.readouterr().err


def test_verify_does_not_repair_unasked(lake: StudyLake, environment: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where nobody can answer, only --yes confirms."""
    stored_file(lake, environment).unlink()
    assert main(["verify", "--repair"]) == 2
    assert "--yes" in capsys.readouterr().err


def test_verify_works_while_the_server_is_down(
    lake: StudyLake, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The lake can be checked by study id when nobody answers; the id, which is all that is known, is shown once."""
    monkeypatch.setenv("BEIWE_URL", "http://127.0.0.1:9")
    assert main(["verify", "--study", lake.study_id]) == 0
    assert capsys.readouterr().out.startswith(f"{lake.study_id}: intact")


def test_export_writes_beiwes_own_tree(lake: StudyLake, tmp_path: Path, server: SimulatedServer) -> None:
    """Names and bytes are those of the server; files and folders are closed to others."""
    target = tmp_path / "plain"
    assert main(["export", "--study", "Sleep", "--to", str(target), "--stream", "gps"]) == 0
    files = sorted(path for path in target.rglob("*") if path.is_file())
    expected = server.world.files(lake.study_id, streams=["gps"])
    assert len(files) == len(expected) > 0
    assert {path.read_bytes() for path in files} == {file.read() for file in expected}
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert {stat.S_IMODE(path.stat().st_mode) for path in target.rglob("*") if path.is_dir()} == {0o700}


def test_export_reads_past_states(lake: StudyLake, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By number or name of a snapshot, after what they had was taken out; a state that there is not is said."""
    catalog = lake.catalog()
    assert catalog
    head = catalog.refresh().head
    add_snapshot(catalog, "paper-1", head, run_id="test", content="", participants=2, files=1, size_bytes=1)
    token = catalog.identities.token(Subject("anna1111"), catalog.state) or ""
    take_out(
        catalog,
        [(Place(token, window), version.at) for window, version in lake.index("anna1111").items()],
        run_id="test",
    )

    def exported(name: str, *as_of: str) -> set[str]:
        assert main(["export", "--study", "Sleep", "--stream", "gps", "--to", str(tmp_path / name), *as_of]) == 0
        return {str(path.relative_to(tmp_path / name)) for path in (tmp_path / name).rglob("*.csv")}

    now = exported("now")
    assert {path.partition("/")[0] for path in now} == {"bert2222"}
    by_name = exported("name", "--as-of", "paper-1")
    assert by_name == exported("number", "--as-of", str(head.number)) > now
    said = {"2000-01-01": "no state of 2000-01-01T00:00:00+00:00", "9999": "no state 9999", "paper-2": "no snapshot"}
    for as_of, words in said.items():
        assert main(["export", "--study", "Sleep", "--to", str(tmp_path / "none"), "--as-of", as_of]) == 2
        assert f"has {words}" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(("form", "read"), [("csv", pd.read_csv), ("parquet", pd.read_parquet)])
def test_export_writes_tables(lake: StudyLake, tmp_path: Path, form: str, read: object) -> None:
    """One table per participant and stream, narrowed by time."""
    target = tmp_path / "tables"
    arguments = ["--participant", "anna1111", "--stream", "gps", "--start", "2026-03-03", "--end", "2026-03-05"]
    assert main(["export", "--study", "Sleep", "--to", str(target), "--format", form, *arguments]) == 0
    (path,) = [each for each in target.rglob("*") if each.is_file()]
    frame = read(path)  # type: ignore[operator]
    assert path.name == f"gps.{form}"
    days = pd.to_datetime(frame["timestamp"], unit="ms", utc=True).dt.date.astype(str)
    assert set(days) == {"2026-03-03", "2026-03-04"}


def test_export_tells_of_rows_that_did_not_fit(
    lake: StudyLake, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Answers with commas are longer than their header."""
    arguments = ["--stream", "survey_answers", "--format", "csv", "--to", str(tmp_path / "tables")]
    assert main(["export", "--study", "Sleep", *arguments]) == 0
    told = r"Of \d+ rows, [1-9]\d* did not fit their header and were repaired, and 0 "
    assert re.search(told, capsys.readouterr().out)


def test_export_writes_what_is_no_table_as_files(
    environment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A stream of pictures, which only this server has, among others that are tables."""
    plan = StudyPlan(
        name="Faces",
        participants=["anna1111"],
        start=START,
        end=START + timedelta(days=7),
        hours=(9,),
        streams=("gps", "image_survey"),
    )
    with SimulatedServer(World.build(plan, now=END), profile="image_survey") as own:
        for name, value in (("URL", own.url), ("ACCESS_KEY", own.access_key), ("SECRET_KEY", own.secret_key)):
            monkeypatch.setenv(f"BEIWE_{name}", value)
        (study_id,) = own.world.studies
        fill(own, BeiweLake(environment).study(study_id, passphrase=PASSPHRASE))
        target = tmp_path / "tables"
        assert main(["export", "--study", "Faces", "--format", "csv", "--to", str(target)]) == 0
        pictures = {file.read() for file in own.world.files(study_id, streams=["image_survey"])}
    written = {path.read_bytes() for path in target.rglob("*") if path.is_file() and path.name != "gps.csv"}
    assert written == pictures != set()
    assert (target / "anna1111" / "gps.csv").is_file()
    assert "Written as files, because no table can be made of them: image_survey." in capsys.readouterr().out


def test_export_opens_what_age_locked(
    environment: Path, server: SimulatedServer, study_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the private key, beside what the passphrase locked before the study went over to age."""
    identity = pytest.importorskip("pyrage").x25519.Identity.generate()
    (tmp_path / "key").write_text(f"# public key: {identity.to_public()}\n{identity}\n")
    fill(server, BeiweLake(environment).study(study_id, passphrase=PASSPHRASE), ["anna1111"])
    age = AgeCipher(recipients=[str(identity.to_public())])
    fill(server, BeiweLake(environment).study(study_id, passphrase=PASSPHRASE, cipher=age), ["bert2222"])
    command = ["export", "--study", "Sleep", "--stream", "gps", "--to"]
    assert main([*command, str(tmp_path / "without")]) == 1
    monkeypatch.setenv("BEIWE_AGE_IDENTITY", str(tmp_path / "nowhere"))
    assert main([*command, str(tmp_path / "wrong")]) == 2
    monkeypatch.setenv("BEIWE_AGE_IDENTITY", str(tmp_path / "key"))
    assert main([*command, str(tmp_path / "plain")]) == 0
    assert main(["verify"]) == 0
    files = {path.read_bytes() for path in (tmp_path / "plain").rglob("*") if path.is_file()}
    assert files == {file.read() for file in server.world.files(study_id, streams=["gps"])}


def test_export_refuses_a_folder_with_something_in_it(lake: StudyLake, tmp_path: Path) -> None:
    """Nothing is mixed with or written over what is there."""
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("important")
    assert main(["export", "--study", "Sleep", "--to", str(tmp_path / "full")]) == 2
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["thesis.txt"]


def test_purge_removes_one_participant_and_leaves_the_other(lake: StudyLake, environment: Path) -> None:
    """After a purge the lake is intact without the participant."""
    assert main(["purge", "--study", "Sleep", "--participant", "anna1111", "--yes"]) == 0
    assert lake.participants() == ["bert2222"]
    assert not list(environment.rglob("*anna1111*"))
    assert main(["verify"]) == 0


def test_purge_asks_only_if_there_is_something_to_remove(lake: StudyLake, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing to remove is no failure: the lake holds nothing of the participant, and the command says so."""
    for arguments in (["anna1111", "--yes"], ["anna1111"], ["nobody11"]):
        assert main(["purge", "--study", "Sleep", "--participant", *arguments]) == 0
        printed = capsys.readouterr().out
        assert ("Removed" in printed, "holds nothing" in printed) == (len(arguments) > 1, len(arguments) == 1)
        assert "This is certain" in printed
    assert main(["purge", "--study", "Sleep", "--participant", "bert2222"]) == 2
    assert lake.participants() == ["bert2222"]


def test_a_snapshot_that_is_not_there_is_told_before_anything_is_asked(
    lake: StudyLake, capsys: pytest.CaptureFixture[str]
) -> None:
    """The error names the snapshot instead of asking for `--yes`."""
    assert main(["snapshot", "remove", "papre", "--study", "Sleep"]) == 2
    assert "has no snapshot 'papre'" in capsys.readouterr().err
    assert lake.state.snapshots == {}


def test_purge_removes_the_participants_tables_and_names_the_shared_ones(
    lake: StudyLake, environment: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The id counts as a whole part of the partition; tables of another study stay."""
    frame = pd.DataFrame({"days": [1]})
    own, other = (
        TableStore.of_study(lake),
        TableStore.of_study(BeiweLake(environment).study("OtherOtherOtherOtherOthe", passphrase=PASSPHRASE)),
    )
    for partition in ("anna1111", "bert2222", "anna11112"):
        own.write(["lab", "files"], frame, partition=partition)
        own.write(["lab", "daily"], frame, partition=f"{partition}|2026-03-02")
    own.write(["lab", "roster"], frame)
    own.write(["lab", "weeks"], frame, partition="2026-03-02")
    own.write(["lab", "berts"], frame, partition="bert2222")
    other.write(["other", "files"], frame, partition="anna1111")
    orphan = environment / lake.study_id / ".tables" / "lab" / "daily" / "anna1111" / "2026-03-09~0-0a.parquet.lock"
    orphan.write_bytes(b"left by a run that died")
    assert main(["purge", "--study", "Sleep", "--participant", "anna1111", "--yes"]) == 0
    printed = capsys.readouterr().out
    assert "and 2 tables of participant anna1111" in printed
    assert "Materialize them again:\n  lab/roster\n  lab/weeks\nThis command does not reach" in printed
    left = {path.relative_to(environment).as_posix().partition("~")[0] for path in environment.rglob("*anna1111*")}
    tables = f"{lake.study_id}/.tables/lab"
    others = {"OtherOtherOtherOtherOthe/.tables/other/files/anna1111", f"{tables}/files/anna11112"}
    assert left == {*others, f"{tables}/daily/anna11112"}
    records = b"".join(path.read_bytes() for path in environment.rglob("log/*/*"))
    assert b"anna1111" not in records
    pd.testing.assert_frame_equal(own.read(["lab", "daily"], partition="bert2222|2026-03-02"), frame)
    assert main(["verify", "--study", "Sleep"]) == 0


def test_keyring_is_made_listed_and_used(
    environment: Path,
    server: SimulatedServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A section and a study's passphrase go in without a terminal; the listing shows no secret; check uses it."""
    file = tmp_path / "ring.enc"
    monkeypatch.setenv("NRG_KEYRING_PASS", "ring")
    monkeypatch.setenv("BEIWE_KEYRING_FILE", str(file))
    section = {"URL": server.url, "ACCESS_KEY": server.access_key, "SECRET_KEY": server.secret_key}
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(section)))
    assert main(["keyring", "set", "lab"]) == 0
    monkeypatch.setattr(sys, "stdin", io.StringIO("study secret\n"))
    assert main(["keyring", "passphrase", "lab", "Sleep"]) == 0
    assert main(["keyring", "list"]) == 0
    printed = capsys.readouterr().out
    assert "studies with a passphrase: Sleep" in printed
    assert server.secret_key not in printed
    assert "study secret" not in printed
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert read_keyring(file, passphrase="ring")["lab"]["SECRETS"] == {"Sleep": "study secret"}
    monkeypatch.delenv("BEIWE_URL")
    monkeypatch.setenv("BEIWE_KEYRING_SECTION", "lab")
    assert main(["check"]) == 0


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_documented(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The page has a row for each command and action, with all arguments and options; each command explains itself."""
    page = (Path(__file__).parents[2] / "docs" / "command-line.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `([a-z ]+[a-z])([^`]*)` \|", page, re.MULTILINE))
    command = importlib.import_module(f"dagster_beiwe.cli.{name}").command
    actions = command.commands if isinstance(command, click.Group) else {"": command}
    for action, one in actions.items():
        words = re.findall(r"[A-Z]+|--[a-z-]+", rows.pop(f"{name} {action}".strip()))
        wanted = [each.opts[0] if isinstance(each, click.Option) else each.human_readable_name for each in one.params]
        assert [word for word in words if word.startswith("--") or word in wanted] == wanted
    assert not [row for row in rows if row.split()[0] == name]
    assert main([name, "--help"]) == 0
    assert f"Usage: dagster-beiwe {name}" in (shown := capsys.readouterr().out)
    assert shown.split("\n\n")[1].strip() == f"{COMMANDS[name]}."


def test_the_package_is_a_command() -> None:
    """As a module, too."""
    shown = subprocess.run([sys.executable, "-m", "dagster_beiwe", "--help"], capture_output=True, check=True)
    assert b"Usage:" in shown.stdout


def test_the_list_of_commands_comes_at_once() -> None:
    """Without what takes seconds to import."""
    code = (
        "import sys; from dagster_beiwe.cli import main; status = main(['--help']); "
        "sys.exit(status or len({'dagster', 'pandas', 'numpy', 'requests'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL, check=False).returncode == 0


@pytest.mark.parametrize("server_known", [True, False])
def test_study_passphrases_come_from_the_keyring_beside_keys(
    lake: StudyLake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server_known: bool
) -> None:
    """SECRETS serve those whose keys are in the environment, and those who have none and only read."""
    section = {"lab": {"SECRETS": {lake.study_id: PASSPHRASE}}}
    write_keyring(tmp_path / "keyring", section, "of the file", changed=[])
    monkeypatch.delenv("BEIWE_LAKE_PASSPHRASE")
    monkeypatch.setenv("BEIWE_KEYRING_FILE", str(tmp_path / "keyring"))
    monkeypatch.setenv("NRG_KEYRING_PASS", "of the file")
    monkeypatch.setenv("BEIWE_KEYRING_SECTION", "lab")
    if not server_known:
        monkeypatch.delenv("BEIWE_URL")
    assert main(["verify"]) == 0


@pytest.mark.parametrize(("options", "shown"), [([], False), (["-v"], True)])
def test_what_a_run_logs_is_shown_only_if_asked_for(
    options: list[str], shown: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run in this process lowers the level of this package's logger, for its own log."""

    def callback(**_options: object) -> int:
        monkeypatch.setattr(logging.getLogger("dagster_beiwe"), "level", logging.INFO)
        logging.getLogger("dagster_beiwe.client").info("a detail")
        return 0

    monkeypatch.setattr(logging.root, "handlers", [])
    monkeypatch.setattr(logging.root, "level", logging.WARNING)
    monkeypatch.setattr(runs.command, "callback", callback)
    assert main([*options, "runs"]) == 0
    assert ("a detail" in capsys.readouterr().err) is shown
