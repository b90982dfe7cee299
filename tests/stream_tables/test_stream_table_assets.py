"""Stream tables as assets: from a simulated server through raw data to what analysts read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg
import pandas as pd
import pytest
from damage import flip
from labs import QUIET, START, WEEKS, Lab, evaluated, moment

from dagster_beiwe import BeiwePartitions, TablePartitions
from dagster_beiwe.cli import main
from dagster_beiwe.errors import ConfigurationError
from dagster_beiwe.partitions.events import newest_events, version_of
from dagster_beiwe.partitions.run_keys import rectangle_tags
from dagster_beiwe.simulator import ContentPlan, ParticipantPlan, StudyPlan, World
from dagster_beiwe.stream_tables.catalog import TABLES
from dagster_beiwe.stream_tables.definition import MadeTable, TableSources
from dagster_beiwe.studies.config import StudyConfig
from dagster_beiwe.tables.sql import query

NEW_YORK, KOLKATA = "America/New_York", "Asia/Kolkata"
ANNA, BERT = "anna0001", "bert0002"
SUNDAY = START + timedelta(days=6)
STREAMS = ("gps", "gyro")
ROWS = 40


@pytest.fixture
def world() -> World:
    """One phone of each system, with data of two days around the end of the first week, the second one in India."""
    plan = StudyPlan(
        time_zone=NEW_YORK,
        participants=(ParticipantPlan(id=ANNA), ParticipantPlan(id=BERT, os="IOS")),
        start=moment(SUNDAY, 0),
        end=moment(SUNDAY + timedelta(days=2), 0),
        hours=(1, 14),
        streams=STREAMS,
        content=ContentPlan(rows=ROWS),
    )
    world = World.build(plan)
    world.participant(BERT).zone = KOLKATA
    return world


@pytest.fixture
def lab(open_lab: Callable[..., Lab], world: World) -> Lab:
    """A lab with two tables, whose raw data is in the lake."""
    lab = open_lab(world, streams=STREAMS, tables=STREAMS, time_zone=NEW_YORK)
    lab.backfill()
    return lab


def run(lab: Lab, *names: str, weeks: int = 2) -> dg.ExecuteInProcessResult:
    """One run over both people and the first weeks."""
    return lab.run(*names, tags=dict(rectangle_tags((ANNA, BERT), WEEKS[:weeks])))


def events(lab: Lab, name: str = "streams/gps") -> dict[str, dg.AssetMaterialization]:
    return newest_events(lab.instance, lab.key(name))


def made(lab: Lab) -> set[str]:
    """Run the table of GPS; gives the partitions that were made, not recorded as they were."""
    assert run(lab, "streams/gps").success
    return {partition for partition, event in events(lab).items() if event.metadata["changes"].value == "made"}


def log_of(lab: Lab, result: dg.ExecuteInProcessResult) -> str:
    return "\n".join(str(entry) for entry in lab.instance.all_logs(result.run_id))


def test_a_study_has_the_tables_that_it_names_and_none_by_default(open_lab: Callable[..., Lab], world: World) -> None:
    """What is no table, or is made of a stream that the study does not fetch, is refused."""
    assert open_lab(world).assets.streams == []
    assert StudyConfig("Sleep", tables=["wifi", "gps", "wifi"]).tables == ("gps", "wifi")
    with pytest.raises(ConfigurationError, match=r"tables\.0: Input should be 'accelerometer', .* 'wifi'"):
        StudyConfig("Sleep", tables=["audio_recordings"])
    with pytest.raises(ConfigurationError, match=r"The table wifi is made from wifi, which `streams` lacks\. Nothing"):
        StudyConfig("Sleep", streams=["gps"], tables=["gps", "wifi"])


def test_analysts_read_one_table_of_both_systems(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the times on each person's wall clock; windows that the table lacks are named."""
    assert lab.run("participant", tags={"dagster/asset_partition_range_start": BERT, **_end(BERT)}).success
    assert run(lab, "streams/gps", "streams/gyro").success
    table = TablePartitions.of(lab.lake, "gyro")
    frame = table.to_pandas()
    assert {name: str(kind) for name, kind in frame.dtypes.items()} == {
        name: kind for name, (kind, _) in TABLES["gyro"].columns.items()
    }
    raw = BeiwePartitions.of(lab.lake).read("gyro")
    pd.testing.assert_frame_equal(frame[["UTC time", "x"]], raw[["UTC time", "x"]])
    assert frame["accuracy"].notna().equals(frame["participant"] == ANNA)
    for participant, zone in {ANNA: NEW_YORK, BERT: KOLKATA}.items():
        theirs = frame[frame["participant"] == participant]
        local = theirs["UTC time"].dt.tz_convert(ZoneInfo(zone)).dt.tz_localize(None)
        assert list(theirs["local time"]) == list(local)
        assert set(theirs["time zone"]) == {zone}
    assert table.missing == tuple(f"{one}|{week}" for one in (ANNA, BERT) for week in WEEKS[2:])
    night = TablePartitions.of(lab.lake, "gps", participants=[BERT], start=moment(SUNDAY, 1), end=moment(SUNDAY, 2))
    assert night.to_pandas()["UTC time"].dt.hour.tolist() == [1] * ROWS
    counted = query(lab.lake, 'SELECT "time zone", count(*) AS n FROM "streams/gps" GROUP BY ALL ORDER BY ALL')
    assert counted.values.tolist() == [[NEW_YORK, 4 * ROWS], [KOLKATA, 4 * ROWS]]
    monkeypatch.setenv("BEIWE_STUDIES", "")
    export = ["export", "--study", lab.study.id, "--table", "gps", "--participant", BERT, "--to", str(tmp_path / "out")]
    assert main(export) == 0
    assert f"Not in the lake: partition {BERT}|{WEEKS[2]}." in capsys.readouterr().err
    assert len(pd.read_csv(tmp_path / "out" / "gps.csv")) == 4 * ROWS


