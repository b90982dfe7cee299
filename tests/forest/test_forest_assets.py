"""Forest's analyses as assets. A stand-in for Forest counts rows per day, and fails as the data tells it to."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from zoneinfo import ZoneInfo

import dagster as dg
import pandas as pd
import pytest
from labs import START, WEEKS, Lab, evaluated, moment, stale_because_of

from dagster_beiwe.environment import BEIWE_FOREST, BEIWE_FOREST_DISK
from dagster_beiwe.forest.analyses import FOREST_COLUMNS, FOREST_TREES
from dagster_beiwe.partitions.events import version_of
from dagster_beiwe.partitions.run_keys import rectangle_tags
from dagster_beiwe.simulator import ContentPlan, ParticipantPlan, StudyPlan, World
from dagster_beiwe.tables.store import TableStore

ZONE = "America/New_York"
STREAMS = ("accelerometer", "calls", "gps", "survey_answers", "survey_timings", "texts")
ANNA, BERT = "anna0001", "bert0002"
SUNDAY = START + timedelta(days=6)
PAGE = (Path(__file__).parents[2] / "docs" / "forest.md").read_text(encoding="utf-8")
GPS_HEADER = "timestamp,UTC time,latitude,longitude,altitude,accuracy"


@pytest.fixture
def world() -> World:
    """Two people with data of two days around the end of the first week."""
    plan = StudyPlan(
        time_zone=ZONE,
        participants=(ParticipantPlan(id=ANNA), ParticipantPlan(id=BERT)),
        start=moment(SUNDAY, 0),
        end=moment(SUNDAY + timedelta(days=2), 0),
        hours=(1, 3, 5, 14, 20),
        streams=STREAMS,
        content=ContentPlan(rows=4),
    )
    return World.build(plan)


@pytest.fixture
def forest_lab(
    open_lab: Callable[..., Lab], world: World, stand_in: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Lab]:
    """A lab with some analyses, whose raw data is in the lake."""

    def make(*trees: str) -> Lab:
        lab = open_lab(world, streams=STREAMS, forest=trees, time_zone=ZONE)
        monkeypatch.setenv(BEIWE_FOREST, str(stand_in))
        lab.backfill()
        return lab

    return make


def run(lab: Lab, tree: str, *, weeks: int = 2, last_person: str = BERT) -> dg.ExecuteInProcessResult:
    """One run over both people, or Anna alone, and the first weeks."""
    first, last = f"{ANNA}|{WEEKS[0]}", f"{last_person}|{WEEKS[weeks - 1]}"
    tags = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
    return lab.run(f"forest/{tree}", tags=tags)


def table(lab: Lab, tree: str, participant: str, week: int) -> pd.DataFrame:
    store = TableStore.of_study(lab.lake)
    return store.read(lab.key(f"forest/{tree}").path, partition=f"{participant}|{WEEKS[week]}")


def events(lab: Lab, tree: str) -> dict[str, dg.AssetMaterialization]:
    """{partition: its newest event}."""
    records = lab.instance.fetch_materializations(lab.key(f"forest/{tree}"), limit=100).records
    found: dict[str, dg.AssetMaterialization] = {}
    for record in records:
        assert record.asset_materialization is not None
        found.setdefault(str(record.partition_key), record.asset_materialization)
    return found


def versions(lab: Lab) -> dict[str, str]:
    """{partition: its data version}, of Jasmine."""
    return {partition: version_of(event) for partition, event in events(lab, "jasmine").items()}


def rows_by_day(world: World, stream: str, participant: str) -> Counter[str]:
    """{local day: rows} of what the server has."""
    (study,) = world.studies
    found: Counter[str] = Counter()
    for file in world.files(study, participants=[participant], streams=[stream]):
        for line in file.read().decode().split("\n")[1:]:
            at = datetime.fromtimestamp(int(line.partition(",")[0]) / 1000, timezone.utc)
            found[at.astimezone(ZoneInfo(ZONE)).date().isoformat()] += 1
    return found


def plant(world: World, participant: str, *, altitude: int, day: date = SUNDAY) -> None:
    """Let one row have an altitude that the stand-in does something at."""
    at = moment(day, 14)
    ms = int(at.timestamp()) * 1000
    row = f"{ms},{at:%Y-%m-%dT%H:%M:%S}.000,42.12345678,-71.12345678,{altitude},9.5"
    world.set_content(participant, "gps", at, f"{GPS_HEADER}\n{row}".encode())


def test_a_study_has_the_analyses_that_it_names_and_none_by_default(open_lab: Callable[..., Lab], world: World) -> None:
    """Nothing of Forest is in a study that does not ask for it."""
    assert open_lab(world).assets.forest == []
    keys = {asset.key.to_user_string() for asset in open_lab(world, forest=("oak", "willow")).assets.forest}
    assert keys == {"beiwe/sleep/forest/oak", "beiwe/sleep/forest/willow"}


def test_each_local_day_is_in_one_window_and_whole(forest_lab: Callable[..., Lab], world: World) -> None:
    """In New York the last hours of Sunday are in the next week's raw data."""
    lab = forest_lab("oak")
    assert run(lab, "oak").success
    for participant in (ANNA, BERT):
        weeks = [table(lab, "oak", participant, week) for week in (0, 1)]
        rows = [row for each in weeks for row in zip(each["day"], each["walking_time"], strict=True)]
        assert {f"{day:%Y-%m-%d}": value for day, value in rows} == rows_by_day(world, "accelerometer", participant)
        assert weeks[0]["day"].max() == pd.Timestamp(SUNDAY)


