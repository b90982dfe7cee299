"""Tables in real Dagster runs: where they go, what several partitions become, and what is refused."""

# Without `from __future__ import annotations`: Dagster reads the types of contexts when it decorates.

from typing import Any

import dagster as dg
import pandas as pd
import pytest
from io_project import TABLES, Project, tables_below
from reading_helpers import ANDROID, IOS

from dagster_beiwe.io_managers.pickles import NO_PARTICIPANTS_METADATA_KEY
from dagster_beiwe.partitions.definitions import participant_partitions
from dagster_beiwe.reading import BeiwePartitions
from dagster_beiwe.studies.study import Study
from dagster_beiwe.tables.partitions import TablePartitions
from dagster_beiwe.tables.store import TableStore

pytestmark = pytest.mark.filterwarnings("ignore:Parameter `backfill_policy`")  # in beta


def test_a_table_of_a_participant_goes_to_the_lake_and_back(project: Project) -> None:
    """Locked with the study's passphrase, with numbers and columns in its metadata but no values."""

    @dg.asset(
        key=["beiwe", "sleep", "daily_gps"],
        ins=project.raw_input(),
        partitions_def=participant_partitions(project.study.id),
        io_manager_key=TABLES,
        metadata=project.study.to_metadata(),
    )
    def daily_gps(raw: BeiwePartitions) -> pd.DataFrame:
        frame = raw.read("gps")
        table: pd.DataFrame = frame.groupby(frame["UTC time"].dt.floor("D")).size().rename("rows").reset_index()
        return table

    result = project.run(daily_gps, partition=IOS)
    (event,) = result.asset_materializations_for_node("beiwe__sleep__daily_gps")
    assert event.metadata["dagster/partition_row_count"].value == 17
    assert event.metadata["encryption"].value == "cryptease"
    columns = {column.name: column.type for column in event.metadata["dagster/column_schema"].value.columns}
    assert columns == {"UTC time": "datetime64[ms, UTC]", "rows": "int64"}
    assert tables_below(project) == [f".tables/beiwe/sleep/daily_gps/{IOS}.parquet"]

    got: list[pd.DataFrame] = []

    @dg.asset(ins={"table": dg.AssetIn(daily_gps.key)}, partitions_def=participant_partitions(project.study.id))
    def reader(table: pd.DataFrame) -> None:
        got.append(table)

    project.run(daily_gps, reader, partition=IOS, last_only=True)
    assert int(got[0]["rows"].sum()) == 132


@pytest.fixture
def per_participant(project: Project) -> dg.AssetsDefinition:
    """A table of each participant, already materialised."""

    @dg.asset(
        key=["beiwe", "sleep", "counts"],
        ins=project.raw_input(),
        partitions_def=participant_partitions(project.study.id),
        io_manager_key=TABLES,
        metadata=project.study.to_metadata(),
    )
    def counts(raw: BeiwePartitions) -> pd.DataFrame:
        table: pd.DataFrame = raw.read("gps", columns=["timestamp"]).head(5)
        return table

    for participant in (ANDROID, IOS):
        project.run(counts, partition=participant)
    return counts


def downstream_of(table: dg.AssetsDefinition, annotation: Any, got: list[Any], **options: Any) -> dg.AssetsDefinition:
    def read(table: Any) -> None:
        got.append(table)

    read.__annotations__["table"] = annotation
    return dg.asset(name="reader", ins={"table": dg.AssetIn(table.key, **options)})(read)


def test_several_partitions_are_a_lazy_mapping(project: Project, per_participant: dg.AssetsDefinition) -> None:
    """By partition key, each read when it is asked for."""
    got: list[Any] = []
    project.run(per_participant, downstream_of(per_participant, TablePartitions, got), last_only=True)
    (view,) = got
    assert list(view) == [ANDROID, IOS]
    assert set(view[IOS]["participant"]) == {IOS}
    assert len(view.to_pandas()) == 10