def _end(participant: str) -> Mapping[str, str]:
    return {"dagster/asset_partition_range_end": participant}


def test_the_catalog_says_what_a_partition_holds(lab: Lab, world: World) -> None:
    """Counts, times, and, once a run, where columns come from; never a value. Rows that were set aside are counted."""
    at = moment(SUNDAY, 14)
    rows = world.file(ANNA, "gps", at).read().decode().split("\n")
    world.set_content(ANNA, "gps", at, "\n".join([*rows, rows[1].rpartition(",")[0], "nonsense"]).encode())
    lab.backfill()
    assert run(lab, "streams/gps").success
    found = events(lab)
    event, newest = found[f"{ANNA}|{WEEKS[0]}"], max(found)
    told: dict[str, Any] = {name: value.value for name, value in event.metadata.items()}
    assert [key for key in found if "dagster/column_lineage" in found[key].metadata] == [newest]
    deps: Any = found[newest].metadata["dagster/column_lineage"].value
    lineage = deps.deps_by_column
    assert [(dep.asset_key.path[-1], dep.column_name) for dep in lineage["latitude"]] == [("raw_data", "latitude")]
    assert {dep.asset_key.path[-1] for dep in lineage["local time"]} == {"raw_data", "participant"}
    assert {type(event.metadata[name]) for name in ("first", "last")} == {dg.TimestampMetadataValue}
    assert moment(SUNDAY, 1).timestamp() < told["first"] < told["last"] < moment(SUNDAY, 15).timestamp()
    assert {name: told[name] for name in ("dagster/partition_row_count", "files", "hours_with_rows")} == {
        "dagster/partition_row_count": 2 * ROWS + 1,
        "files": 2,
        "hours_with_rows": 2,
    }
    assert (told["set_aside_rows"], told["repaired_rows"], told["unreadable_values"]) == (1, 1, 1)
    assert told["sampling rate (Hz)"] > 0
    values = {cell for row in rows[1:] for cell in row.split(",")[2:]}
    assert not [value for value in values if len(value) > 4 and value in str(event)]
    spec = lab.definitions.resolve_assets_def(lab.key("streams/gps")).get_asset_spec()
    schema = spec.metadata["dagster/column_schema"]
    assert {column.name: (column.type, column.description) for column in schema.columns} == TABLES["gps"].columns


