"""`dagster-beiwe export`: data leave the lake as files or tables."""

from __future__ import annotations

import getpass
import json
import platform
import re
import shutil
import stat
import tracemalloc
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from filled_lake import END, PASSPHRASE, START, fill
from pyarrow.dataset import dataset

from dagster_beiwe.cli import main
from dagster_beiwe.encryption import AgeCipher
from dagster_beiwe.lake import BeiweLake, StudyLake
from dagster_beiwe.lake.catalog.past import add_snapshot, take_out
from dagster_beiwe.lake.catalog.records import Place
from dagster_beiwe.lake.layout import Subject
from dagster_beiwe.reading import BeiwePartitions
from dagster_beiwe.simulator import SimulatedServer, StudyPlan, World
from dagster_beiwe.tables.store import TableStore
from dagster_beiwe.text import human_size


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
def test_export_writes_a_table_of_the_lake(
    lake: StudyLake, tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str, read: Any
) -> None:
    """One file with the rows of whom was asked for; who has no partition is named."""
    store, target = TableStore.of_study(lake), tmp_path / "plain"
    store.write(["lab", "steps"], pd.DataFrame({"steps": [3, 4], "routes": [["a, b"], None]}), partition="anna1111")
    arguments = ["export", "--study", "Sleep", "--table", "steps", "--to", str(target)]
    assert main([*arguments, "--format", form]) == 0
    said = capsys.readouterr()
    assert "2 rows" in said.out
    assert "NOT protected" in said.err
    assert "Not in the lake: partition bert2222." in said.err
    rows = read(target / f"steps.{form}")
    assert rows[["steps", "partition"]].to_dict("list") == {"steps": [3, 4], "partition": ["anna1111", "anna1111"]}
    route = rows["routes"][0]
    assert (json.loads(route) if form == "csv" else list(route)) == ["a, b"]
    assert main([*arguments[:-1], str(tmp_path / "none"), "--participant", "bert2222"]) == 1
    assert main([*arguments, "--stream", "gps"]) == 2
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(("form", "read"), [("csv", pd.read_csv), ("parquet", pd.read_parquet)])
def test_an_exported_table_has_the_columns_of_all_its_partitions(
    lake: StudyLake, tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str, read: Any
) -> None:
    """Of what is missing in one of them, its values are. The record says how much left the lake; a link leads there."""
    steps = pd.DataFrame({"steps": [1, 2, 3], "place": pd.Categorical(["home", "work", None])})
    frames: dict[str | None, pd.DataFrame] = {"a": steps, "b": steps.assign(place=None, stairs=1.5)}
    written = TableStore.of_study(lake).write_all(["lab", "steps"], frames)
    folder, link = tmp_path / "plain", tmp_path / "link"
    folder.mkdir()
    link.symlink_to(folder)
    command = ["export", "--study", "Sleep", "--table", "steps", "--format", form, "--to", str(link)]
    assert main(command) == 0
    frame = read(folder / f"steps.{form}")
    assert list(frame) == ["steps", "place", "stairs", "partition"]
    assert frame["steps"].tolist() == [1, 2, 3] * 2
    assert (frame["place"].dropna().tolist(), frame["stairs"].dropna().tolist()) == (["home", "work"], [1.5] * 3)
    assert main(["history", "--study", "Sleep", "--last", "1"]) == 0
    assert f"2 files, {human_size(sum(each.size_bytes for each in written.values()))}" in capsys.readouterr().out


@pytest.mark.parametrize(("form", "read"), [("csv", pd.read_csv), ("parquet", pd.read_parquet)])
def test_a_table_keeps_its_own_column_partition(lake: StudyLake, tmp_path: Path, form: str, read: Any) -> None:
    frames: dict[str | None, pd.DataFrame] = {"a": pd.DataFrame({"partition": [1]}), "b": pd.DataFrame({"steps": [2]})}
    TableStore.of_study(lake).write_all(["lab", "disks"], frames)
    target = tmp_path / "plain"
    assert main(["export", "--study", "Sleep", "--table", "disks", "--format", form, "--to", str(target)]) == 0
    frame = read(target / f"disks.{form}")
    assert frame["partition"].fillna(0).tolist() == [1, 0]
    assert frame["steps"].fillna(0).tolist() == [0, 2]


