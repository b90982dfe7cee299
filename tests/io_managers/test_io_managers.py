"""Raw data in real Dagster runs: which windows arrive, and what is refused."""

# Without `from __future__ import annotations`: Dagster reads the types of contexts when it decorates.

from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pytest
from io_project import Project, seen_windows
from reading_helpers import ANDROID, IOS, START, WEEKS, cells_of, fill, study_lake

from dagster_beiwe.cells import CellKey
from dagster_beiwe.partitions.definitions import participant_partitions, raw_data_partitions, window_partitions
from dagster_beiwe.reading import BeiwePartitions
from dagster_beiwe.simulator import SimulatedServer, World
<<<<<<< HEAD
from dagster_beiwe.studies.config import StudyConfig
from dagster_beiwe.studies.study import Study
from dagster_beiwe.tables.store import TableStore
=======
>>>>>>> e9b7702 (tests: split those of IO managers by subject)

pytestmark = [
    pytest.mark.filterwarnings("ignore:InitResourceContext.dagster_run is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Parameter `backfill_policy`"),  # in beta
]

<<<<<<< HEAD
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

=======
>>>>>>> e9b7702 (tests: split those of IO managers by subject)

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


def test_the_lake_io_manager_stores_nothing(project: Project) -> None:
    """With the advice to take the other one."""

    @dg.asset(key=["beiwe", "sleep", "wrong"], io_manager_key="beiwe_lake_io_manager")
    def wrong() -> pd.DataFrame:
        return pd.DataFrame({"n": [1]})

    result = project.run(wrong, raise_on_error=False)
    assert "beiwe_table_io_manager" in str(result.all_events)


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
