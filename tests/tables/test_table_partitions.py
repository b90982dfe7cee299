"""Tables are read lazily: by whom, when, and by column, with as little fetched as possible."""

from __future__ import annotations

import subprocess
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from reading_fixtures import shared_lake
from reading_helpers import ANDROID, IOS, WEEKS, study_lake
from table_helpers import stored_file

from dagster_beiwe.errors import ConfigurationError, IntegrityError, TimeRangeError
from dagster_beiwe.lake.storage.local import LocalStorage
from dagster_beiwe.lake.study import StudyLake
from dagster_beiwe.simulator import World
from dagster_beiwe.tables.partitions import TablePartitions, private_connection
from dagster_beiwe.tables.sql import query
from dagster_beiwe.tables.store import TableStore

ROWS = 200_000
KEY = ["beiwe", "sleep", "daily_gps"]
SITES = [f"{site}|{WEEKS[0]}" for site in ("boston", "zurich")]
NOON = datetime(2024, 3, 5, 12, tzinfo=timezone.utc)


def week(participant: str, start: str) -> pd.DataFrame:
    """Several groups of rows, in order of time."""
    table: pd.DataFrame = pd.DataFrame(
        {
            "participant": pd.Categorical([participant] * ROWS),
            "UTC time": pd.date_range(start, periods=ROWS, freq="3s", tz="UTC").as_unit("ms"),
            "latitude": np.random.default_rng(len(start)).normal(47.1, 0.01, ROWS),
        }
    )
    return table


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory, shared_lake: StudyLake, shared_world: World) -> StudyLake:
    """A lake with raw data of three weeks, and a table of two of them; one partition is not there."""
    folder = tmp_path_factory.mktemp("tables") / "lake"
    subprocess.run(["cp", "-a", shared_lake.storage.describe(), str(folder)], check=True)
    lake = study_lake(folder, shared_world)
    keys = [(ANDROID, WEEKS[0]), (ANDROID, WEEKS[1]), (IOS, WEEKS[0])]
    TableStore.of_study(lake).write_all(KEY, {f"{who}|{when}": week(who, when) for who, when in keys})
    everybody = pd.concat([week(who, WEEKS[0]) for who in ("a", "b")])
    TableStore.of_study(lake).write(["beiwe", "sleep", "everybody"], everybody)
    few = everybody.iloc[ROWS - 1 : ROWS + 1]
    TableStore.of_study(lake).write_all(["beiwe", "sleep", "by_site"], dict.fromkeys(SITES, few))
    return lake