def test_only_what_moved_is_made_again(lab: Lab, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A window with a restated hour of its own stream, a person in another zone, or all by another method; raw data
    that was fetched again moves nothing."""
    everything = {f"{one}|{week}" for one in (ANNA, BERT) for week in WEEKS[:2]}
    assert made(lab) == everything
    before = {partition: version_of(event) for partition, event in events(lab).items()}
    world.add_rows(ANNA, "gps", moment(SUNDAY, 14))
    world.add_rows(BERT, "gyro", moment(SUNDAY, 14))
    lab.backfill()
    assert made(lab) == {f"{ANNA}|{WEEKS[0]}"}
    after = {partition: version_of(event) for partition, event in events(lab).items()}
    assert {partition for partition in everything if after[partition] != before[partition]} == {f"{ANNA}|{WEEKS[0]}"}
    assert lab.run("participant", partition=BERT).success
    assert made(lab) == {f"{BERT}|{week}" for week in WEEKS[:2]}
    assert made(lab) == set()
    another = replace(TABLES["gps"], method=TABLES["gps"].method + 1)
    monkeypatch.setitem(TABLES, "gps", another)
    again = Lab(lab.server, lab.instance, streams=STREAMS, tables=STREAMS, time_zone=NEW_YORK)
    assert made(again) == everything


def test_what_fails_is_one_partition(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that was changed, or rows that nobody foresaw, which no message shows; the others are recorded."""
    manifest = lab.lake.manifest(ANNA, WEEKS[0])
    assert manifest is not None
    record = next(each for each in manifest.files if each.stream == "gps")
    path = Path(lab.lake.storage.describe()) / lab.lake.folder(ANNA, record.path)
    flip(path)
    result = run(lab, "streams/gps")
    assert not result.success
    assert f"{ANNA}|{WEEKS[0]}: IntegrityError: " in log_of(lab, result)
    assert set(events(lab)) == {f"{ANNA}|{WEEKS[1]}", *(f"{BERT}|{week}" for week in WEEKS[:2])}

    def unforeseen(sources: TableSources) -> MadeTable:
        rows = sources.window.read("gps")
        if sources.participant == ANNA:
            raise ValueError(rows["latitude"].to_json())
        return MadeTable(frame=rows.drop(columns="UTC time"), counts={})

    monkeypatch.setitem(TABLES, "gps", replace(TABLES["gps"], make=unforeseen, method=99))
    again = Lab(lab.server, lab.instance, streams=STREAMS, tables=STREAMS, time_zone=NEW_YORK)
    told = log_of(again, run(again, "streams/gps"))
    assert f"{ANNA}|{WEEKS[1]}: TableNotMadeError: ValueError in test_stream_table_assets.py, line " in told
    assert f"{BERT}|{WEEKS[0]}: TableNotMadeError: KeyError in " in told
    assert '{"0":' not in told


def test_a_run_of_raw_data_makes_the_tables_too(open_lab: Callable[..., Lab], world: World) -> None:
    """One run for all: the tables have the partitions and the backfill policy of their raw data."""
    lab = open_lab(world, streams=STREAMS, tables=STREAMS)
    lab.enrol()
    assert not run(lab, "streams/gps").success
    assert run(lab, "raw_data", "streams/gps", "streams/gyro").success
    assert len(events(lab)) == len(events(lab, "streams/gyro")) == 4
    frame = TablePartitions.of(lab.lake, "gps").to_pandas()
    assert frame[["local time", "time zone"]].isna().all(axis=None)


def test_dagster_requests_the_windows_with_new_raw_data(lab: Lab, world: World) -> None:
    """And not those of somebody whose phone was registered again: that changes no row."""
    assert run(lab, "streams/gps", "streams/gyro", weeks=4).success
    before = evaluated(lab)
    assert before.total_requested == 0
    assert lab.run("participant", partition=BERT).success
    world.add_rows(ANNA, "gps", moment(SUNDAY, 14))
    lab.backfill()
    requested = evaluated(lab, cursor=before.cursor).get_requested_partitions(lab.key("streams/gps"))
    assert {str(partition) for partition in requested} == {f"{ANNA}|{WEEKS[0]}"}


def test_an_asset_gets_a_table_in_the_form_of_its_annotation(lab: Lab) -> None:
    """As any other table of the lake."""
    assert run(lab, "streams/gps").success

    @dg.asset(ins={"gps": dg.AssetIn(lab.key("streams/gps"))}, partitions_def=lab.assets.raw_data.partitions_def)
    def fixes(gps: pd.DataFrame) -> None:
        assert len(gps) == 2 * ROWS
        assert gps["UTC time"].is_monotonic_increasing

    definitions = dg.Definitions(assets=[*lab.assets.all, fixes], resources=lab.resources)
    job = definitions.resolve_implicit_global_asset_job_def().get_subset(asset_selection={fixes.key})
    assert job.execute_in_process(instance=lab.instance, partition_key=f"{ANNA}|{WEEKS[0]}", run_config=QUIET).success