def test_values_that_fit_no_common_type_are_not_shown(
    lake: StudyLake, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Arrow would quote them."""
    frames: dict[str | None, pd.DataFrame] = {
        "a": pd.DataFrame({"hash": np.array([2**64 - 1], dtype="uint64")}),
        "b": pd.DataFrame({"hash": [-1]}),
    }
    TableStore.of_study(lake).write_all(["lab", "hashes"], frames)
    target = tmp_path / "plain"
    assert main(["export", "--study", "Sleep", "--table", "hashes", "--format", "parquet", "--to", str(target)]) == 2
    said = capsys.readouterr().err
    assert "Not all rows fit the types" in said
    assert str(2**64 - 1) not in said
    assert not target.exists()


def test_a_table_is_exported_partition_by_partition(lake: StudyLake, tmp_path: Path) -> None:
    """So that it may be larger than the memory."""
    frame = pd.DataFrame({"steps": np.arange(50_000)})
    TableStore.of_study(lake).write_all(["lab", "steps"], {f"{number:02}": frame for number in range(24)})
    tracemalloc.start()
    try:
        command = ["export", "--study", "Sleep", "--table", "steps", "--format", "parquet", "--to", str(tmp_path / "a")]
        assert main(command) == 0
        assert tracemalloc.get_traced_memory()[1] < 12 * frame.memory_usage(index=False).sum()
    finally:
        tracemalloc.stop()


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


def test_parquet_is_a_data_set_by_participant(lake: StudyLake, tmp_path: Path) -> None:
    """With the types of Parquet, and the participant as a column that its path gives."""
    target = tmp_path / "tables"
    assert main(["export", "--study", "Sleep", "--to", str(target), "--format", "parquet", "--stream", "gps"]) == 0
    table = dataset(target / "gps", partitioning="hive").to_table()
    assert set(table["participant"].to_pylist()) == {"anna1111", "bert2222"}
    assert {str(table.schema.field(name).type) for name in ("timestamp", "UTC time", "latitude")} == {
        "int64",
        "timestamp[ms, tz=UTC]",
        "double",
    }
    rows = table.to_pandas(types_mapper={pa.int64(): pd.Int64Dtype()}.get).astype({"participant": "category"})
    frame = BeiwePartitions.of(lake).read("gps")
    pd.testing.assert_frame_equal(rows[frame.columns], frame, check_categorical=False)


def test_forest_gets_files_that_it_can_read(
    lake: StudyLake, tmp_path: Path, server: SimulatedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the names that it expects; answers with unquoted commas are quoted, and named."""
    target = tmp_path / "forest"
    assert main(["export", "--study", "Sleep", "--to", str(target), "--format", "forest", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    rewritten = {name.split("/")[1] for name in result["rewritten"]}
    assert (rewritten, result["left_out"]) == ({"survey_answers"}, [])
    paths = [path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file()]
    assert len(paths) == result["files"] == len(server.world.files(lake.study_id))
    name = r"(anna1111|bert2222)/(accelerometer|gps|survey_answers/[^/]+)/\d{4}-\d\d-\d\d \d\d_\d\d_\d\d\+00_00\.csv"
    assert [path for path in paths if not re.fullmatch(name, path)] == []
    for path in target.rglob("*.csv"):
        assert pd.read_csv(path).index.equals(pd.RangeIndex(len(pd.read_csv(path))))


def test_an_export_enters_the_access_record(
    lake: StudyLake, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who had what of whom written where to, beside the commits of the study."""
    command = ["export", "--study", "Sleep", "--stream", "gps", "--participant", "anna1111", "--start", "2026-03-04"]
    assert main([*command, "--to", str(tmp_path / "plain"), "--by", "Jo Doe, paper 1", "--json"]) == 0
    exported = json.loads(capsys.readouterr().out)
    assert main([*command, "--to", str(tmp_path / "again"), "--no-record"]) == 0
    assert main(["history", "--study", "Sleep", "--participant", "anna1111", "--last", "1", "--json"]) == 0
    event = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (event["kind"], event["number"], event["participants"]) == ("export", exported["record"], 1)
    assert event["detail"] == (
        f"gps from 2026-03-04 00:00 UTC of state {exported['record'] - 1} as tree to {tmp_path / 'plain'}, "
        f"{exported['files']} files, {human_size(exported['size_bytes'])}, by {getpass.getuser()}@{platform.node()} "
        "(Jo Doe, paper 1)"
    )
    assert main(["history", "--study", "Sleep", "--participant", "bert2222", "--json"]) == 0
    assert '"export"' not in capsys.readouterr().out
    assert main(["verify"]) == 0


def test_an_export_that_cannot_be_recorded_is_refused(
    lake: StudyLake, environment: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Unless it is wanted by name: whoever may only read the lake cannot write its record."""
    staging = environment / lake.study_id / ".beiwe" / "staging"
    shutil.rmtree(staging, ignore_errors=True)
    staging.write_text("no folder")
    command = ["export", "--study", "Sleep", "--stream", "gps", "--to", str(tmp_path / "plain")]
    assert main(command) == 1
    assert "Nothing was decrypted" in capsys.readouterr().err
    assert not (tmp_path / "plain").exists()
    assert main([*command, "--no-record"]) == 0


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