@pytest.fixture
def ranges(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of what is fetched of files."""
    sizes: list[int] = []
    read_range = LocalStorage.read_range

    def counted(storage: LocalStorage, path: str, start: int, size_bytes: int) -> bytes:
        sizes.append(size_bytes)
        return read_range(storage, path, start, size_bytes)

    monkeypatch.setattr(LocalStorage, "read_range", counted)
    return sizes


def test_a_table_is_a_mapping_by_partition(filled: StudyLake) -> None:
    """In the order of keys, with the types that it was stored with; what was never materialized is named."""
    table = TablePartitions.of(filled, "daily_gps")
    assert list(table) == [f"{ANDROID}|{WEEKS[0]}", f"{ANDROID}|{WEEKS[1]}", f"{IOS}|{WEEKS[0]}"]
    assert table.missing == (f"{ANDROID}|{WEEKS[2]}", f"{IOS}|{WEEKS[1]}", f"{IOS}|{WEEKS[2]}")
    pd.testing.assert_frame_equal(table[f"{IOS}|{WEEKS[0]}"], week(IOS, WEEKS[0]))
    assert (len(table.to_pandas()), table.dataset.count_rows()) == (3 * ROWS, 3 * ROWS)


def test_people_and_times_choose_partitions_and_rows(filled: StudyLake) -> None:
    """Half-open, also if the column of times was not asked for, and by what the missing ones are named too."""
    table = TablePartitions.of(
        filled, "sleep/daily_gps", participants=[IOS], start=NOON, end=NOON + timedelta(hours=1), columns=["latitude"]
    )
    assert (list(table), table.missing) == ([f"{IOS}|{WEEKS[0]}"], ())
    expected = week(IOS, WEEKS[0]).set_index("UTC time")["latitude"][NOON : NOON + timedelta(minutes=59, seconds=57)]
    frame = table.to_pandas()
    assert (list(frame.columns), frame["latitude"].tolist()) == (["latitude"], expected.tolist())
    assert table.dataset.to_table()["latitude"].to_pylist() == expected.tolist()
    later = TablePartitions.of(
        filled, "daily_gps", participants=[IOS], start=datetime(2024, 3, 20, tzinfo=timezone.utc)
    )
    assert later.missing == (f"{IOS}|{WEEKS[1]}", f"{IOS}|{WEEKS[2]}")


@pytest.mark.parametrize(("name", "partitions"), [("everybody", [""]), ("by_site", SITES)])
def test_people_choose_rows_of_a_table_whose_partitions_are_not_theirs(
    filled: StudyLake, name: str, partitions: list[str]
) -> None:
    """By its column."""
    table = TablePartitions.of(filled, name, participants=["b"])
    assert (list(table), table.missing) == (partitions, ())
    assert set(table.to_pandas()["participant"]) == {"b"}
    assert table.dataset.count_rows() == len(table.to_pandas())


def test_no_more_is_fetched_than_is_needed(filled: StudyLake, ranges: list[int]) -> None:
    """An hour of one column: the ends of the files, and of the groups of rows the one that holds it."""
    table = TablePartitions.of(filled, "daily_gps", start=NOON, end=NOON + timedelta(hours=1), columns=["latitude"])
    assert len(table.dataset.to_table()) == 2 * 1200
    whole = sum(TableStore.of_study(filled).opened(KEY, partition=each).manifest.stored_size_bytes for each in table)
    assert len(ranges) == 2 * len(table)
    assert sum(ranges[len(table) :]) < whole * 0.7


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"table": "daily_gsp"}, ConfigurationError, "beiwe/sleep/daily_gps"),
        ({"start": datetime(2024, 3, 5)}, TimeRangeError, "no time zone"),
        ({"start": "2024-03-05"}, TimeRangeError, "'2024-03-05', of type str"),
        ({"start": NOON, "end": NOON}, TimeRangeError, "not before"),
        ({"start": NOON, "time_column": "time"}, ConfigurationError, "UTC time"),
        ({"columns": ["latitud"]}, ConfigurationError, "Did you mean 'latitude'"),
        ({"columns": "latitude"}, ConfigurationError, r"\['latitude'\]"),
        ({"participants": IOS}, ConfigurationError, rf"\['{IOS}'\]"),
    ],
)
def test_mistakes_are_told(filled: StudyLake, options: dict[str, Any], error: type[Exception], words: str) -> None:
    """With what there is instead."""
    with pytest.raises(error, match=words):
        _ = TablePartitions.of(filled, **{"table": "daily_gps", **options}).dataset


def test_a_changed_page_is_found_by_whoever_reads_it(shared_world: World, tmp_path: Path, ranges: list[int]) -> None:
    """Others are read; nobody gets what was changed."""
    lake = study_lake(tmp_path, shared_world)
    TableStore.of_study(lake).write(KEY, week(IOS, WEEKS[0]))
    file = stored_file(tmp_path)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1  # times and participants take a hundredth of the file
    file.write_bytes(data)
    assert len(TablePartitions.of(lake, "daily_gps", columns=["UTC time"]).to_pandas()) == ROWS
    for start in (None, NOON - timedelta(days=5)):
        with pytest.raises(IntegrityError, match="changed or damaged"):
            TablePartitions.of(lake, "daily_gps", start=start, columns=["latitude"]).to_pandas()


def test_values_may_be_missing_in_some_partitions(shared_world: World, tmp_path: Path) -> None:
    """Also where another partition has all of them, or has no such column."""
    lake, key = study_lake(tmp_path, shared_world), ["beiwe", "steps"]
    full, gaps = pd.DataFrame({"steps": [1.0, 2.0], "note": ["a", "b"]}), pd.DataFrame({"steps": [3.0, None]})
    TableStore.of_study(lake).write_all(key, {"full": full, "gaps": gaps})
    table = TablePartitions.of(lake, key)
    rows = table.dataset.to_table()
    rows.validate(full=True)
    assert {name: rows[name].null_count for name in rows.column_names} == {"steps": 1, "note": 2}
    pd.testing.assert_frame_equal(table.to_pandas(), pd.concat([full, gaps], ignore_index=True))


def test_polars_reads_lazily(filled: StudyLake, ranges: list[int]) -> None:
    """With its own columns and conditions pushed down."""
    pl = pytest.importorskip("polars")
    frame = TablePartitions.of(filled, "daily_gps", participants=[IOS]).to_polars()
    hour = (pl.col("UTC time") >= NOON) & (pl.col("UTC time") < NOON + timedelta(hours=1))
    assert frame.filter(hour).select("latitude").collect().shape == (1200, 1)
    assert len(ranges) == 2
    chosen = TablePartitions.of(filled, "daily_gps", start=NOON, columns=["latitude"]).to_polars()
    assert chosen.collect_schema().names() == ["latitude"]


def test_duckdb_reads_lazily_and_writes_nothing(filled: StudyLake, ranges: list[int]) -> None:
    """In memory, with no file of its own, not even for what does not fit."""
    duckdb = pytest.importorskip("duckdb")
    relation = TablePartitions.of(filled, "daily_gps", participants=[IOS], columns=["latitude"], end=NOON).to_duckdb()
    assert relation.columns == ["latitude"]
    assert relation.aggregate("count(*)").fetchall() == [(43_200,)]
    assert len(ranges) == 2
    connection = private_connection()
    for statement in ("COPY (SELECT 1) TO 'rows.csv'", "SET temp_directory = 'spill'", "ATTACH 'file.db'"):
        with pytest.raises(duckdb.Error):
            connection.execute(statement)


def test_sql_reads_the_tables_of_a_study(filled: StudyLake) -> None:
    """By the end of their keys, beside names that the statement gives itself."""
    pytest.importorskip("duckdb")
    rows = query(
        filled,
        'WITH few AS (FROM "sleep/daily_gps") SELECT participant, count(*) AS n FROM few GROUP BY 1 ORDER BY n DESC',
    )
    assert rows.to_dict("list") == {"participant": [ANDROID, IOS], "n": [2 * ROWS, ROWS]}


def test_days_of_sql_are_those_of_utc(filled: StudyLake, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the zone of the machine is."""
    pytest.importorskip("duckdb")
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "America/New_York")
        time.tzset()
        first = query(filled, 'SELECT CAST(min("UTC time") AS DATE) AS day FROM daily_gps')
    time.tzset()
    assert first["day"].tolist() == [pd.Timestamp(WEEKS[0])]


