"""Tables at rest: they come back as they were, and whatever is not as it was is refused."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pandas.api.types import union_categoricals
from table_helpers import KEY, stored, stored_file, tables_below

from dagster_beiwe.errors import ConfigurationError
from dagster_beiwe.lake.layout import LogLayout, Subject, asset_path
from dagster_beiwe.lake.storage.local import LocalStorage
from dagster_beiwe.tables.store import TableStore


def test_a_table_comes_back_with_its_types(store: TableStore, frame: pd.DataFrame) -> None:
    """Categories, nullable integers, aware times in milliseconds, texts with missing values."""
    version = store.write(KEY, frame)
    back = store.read(KEY)
    pd.testing.assert_frame_equal(back, frame)
    assert (version.rows, version.encryption) == (3, "cryptease")


@pytest.mark.parametrize("dtype", ["string", "category", pd.ArrowDtype(pa.large_string())], ids=str)
def test_texts_that_repeat_come_back_with_their_type(store: TableStore, dtype: Any) -> None:
    """With and without missing ones, as a column and as an index, whichever columns are read."""
    texts = pd.Series(["often", "never"] * 500, dtype=dtype)
    frame = pd.DataFrame({"all": texts, "some": texts.where(texts.index % 3 > 0)}).set_axis(["a", "b"] * 500)
    store.write(KEY, frame)
    pd.testing.assert_frame_equal(store.read(KEY), frame)
    pd.testing.assert_frame_equal(store.read(KEY, columns=["some"]), frame[["some"]])


@pytest.mark.parametrize(
    "index",
    [
        pd.Index(["x", "y", "z"], name="label"),
        pd.MultiIndex.from_tuples([("a", 1), ("a", 2), ("b", 1)], names=["who", "n"]),
    ],
)
def test_an_index_comes_back(store: TableStore, frame: pd.DataFrame, index: pd.Index[Any]) -> None:
    """Also one of several levels."""
    store.write(KEY, frame.set_axis(index))
    pd.testing.assert_frame_equal(store.read(KEY), frame.set_axis(index))


def test_an_empty_table_comes_back(store: TableStore, frame: pd.DataFrame) -> None:
    """With its columns and types."""
    store.write(KEY, frame.iloc[:0])
    pd.testing.assert_frame_equal(store.read(KEY), frame.iloc[:0])


@pytest.mark.parametrize(
    "values",
    [
        pd.Categorical(["often", "never"], categories=["never", "seldom", "often"], ordered=True),
        pd.Categorical([2, None], categories=[3, 1, 2]),
        pd.Categorical([None, None], categories=["unused"]),
        pd.Categorical(pd.array([7, None], dtype="Int64")),
        pd.Categorical(pd.array([True, None], dtype="boolean")),
        pd.Categorical(pd.array(["a", None], dtype="string")),
        pd.Categorical(pd.array([1, 2], dtype="int32[pyarrow]")),
        pd.Categorical(pd.to_timedelta([1, None], unit="s")),
        pd.Categorical(pd.DatetimeIndex(["2024-03-04", "NaT"], tz="Europe/Berlin")),
        pd.Categorical(pd.PeriodIndex(["2024-03", "NaT"], freq="M")),
        pd.cut([1.5, float("nan")], [0, 1, 2]),
        union_categoricals([pd.Categorical(["a"]), pd.Categorical(["b"])]),
        union_categoricals([pd.Categorical([1]), pd.Categorical([2])]).as_ordered(),
    ],
)
def test_categories_come_back_used_or_not(store: TableStore, values: pd.Categorical) -> None:
    """In their order and of their type: an answer's scale has values that nobody chose."""
    frame = pd.DataFrame({"answer": values})
    store.write(KEY, frame)
    pd.testing.assert_frame_equal(store.read(KEY), frame)


def test_attributes_come_back(store: TableStore, frame: pd.DataFrame) -> None:
    """Such as the counts of a frame that was read from raw data."""
    frame.attrs["beiwe"] = {"repaired_rows": 3}
    store.write(KEY, frame)
    assert store.read(KEY).attrs == {"beiwe": {"repaired_rows": 3}}


def test_a_large_table_is_written_in_groups(store: TableStore) -> None:
    """More rows than one group of rows holds."""
    frame = pd.DataFrame({"n": range(300_000)})
    store.write(KEY, frame)
    pd.testing.assert_frame_equal(store.read(KEY), frame)


def test_columns_can_be_chosen(store: TableStore, frame: pd.DataFrame) -> None:
    """In the order asked for; unknown ones are an error with the nearest right one."""
    store.write(KEY, frame)
    assert list(store.read(KEY, columns=["metres", "day"]).columns) == ["metres", "day"]
    store.write(KEY, frame.set_index("participant"))
    assert store.read(KEY, columns=["metres"]).index.tolist() == frame["participant"].tolist()
    with pytest.raises(ConfigurationError, match="'metres'"):
        store.read(KEY, columns=["meters"])