def test_several_partitions_are_one_frame_for_who_wants_that(
    project: Project, per_participant: dg.AssetsDefinition
) -> None:
    """Said by the annotation; categories are joined."""
    got: list[Any] = []
    project.run(per_participant, downstream_of(per_participant, pd.DataFrame, got), last_only=True)
    (frame,) = got
    assert len(frame) == 10
    assert list(frame["participant"].cat.categories) == [ANDROID, IOS]
    assert frame.index.tolist() == list(range(10))


@pytest.mark.parametrize("shape", ["as it is", "grouped"])
def test_a_table_made_from_several_partitions_is_stored(
    project: Project, per_participant: dg.AssetsDefinition, shape: str
) -> None:
    """With the joined categories of ``participant``, which are ours."""

    @dg.asset(
        key=["beiwe", "sleep", "everybody"],
        ins={"table": dg.AssetIn(per_participant.key)},
        io_manager_key=TABLES,
        metadata=project.study.to_metadata(),
    )
    def everybody(table: pd.DataFrame) -> pd.DataFrame:
        grouped = table.groupby("participant", observed=True).size().rename("rows").reset_index()
        return table if shape == "as it is" else grouped

    project.run(per_participant, everybody, last_only=True)
    back = TableStore.of_study(project.lake).read(["beiwe", "sleep", "everybody"])
    assert list(back["participant"].cat.categories) == [ANDROID, IOS]
    assert len(back) == {"as it is": 10, "grouped": 2}[shape]


def test_categories_that_have_no_union_become_values(project: Project) -> None:
    """Such as scales in different orders, or texts and the numbers of an older version."""
    parts = {
        "one": pd.Categorical(["low"], categories=["low", "high"], ordered=True),
        "two": pd.Categorical(["high"], categories=["high", "low"], ordered=True),
        "three": pd.Categorical([3]),
    }
    store = TableStore.of_study(project.lake)
    for partition, values in parts.items():
        store.write(["scales"], pd.DataFrame({"answer": values}), partition=partition)
    for partitions, answers in ((["one", "two"], ["low", "high"]), (["one", "three"], ["low", 3])):
        assert TablePartitions(store, ["scales"], partitions).to_pandas()["answer"].tolist() == answers


def test_several_partitions_are_a_dict_for_who_wants_that(
    project: Project, per_participant: dg.AssetsDefinition
) -> None:
    """As other IO managers give it."""
    got: list[Any] = []
    project.run(per_participant, downstream_of(per_participant, dict[str, pd.DataFrame], got), last_only=True)
    assert {key: len(frame) for key, frame in got[0].items()} == {ANDROID: 5, IOS: 5}


@pytest.mark.parametrize(
    ("package", "name", "rows"),
    [
        ("polars", "LazyFrame", lambda frame: len(frame.collect())),
        ("duckdb", "DuckDBPyRelation", len),
        ("pyarrow.dataset", "Dataset", lambda data: data.count_rows()),
    ],
)
def test_an_annotation_asks_for_a_lazy_form(
    project: Project, per_participant: dg.AssetsDefinition, package: str, name: str, rows: Any
) -> None:
    """Of all partitions together, and nothing is read before it is used."""
    got: list[Any] = []
    annotation = getattr(pytest.importorskip(package), name)
    project.run(per_participant, downstream_of(per_participant, annotation, got), last_only=True)
    assert isinstance(got[0], annotation)
    assert rows(got[0]) == 10


def test_missing_partitions_are_an_error_unless_allowed(
    project: Project, per_participant: dg.AssetsDefinition, study: Study
) -> None:
    """A participant who is not there must not be overlooked by accident."""
    project.instance.add_dynamic_partitions(participant_partitions(study.id).name or "", ["late3456"])
    got: list[Any] = []
    strict = downstream_of(per_participant, pd.DataFrame, got)
    result = project.run(per_participant, strict, last_only=True, raise_on_error=False)
    assert not result.success
    assert "late3456" in str(result.all_events)
    lenient = downstream_of(per_participant, pd.DataFrame, got, metadata={"allow_missing_partitions": True})
    project.run(per_participant, lenient, last_only=True)
    assert len(got[0]) == 10