@pytest.mark.parametrize("name", ["daily_gps", "everybody", "by_site"])
def test_a_mistyped_participant_is_refused(filled: StudyLake, name: str) -> None:
    """As by raw data; somebody whom only rows of the table name is none."""
    with pytest.raises(ConfigurationError, match=r"^Study \w+ in the lake at .* holds no data of zoe\. .* Correct the"):
        TablePartitions.of(filled, name, participants=["zoe", ANDROID if name == "daily_gps" else "b"])


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("SELECT longitude FROM daily_gps", "longitude"),
        ("SELECT 1 FROM daily_gsp", "beiwe/sleep/daily_gps"),
        ("SELECT * FROM '/etc/hostname'", "no table called"),
        ("SELECT * FROM read_csv('/etc/hostname')", "file system operations are disabled"),
        ("SELECT * FROM daily_gps a, Daily_gps b", "one name in SQL"),
        ("COPY daily_gps TO 'rows.csv'", "selects nothing"),
        ("SELECT 1; DROP TABLE daily_gps", "2 statements"),
        ("SELEC", "syntax error"),
    ],
)
def test_sql_does_nothing_but_select(filled: StudyLake, statement: str, words: str) -> None:
    """No files, and no second statement."""
    pytest.importorskip("duckdb")
    with pytest.raises(ConfigurationError, match=words):
        query(filled, statement)


def test_an_error_of_sql_tells_no_value(filled: StudyLake) -> None:
    """DuckDB's own message would."""
    pytest.importorskip("duckdb")
    told = """{"error": true, "error_type": "parser", "error_message": "' || participant || '"}"""
    for expression, error in {
        "CAST(participant AS INT)": "conversion exception",
        f"json_deserialize_sql('{told}')": "parser exception",
    }.items():
        with pytest.raises(ConfigurationError, match=error) as caught:
            query(filled, f"SELECT {expression} FROM daily_gps")
        assert IOS not in str(caught.value)
        assert ANDROID not in str(caught.value)


__all__ = ["shared_lake"]