def test_tables_have_every_column_with_its_description(forest_lab: Callable[..., Lab]) -> None:
    """Also where Forest wrote nothing, and the catalog shows what each holds."""
    lab = forest_lab(*FOREST_TREES)
    for tree in FOREST_TREES:
        assert run(lab, tree, weeks=3, last_person=ANNA).success, tree
        columns = FOREST_COLUMNS[f"forest/{tree}"]
        assert list(table(lab, tree, ANNA, 0).columns) == list(columns)
        assert list(table(lab, tree, ANNA, 2).columns) == list(columns)
        assert table(lab, tree, ANNA, 2).empty
        spec = lab.definitions.resolve_assets_def(lab.key(f"forest/{tree}")).get_asset_spec()
        schema = spec.metadata["dagster/column_schema"]
        assert {column.name: column.description for column in schema.columns} == columns
    assert len(table(lab, "sycamore", ANNA, 0)) == 2
    assert table(lab, "willow", ANNA, 0)["num_s"].sum() > 0


def test_what_fails_is_one_partition_and_shows_no_row(
    forest_lab: Callable[..., Lab],
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Forest fails, exits, is killed, or writes nonsense: the others are recorded, and nothing of what it read or said
    is left anywhere."""
    monday = SUNDAY + timedelta(days=1)
    plant(world, ANNA, altitude=1)
    plant(world, ANNA, altitude=4, day=monday)
    plant(world, BERT, altitude=3)
    plant(world, BERT, altitude=5, day=monday)
    lab = forest_lab("jasmine")
    monkeypatch.setenv(BEIWE_FOREST_DISK, str(tmp_path))
    result = run(lab, "jasmine", weeks=3)
    assert not result.success
    assert sorted(events(lab, "jasmine")) == [f"{ANNA}|{WEEKS[2]}", f"{BERT}|{WEEKS[2]}"]
    told = "\n".join(str(entry) for entry in lab.instance.all_logs(result.run_id))
    for partition, words in {
        f"{ANNA}|{WEEKS[0]}": "Forest failed: ValueError in forest/days.py, line ",
        f"{ANNA}|{WEEKS[1]}": "Forest failed: SystemExit in forest/days.py, line ",
        f"{BERT}|{WEEKS[0]}": "Forest's process ended without a report",
        f"{BERT}|{WEEKS[1]}": "Forest's results could not be read: ValueError",
    }.items():
        assert f"{partition}: AnalysisFailedError: {words}" in told
    printed = "".join(capfd.readouterr())
    for row in ("42.1234", "stand-in:"):
        assert row not in told
        assert row not in printed
    assert list((tmp_path / f"dagster-beiwe-forest-{os.getuid()}").iterdir()) == []


def test_a_partition_whose_files_are_as_they_were_is_recorded_without_an_analysis(
    forest_lab: Callable[..., Lab], world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And anew once a file or the method changed; after a file, so is the next window, which Jasmine continued."""
    lab = forest_lab("jasmine")
    assert run(lab, "jasmine").success
    first, second = (table(lab, "jasmine", ANNA, week) for week in (0, 1))
    assert set(first["home_time"]) == {0}
    assert second["home_time"].min() >= first["obs_duration"].sum()
    assert events(lab, "jasmine")[f"{ANNA}|{WEEKS[1]}"].metadata["continues from"].value == f"{ANNA}|{WEEKS[0]}"
    before = versions(lab)
    world.add_rows(ANNA, "gps", moment(SUNDAY, 14))
    lab.backfill()
    again = run(lab, "jasmine")
    assert again.success
    log = "\n".join(str(entry) for entry in lab.instance.all_logs(again.run_id))
    kept = {partition for partition in before if f"{partition}: its files are those that it was made from" in log}
    assert kept == {f"{BERT}|{WEEKS[0]}", f"{BERT}|{WEEKS[1]}"}
    changed = {partition for partition, version in versions(lab).items() if version != before[partition]}
    assert changed == {f"{ANNA}|{WEEKS[0]}", f"{ANNA}|{WEEKS[1]}"}
    monkeypatch.setattr("dagster_beiwe.assets.forest.METHOD", 2)
    anew = run(lab, "jasmine")
    assert not [entry for entry in lab.instance.all_logs(anew.run_id) if "it was made from" in str(entry)]


def test_without_an_environment_nothing_is_decrypted(
    forest_lab: Callable[..., Lab], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error says how to make one."""
    lab = forest_lab("oak")
    monkeypatch.delenv(BEIWE_FOREST)
    result = run(lab, "oak")
    assert not result.success
    told = "\n".join(str(entry) for entry in lab.instance.all_logs(result.run_id))
    assert "BEIWE_FOREST is not set. Nothing was decrypted. Run `dagster-beiwe forest --at FOLDER`" in told


def test_a_partition_depends_on_the_windows_around_it(open_lab: Callable[..., Lab], world: World) -> None:
    """So that Dagster knows what to analyze again; windows before the first and after the last do not exist."""
    lab = open_lab(world, forest=("oak",))
    lab.enrol()
    graph = lab.definitions.resolve_asset_graph()
    mapping = graph.get_partition_mapping(lab.key("forest/oak"), lab.key("raw_data"))
    grid = lab.definitions.resolve_assets_def(lab.key("raw_data")).partitions_def
    assert isinstance(grid, dg.MultiPartitionsDefinition)

    def upstream(week: int) -> set[str]:
        found = mapping.get_upstream_mapped_partitions_result_for_partitions(
            grid.subset_with_partition_keys([f"{ANNA}|{WEEKS[week]}"]),
            grid,
            grid,
            dynamic_partitions_store=lab.instance,
        )
        return set(found.partitions_subset.get_partition_keys())

    assert upstream(1) == {f"{ANNA}|{WEEKS[week]}" for week in (0, 1, 2)}
    assert upstream(0) == {f"{ANNA}|{WEEKS[week]}" for week in (0, 1)}


def test_the_examples_of_the_document_run(forest_lab: Callable[..., Lab], capsys: pytest.CaptureFixture[str]) -> None:
    """docs/forest.md: a study's configuration, and steps per participant."""
    configured, script = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    exec(compile(configured, "docs/forest.md", "exec"), {})
    lab = forest_lab("oak")
    assert run(lab, "oak").success
    exec(compile(script, "docs/forest.md", "exec"), {"lake": lab.lake})
    assert {ANNA, BERT} <= set(capsys.readouterr().out.split())


def test_new_raw_data_makes_the_days_that_need_it_stale(forest_lab: Callable[..., Lab], world: World) -> None:
    """Those of its window and of those beside it; raw data that is fetched again as it was makes none stale."""
    lab = forest_lab("oak")
    assert run(lab, "oak").success
    assert run_raw_data_again(lab) == {ANNA: [], BERT: []}
    world.add_rows(ANNA, "accelerometer", moment(SUNDAY + timedelta(days=1), 3))
    assert run_raw_data_again(lab) == {ANNA: ["raw_data"], BERT: []}


def run_raw_data_again(lab: Lab) -> dict[str, list[str]]:
    """Fetch everything; {participant: why the first week is stale}."""
    lab.backfill()
    return {one: list(stale_because_of(lab, "forest/oak", f"{one}|{WEEKS[0]}") or ()) for one in (ANNA, BERT)}


def test_dagster_requests_the_windows_around_new_raw_data(forest_lab: Callable[..., Lab], world: World) -> None:
    """Old windows too, and only where the content is new."""
    lab = forest_lab("oak")
    assert run(lab, "oak", weeks=4).success
    before = evaluated(lab)
    assert before.total_requested == 0
    world.add_rows(ANNA, "accelerometer", moment(SUNDAY + timedelta(days=1), 14))
    lab.backfill()
    requested = evaluated(lab, cursor=before.cursor).get_requested_partitions(lab.key("forest/oak"))
    assert {str(partition) for partition in requested} == {f"{ANNA}|{week}" for week in WEEKS[:3]}


def test_dagster_requests_no_window_before_its_raw_data_is_there(
    open_lab: Callable[..., Lab], world: World, stand_in: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor before that of the windows beside it, whose hours belong to its days."""
    lab = open_lab(world, streams=STREAMS, forest=("oak",), time_zone=ZONE)
    monkeypatch.setenv(BEIWE_FOREST, str(stand_in))
    lab.enrol()
    result, requested = evaluated(lab), []
    assert result.total_requested == 0
    for fetched in (WEEKS[:2], WEEKS[2:3], WEEKS[3:]):
        assert lab.run("raw_data", tags=dict(rectangle_tags([ANNA], fetched))).success
        result = evaluated(lab, cursor=result.cursor)
        requested.append({str(key) for key in result.get_requested_partitions(lab.key("forest/oak"))})
    assert requested == [{f"{ANNA}|{WEEKS[0]}"}, {f"{ANNA}|{WEEKS[1]}"}, {f"{ANNA}|{week}" for week in WEEKS[2:]}]
