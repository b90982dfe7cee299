"""IO managers in real Dagster runs: which windows arrive, what tables become, and what is refused."""

# Without `from __future__ import annotations`: Dagster reads the types of contexts when it decorates.

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pytest
from reading_helpers import ANDROID, IOS, PASSPHRASE, START, WEEKS, cells_of, fill, study_lake

from dagster_beiwe.cells import CellKey
from dagster_beiwe.io_managers import (
    EncryptedLakeIOManager,
    EncryptedTableIOManager,
    TablePartitions,
)
from dagster_beiwe.io_managers.pickles import NO_PARTICIPANTS_METADATA_KEY
from dagster_beiwe.lake import StudyLake
from dagster_beiwe.partitions.definitions import (
    participant_partitions,
    raw_data_partitions,
    window_partitions,
)
from dagster_beiwe.reading import BeiwePartitions
from dagster_beiwe.resource import BeiweResource, EnvCredentials
from dagster_beiwe.simulator import SimulatedServer, World
from dagster_beiwe.studies.config import StudyConfig
from dagster_beiwe.studies.study import Study
from dagster_beiwe.tables.store import TableStore

pytestmark = [
    pytest.mark.filterwarnings("ignore:InitResourceContext.dagster_run is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Parameter `backfill_policy`"),  # in beta
]

TABLES = "beiwe_table_io_manager"


class Project:
    """A study with filled raw data, and runs of assets below it."""

    def __init__(self, folder: Path, study: Study, instance: dg.DagsterInstance) -> None:
        self.folder, self.study, self.instance = folder, study, instance
        self.raw = dg.AssetSpec(
            ["beiwe", study.key, "raw_data"],
            partitions_def=raw_data_partitions(study),
            metadata={**study.to_metadata(), "dagster/io_manager_key": "beiwe_lake_io_manager"},
        )

    def run(self, *assets: Any, partition: str | None = None, raise_on_error: bool = True, **options: Any) -> Any:
        beiwe = BeiweResource(credentials=EnvCredentials())
        resources = {
            "beiwe": beiwe,
            "beiwe_lake_io_manager": EncryptedLakeIOManager(beiwe=beiwe),
            TABLES: EncryptedTableIOManager(beiwe=beiwe),
        }
        return dg.materialize(
            [self.raw, *assets],
            selection=[assets[-1]] if options.pop("last_only", False) else list(assets),
            instance=self.instance,
            resources=resources,
            partition_key=partition,
            raise_on_error=raise_on_error,
            **options,
        )

    @property
    def lake(self) -> StudyLake:
        return BeiweResource(credentials=EnvCredentials()).study_lake(self.study)

    def raw_input(self) -> dict[str, dg.AssetIn]:
        return {"raw": dg.AssetIn(self.raw.key)}


def tables_below(project: Project) -> list[str]:
    """Tables of the study, without what makes the names of their files unique."""
    root = project.folder / project.study.id
    paths = [path.relative_to(root).as_posix() for path in root.rglob("*.parquet*")]
    return sorted(re.sub(r"~\d+-[0-9a-f]{8}(?=\.parquet)", "", path) for path in paths)


@pytest.fixture
def study(shared_world: World) -> Study:
    (only,) = shared_world.studies.values()
    return Study(id=only.id, name=only.name, key="sleep", start=START.date(), config=StudyConfig(only.id))