def test_nothing_readable_is_on_the_disk(
    store: TableStore, folder: Path, frame: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither while it is written nor afterwards, and only the owner may open it."""
    written: list[bytes] = []
    sync = LocalStorage.sync_folder

    def synced(storage: LocalStorage, path: str) -> None:
        written.extend(stored(folder).values())
        sync(storage, path)

    monkeypatch.setattr(LocalStorage, "sync_folder", synced)
    store.write(KEY, frame)
    written += stored(folder).values()
    assert len(written) > 10
    for secret in ("Grüße".encode(), b"wq7kz3mt", b"PAR1", b"metres", b"datetime"):
        assert not any(secret in data for data in written)
    assert tables_below(folder) == [f"{store.layout.folder}/.tables/beiwe/sleep/daily_gps.parquet"]
    assert {path.stat().st_mode & 0o777 for path in folder.rglob("*")} == {0o600, 0o700}


def test_partitions_have_files_of_their_own(store: TableStore, folder: Path, frame: pd.DataFrame) -> None:
    """The dimensions of a key become folders."""
    store.write(KEY, frame, partition="ab12|2024-03-04")
    store.write(KEY, frame.head(1), partition="ab12|2024-03-11")
    assert len(store.read(KEY, partition="ab12|2024-03-04")) == 3
    assert len(store.read(KEY, partition="ab12|2024-03-11")) == 1
    assert stored_file(folder, "daily_gps/ab12/2024-03-11").is_file()
    assert store.exists(KEY, partition="ab12|2024-03-04")
    assert not store.exists(KEY, partition="ab12|2024-03-18")
    assert not store.exists(KEY)


@given(st.lists(st.text(max_size=300), min_size=2, max_size=2, unique=True))
def test_different_partitions_have_different_homes(keys: list[str]) -> None:
    """Whatever the keys are: no home leads out of its asset's folder, and none is the beginning of another's name."""
    homes = [LogLayout("study").home(Subject(key, asset_path(KEY))) for key in keys]
    assert not homes[0].prefix.startswith(homes[1].prefix)
    assert not homes[1].prefix.startswith(homes[0].prefix)
    for home in homes:
        parts = home.manifests.split("/")
        assert parts[:5] == ["study", ".tables", *KEY]
        assert all(part.isascii() and 0 < len(part) <= 120 and "." not in part for part in parts[2:])


@pytest.mark.parametrize("key", ["..", ".", "", "../../etc", "a/b", "/etc/x", "a\\b", "\0", "C:", ".hidden", "..|.."])
def test_hostile_partition_keys_stay_inside(store: TableStore, folder: Path, frame: pd.DataFrame, key: str) -> None:
    """They are names of partitions, no paths."""
    store.write(KEY, frame, partition=key)
    pd.testing.assert_frame_equal(store.read(KEY, partition=key), frame)
    inside = list(folder.rglob("*.parquet"))
    assert [path.is_relative_to(folder / store.layout.tables("beiwe/sleep/daily_gps")) for path in inside] == [True]


def test_several_partitions_share_records(store: TableStore, frame: pd.DataFrame) -> None:
    """What an asset returns for many partitions costs few commits; a store that was opened before sees none of them."""
    store.write(KEY, frame, partition="0")
    before = store.at()
    written = store.write_all(KEY, {str(number): frame.head(number) for number in range(20)}, run_id="run")
    assert [written[str(number)].rows for number in range(3)] == [0, 1, 2]
    assert store.state.number == 3
    assert store.partitions(KEY) == {str(number) for number in range(20)}
    assert before.partitions(KEY) == {"0"}
    assert len(before.read(KEY, partition="0")) == 3
    assert len(store.read(KEY, partition="0")) == 0
    with pytest.raises(ConfigurationError, match="opened at a past state"):
        before.write(KEY, frame)


def test_the_index_made_by_a_pivot_comes_back(store: TableStore) -> None:
    """Names of columns that were categories are plain texts then."""
    answers = pd.DataFrame({"who": pd.Categorical(["ab12"]), "item": pd.Categorical(["sleep"]), "n": [3]})
    wide = answers.pivot_table(index="who", columns="item", values="n", observed=True)
    store.write(KEY, wide)
    back = store.read(KEY)
    assert (list(back.columns), back.columns.name, back.loc["ab12", "sleep"]) == (["sleep"], "item", 3)


def test_a_table_says_when_and_by_whom_it_was_written(store: TableStore, frame: pd.DataFrame) -> None:
    """In UTC, with the run."""
    version = store.write(KEY, frame, run_id="run-1")
    written = datetime.fromisoformat(version.written_at)
    assert written.tzinfo == timezone.utc
    assert version.run_id == "run-1"