def test_a_run_over_several_partitions_returns_a_frame_for_each(project: Project, study: Study) -> None:
    """By key; one frame for all would stand under each of their names."""

    @dg.asset(
        key=["beiwe", "sleep", "ranges"],
        ins=project.raw_input(),
        partitions_def=participant_partitions(study.id),
        io_manager_key=TABLES,
        metadata=study.to_metadata(),
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    def ranges(context: dg.AssetExecutionContext, raw: BeiwePartitions) -> Any:
        frames = {participant: frame for participant, _, frame in raw.iter_frames("gps")}
        return frames if context.run.tags.get("form") != "one" else frames[IOS]

    tags = {"dagster/asset_partition_range_start": ANDROID, "dagster/asset_partition_range_end": IOS}
    result = project.run(ranges, tags=tags)
    assert result.success
    assert tables_below(project) == [f".tables/beiwe/sleep/ranges/{each}.parquet" for each in (ANDROID, IOS)]
    result = project.run(ranges, tags={**tags, "form": "one"}, raise_on_error=False)
    assert not result.success
    assert "returned one DataFrame, but this run has 2 partitions" in str(result.all_events)


def test_only_tables_are_stored(project: Project, study: Study) -> None:
    """Nothing is pickled."""

    @dg.asset(key=["beiwe", "sleep", "numbers"], io_manager_key=TABLES, metadata=study.to_metadata())
    def numbers() -> list[int]:
        return [1, 2]

    result = project.run(numbers, raise_on_error=False)
    assert "returned a list" in str(result.all_events)
    assert tables_below(project) == []


def overview(**metadata: Any) -> dg.AssetsDefinition:
    @dg.asset(name="overview", io_manager_key=TABLES, metadata=metadata)
    def asset() -> pd.DataFrame:
        table: pd.DataFrame = pd.DataFrame({"study": ["Sleep and Mood"]})
        return table

    return asset


def test_a_table_of_no_study_is_locked_with_the_lakes_passphrase(project: Project) -> None:
    """And without one it is not stored, unless it says that it holds nothing about participants."""
    project.run(overview())
    assert len(list(project.folder.glob(".lake/.tables/overview~*.parquet"))) == 1


def test_without_a_passphrase_only_harmless_tables_are_stored(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keyrings have a passphrase per study and may have none for the lake."""
    monkeypatch.delenv("BEIWE_LAKE_PASSPHRASE")
    result = project.run(overview(), raise_on_error=False)
    assert "BEIWE_LAKE_PASSPHRASE" in str(result.all_events)
    project.run(overview(**{NO_PARTICIPANTS_METADATA_KEY: True}))
    assert len(list(project.folder.glob(".plain/.tables/overview~*.parquet"))) == 1


def test_what_can_not_be_stored_or_read_is_not_tried_again(project: Project, study: Study) -> None:
    """The IO managers' errors end a step with their message alone; waiting for a retry would help nobody."""
    twice = dg.RetryPolicy(max_retries=1)

    @dg.asset(io_manager_key=TABLES, metadata=study.to_metadata(), retry_policy=twice)
    def numbers() -> list[int]:
        return [1, 2]

    @dg.asset(ins={"overview": dg.AssetIn("overview")}, io_manager_key=TABLES, retry_policy=twice)
    def reader(overview: pd.DataFrame) -> pd.DataFrame:
        return overview

    for assets in ([numbers], [overview(), reader]):
        result = project.run(*assets, raise_on_error=False, last_only=True)
        (failure,) = result.filter_events(lambda event: event.is_step_failure)
        data = failure.step_failure_data
        assert data.user_failure_data.description.split(":")[0] in ("ConfigurationError", "TableMissingError")
        assert data.error.cause is None
        assert not result.filter_events(lambda event: event.is_step_up_for_retry)


def test_descriptions_of_columns_stay(project: Project) -> None:
    """What the definition says about columns is joined with their types."""
    described = dg.TableSchema([dg.TableColumn("study", "string", description="Name of the study")])
    result = project.run(overview(**{"dagster/column_schema": described}))
    (event,) = result.asset_materializations_for_node("overview")
    (column,) = event.metadata["dagster/column_schema"].value.columns
    assert (column.name, column.description) == ("study", "Name of the study")