@pytest.fixture
def instance(study: Study) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as ephemeral:
        ephemeral.add_dynamic_partitions(participant_partitions(study.id).name or "", [ANDROID, IOS])
        yield ephemeral


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, shared_lake: StudyLake, tmp_path: Path) -> Path:
    """A copy of the filled lake, so that tables can be written to it."""
    folder = tmp_path / "lake"
    subprocess.run(["cp", "-a", shared_lake.storage.describe(), str(folder)], check=True)
    for name, value in {
        "BEIWE_URL": "http://127.0.0.1:9",
        "BEIWE_ACCESS_KEY": "access",
        "BEIWE_SECRET_KEY": "secret",
        "BEIWE_LAKE": str(folder),
        "BEIWE_LAKE_PASSPHRASE": PASSPHRASE,
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("BEIWE_KEYRING_SECTION", raising=False)
    return folder


@pytest.fixture
def project(environment: Path, study: Study, instance: dg.DagsterInstance) -> Project:
    return Project(environment, study, instance)


def seen_windows(project: Project, partitions: dg.PartitionsDefinition[Any] | None, key: str | None) -> list[str]:
    """The partition keys of raw data that a downstream asset with these partitions is given."""
    seen: list[str] = []

    @dg.asset(ins=project.raw_input(), partitions_def=partitions)
    def downstream(raw: BeiwePartitions) -> None:
        seen.extend(each for each in raw if raw[each].committed)
        assert len(raw.read("gps")) > 0

    project.run(downstream, partition=key)
    return seen


def test_the_same_partition_gives_one_window(project: Project) -> None:
    """A downstream asset with the partitions of raw_data."""
    key = str(CellKey(IOS, WEEKS[1]))
    assert seen_windows(project, raw_data_partitions(project.study), key) == [f"{IOS}|{WEEKS[1]}"]


def test_a_participant_gives_all_windows(project: Project) -> None:
    """Dagster infers the mapping from the shared dimension; no other participant's data arrives."""
    seen = seen_windows(project, participant_partitions(project.study.id), IOS)
    assert seen == [f"{IOS}|{week}" for week in WEEKS]


def test_a_window_gives_all_participants(project: Project) -> None:
    """The other dimension."""
    weeks = window_partitions("weekly", START.date())
    assert seen_windows(project, weeks, WEEKS[0]) == [f"{each}|{WEEKS[0]}" for each in (ANDROID, IOS)]


def test_no_partitions_give_everything(project: Project) -> None:
    """Windows that were never filled are there without files."""
    assert seen_windows(project, None, None) == [f"{each}|{week}" for each in (ANDROID, IOS) for week in WEEKS]


def test_before_the_first_commit_everything_is_nothing(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A study without data yet is no mistake of an asset over all of it."""
    monkeypatch.setenv("BEIWE_LAKE", str(tmp_path / "not yet there"))
    rows: list[int] = []

    @dg.asset(ins=project.raw_input())
    def downstream(raw: BeiwePartitions) -> None:
        rows.append(len(raw.read("gps")))

    assert project.run(downstream).success
    assert rows == [0]


def test_loading_raw_data_is_logged_once(project: Project) -> None:
    """Not a line per partition."""

    @dg.asset(ins=project.raw_input())
    def downstream(raw: BeiwePartitions) -> None:
        return None

    result = project.run(downstream)
    messages = [event.user_message for event in project.instance.all_logs(result.run_id)]
    lines = [message for message in messages if message.startswith("Raw data of")]
    assert len(lines) == 1
    assert "2 participants" in lines[0]


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
        return frame.groupby(frame["UTC time"].dt.floor("D")).size().rename("rows").reset_index()

    result = project.run(daily_gps, partition=IOS)
    (event,) = result.asset_materializations_for_node("beiwe__sleep__daily_gps")
    assert event.metadata["dagster/row_count"].value == 17
    assert event.metadata["encryption"].value == "cryptease"
    columns = {column.name: column.type for column in event.metadata["dagster/column_schema"].value.columns}
    assert columns == {"UTC time": "datetime64[ms, UTC]", "rows": "int64"}
    assert tables_below(project) == [f".tables/beiwe/sleep/daily_gps/{IOS}.parquet.lock"]

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
        return raw.read("gps", columns=["timestamp"]).head(5)

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
    assert len(view.concat()) == 10


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
        assert TablePartitions(store, ["scales"], partitions).concat()["answer"].tolist() == answers


def test_several_partitions_are_a_dict_for_who_wants_that(
    project: Project, per_participant: dg.AssetsDefinition
) -> None:
    """As other IO managers give it."""
    got: list[Any] = []
    project.run(per_participant, downstream_of(per_participant, dict[str, pd.DataFrame], got), last_only=True)
    assert {key: len(frame) for key, frame in got[0].items()} == {ANDROID: 5, IOS: 5}


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
    assert tables_below(project) == [f".tables/beiwe/sleep/ranges/{each}.parquet.lock" for each in (ANDROID, IOS)]
    result = project.run(ranges, tags={**tags, "form": "one"}, raise_on_error=False)
    assert not result.success
    assert "returned one DataFrame, but this run is about 2" in str(result.all_events)


def test_only_tables_are_stored(project: Project, study: Study) -> None:
    """Nothing is pickled."""

    @dg.asset(key=["beiwe", "sleep", "numbers"], io_manager_key=TABLES, metadata=study.to_metadata())
    def numbers() -> list[int]:
        return [1, 2]

    result = project.run(numbers, raise_on_error=False)
    assert "returned a list" in str(result.all_events)
    assert tables_below(project) == []


def test_the_lake_io_manager_stores_nothing(project: Project) -> None:
    """With the advice to take the other one."""

    @dg.asset(key=["beiwe", "sleep", "wrong"], io_manager_key="beiwe_lake_io_manager")
    def wrong() -> pd.DataFrame:
        return pd.DataFrame({"n": [1]})

    result = project.run(wrong, raise_on_error=False)
    assert "beiwe_table_io_manager" in str(result.all_events)


def overview(**metadata: Any) -> dg.AssetsDefinition:
    @dg.asset(name="overview", io_manager_key=TABLES, metadata=metadata)
    def asset() -> pd.DataFrame:
        return pd.DataFrame({"study": ["Sleep and Mood"]})

    return asset


def test_a_table_of_no_study_is_locked_with_the_lakes_passphrase(project: Project) -> None:
    """And without one it is not stored, unless it says that it holds nothing about participants."""
    project.run(overview())
    assert len(list(project.folder.glob(".lake/.tables/overview~*.parquet.lock"))) == 1


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


def test_raw_data_of_no_study_is_refused(project: Project) -> None:
    """The IO manager needs to know whose passphrase to take."""
    other = dg.AssetSpec("other", metadata={"dagster/io_manager_key": "beiwe_lake_io_manager"})

    @dg.asset(ins={"raw": dg.AssetIn("other")})
    def downstream(raw: Any) -> None: ...

    project.raw = other
    result = project.run(downstream, raise_on_error=False)
    assert "raw_data" in str(result.all_events)


def test_a_filled_lake_is_what_these_tests_read(environment: Path, shared_world: World, tmp_path: Path) -> None:
    """The copy verifies: its manifests are those of the original."""
    lake = study_lake(environment, shared_world)
    fresh = study_lake(tmp_path / "fresh", shared_world)
    with SimulatedServer(shared_world) as server:
        fill(server, fresh, cells_of(ANDROID, weeks=1))
    copied, made = lake.manifest(ANDROID, WEEKS[0]), fresh.manifest(ANDROID, WEEKS[0])
    assert copied is not None
    assert made is not None
    assert copied.data_version == made.data_version
