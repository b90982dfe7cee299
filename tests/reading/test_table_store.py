"""Tables at rest: they come back as they were, and whatever is not as it was is refused."""

from __future__ import annotations

import json
import os
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pandas.api.types import union_categoricals
from reading_helpers import PASSPHRASE, study_lake

from dagster_beiwe.errors import (
    ConfigurationError,
    EncryptionError,
    IntegrityError,
    TableMissingError,
    WrongPassphraseError,
)
from dagster_beiwe.lake.lake import open_storage
from dagster_beiwe.lake.seals import table_path
from dagster_beiwe.lake.storage import LocalStorage
from dagster_beiwe.lake.tables import TableStore
from dagster_beiwe.simulator import World

KEY = ["beiwe", "sleep", "daily_gps"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "lake"


@pytest.fixture
def store(folder: Path, shared_world: World) -> TableStore:
    return TableStore.of_study(study_lake(folder, shared_world))


@pytest.fixture
def frame() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "participant": pd.Categorical(["ab12", "cd34", "ab12"]),
            "day": pd.to_datetime(["2024-03-04", "2024-03-05", None]).tz_localize("UTC").astype("datetime64[ms, UTC]"),
            "files": pd.array([3, None, 5], dtype="Int64"),
            "metres": [1.5, float("nan"), -2.0],
            "note": pd.array(["Grüße", None, "a,b\nc"], dtype="string"),
            "whole": [True, False, True],
        }
    )


def files_below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in (folder / ".tables").rglob("*") if path.is_file())


def stored_file(folder: Path, name: str = "daily_gps") -> Path:
    return folder / ".tables/beiwe/sleep" / f"{name}.parquet.lock"


def test_a_table_comes_back_with_its_types(store: TableStore, frame: pd.DataFrame) -> None:
    """Categories, nullable integers, aware times in milliseconds, texts with missing values."""
    version = store.write(KEY, frame)
    back = store.read(KEY)
    pd.testing.assert_frame_equal(back, frame)
    assert (version.rows, version.encryption) == (3, "cryptease")


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
        pd.Categorical(pd.to_datetime(["2024-03-04", None]).tz_localize("Europe/Berlin")),
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
    move = LocalStorage.move

    def moved(storage: LocalStorage, source: str, target: str) -> None:
        written.extend(path.read_bytes() for path in folder.rglob("*") if path.is_file())
        move(storage, source, target)

    monkeypatch.setattr(LocalStorage, "move", moved)
    store.write(KEY, frame)
    written += [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    assert len(written) > 4
    for secret in ("Grüße".encode(), b"cd34", b"PAR1", b"metres"):
        assert not any(secret in data for data in written)
    assert files_below(folder) == [".tables/beiwe/sleep/daily_gps.json", ".tables/beiwe/sleep/daily_gps.parquet.lock"]
    assert {path.stat().st_mode & 0o777 for path in (folder / ".tables").rglob("*")} == {0o600, 0o700}


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
def test_different_partitions_have_different_paths(keys: list[str]) -> None:
    """Whatever the keys are; and no path leads out of its asset's folder or is too long for a file system."""
    paths = [table_path(KEY, key) for key in keys]
    assert paths[0] != paths[1]
    for path in paths:
        parts = path.split("/")
        assert parts[:4] == [".tables", *KEY]
        assert all(part.isascii() and 0 < len(part) <= 120 and "." not in part for part in parts[1:])


@pytest.mark.parametrize("key", ["..", ".", "", "../../etc", "a/b", "/etc/x", "a\\b", "\0", "C:", ".hidden", "..|.."])
def test_hostile_partition_keys_stay_inside(store: TableStore, folder: Path, frame: pd.DataFrame, key: str) -> None:
    """They are names of partitions, no paths."""
    store.write(KEY, frame, partition=key)
    pd.testing.assert_frame_equal(store.read(KEY, partition=key), frame)
    inside = list(folder.rglob("*.parquet.lock"))
    assert [path.is_relative_to(folder / ".tables/beiwe/sleep/daily_gps") for path in inside] == [True]


def test_what_was_never_written_is_missing(store: TableStore) -> None:
    """With advice."""
    with pytest.raises(TableMissingError, match="Materialise it first"):
        store.read(KEY)
    with pytest.raises(TableMissingError, match="2024-03-04"):
        store.read(KEY, partition="ab12|2024-03-04")


def test_a_changed_table_is_refused(store: TableStore, folder: Path, frame: pd.DataFrame) -> None:
    """One bit of the stored file, or the file gone."""
    store.write(KEY, frame)
    path = stored_file(folder)
    data = bytearray(path.read_bytes())
    for position in (0, len(data) // 2, len(data) - 1):
        data[position] ^= 1
        path.write_bytes(bytes(data))
        with pytest.raises(IntegrityError, match="changed, damaged or removed"):
            store.read(KEY)
        data[position] ^= 1
    path.write_bytes(bytes(data) + b"x")
    with pytest.raises(IntegrityError):
        store.read(KEY)
    path.unlink()
    with pytest.raises(IntegrityError, match="removed"):
        store.read(KEY)


def test_a_changed_seal_is_refused(store: TableStore, folder: Path, frame: pd.DataFrame) -> None:
    """Nobody without the passphrase can make one."""
    store.write(KEY, frame)
    path = stored_file(folder).with_name("daily_gps.json")
    document = json.loads(path.read_bytes())
    document["versions"][0]["rows"] = 4
    path.write_text(json.dumps(document))
    with pytest.raises(IntegrityError):
        store.read(KEY)
    path.write_text("{")
    with pytest.raises(IntegrityError):
        store.read(KEY)


def test_swapped_tables_are_refused(store: TableStore, folder: Path, frame: pd.DataFrame) -> None:
    """One participant's table under another's name, with its seal."""
    store.write(KEY, frame, partition="ab12")
    store.write(KEY, frame, partition="cd34")
    base = folder / ".tables/beiwe/sleep/daily_gps"
    for suffix in (".json", ".parquet.lock"):
        (base / f"cd34{suffix}").write_bytes((base / f"ab12{suffix}").read_bytes())
    with pytest.raises(IntegrityError, match="swapped"):
        store.read(KEY, partition="cd34")
    with pytest.raises(IntegrityError, match="swapped"):
        store.write(KEY, frame, partition="cd34")


def test_a_wrong_passphrase_is_found(store: TableStore, folder: Path, frame: pd.DataFrame, shared_world: World) -> None:
    """Before anything is read or written."""
    store.write(KEY, frame)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    other = TableStore.of_study(study_lake(folder, shared_world, passphrase="another"))
    with pytest.raises(WrongPassphraseError):
        other.read(KEY)
    with pytest.raises(WrongPassphraseError):
        other.write(KEY, frame)
    assert before == {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class CrashError(Exception):
    """A run that dies."""


@pytest.mark.parametrize("step", range(1, 8))
def test_a_crash_leaves_the_old_table_or_the_new_one(
    store: TableStore, folder: Path, frame: pd.DataFrame, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """At every step of writing; the next run goes on and leaves no rubbish."""
    store.write(KEY, frame)
    newer = frame.assign(metres=0.0)
    with monkeypatch.context() as patch:
        calls = {"left": step}
        for name in ("create", "write", "move", "sync_folder", "delete"):
            patch.setattr(LocalStorage, name, crashing(getattr(LocalStorage, name), calls))
        try:
            store.write(KEY, newer)
        except CrashError:
            pass
        else:
            assert step == 7, "there are fewer steps than this test thinks"
    found = store.read(KEY)
    assert found["metres"].equals(frame["metres"]) or found["metres"].equals(newer["metres"])
    store.write(KEY, newer)
    pd.testing.assert_frame_equal(store.read(KEY), newer)
    assert not [path for path in os.listdir(folder / ".tables/beiwe/sleep") if path.endswith(".part")]


def crashing(original: Any, calls: dict[str, int]) -> Any:
    def call(*args: Any, **kwargs: Any) -> Any:
        calls["left"] -= 1
        if calls["left"] == 0:
            raise CrashError
        return original(*args, **kwargs)

    return call


def test_a_crash_of_the_first_commit_leaves_no_table(
    store: TableStore, frame: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading says so, and writing again works."""
    with monkeypatch.context() as patch:
        patch.setattr(LocalStorage, "move", crashing(LocalStorage.move, {"left": 1}))
        with pytest.raises(CrashError):
            store.write(KEY, frame)
    with pytest.raises(TableMissingError, match="materialise it again"):
        store.read(KEY)
    store.write(KEY, frame)
    assert len(store.read(KEY)) == 3


def test_the_index_made_by_a_pivot_comes_back(store: TableStore) -> None:
    """Names of columns that were categories are plain texts then."""
    answers = pd.DataFrame({"who": pd.Categorical(["ab12"]), "item": pd.Categorical(["sleep"]), "n": [3]})
    wide = answers.pivot_table(index="who", columns="item", values="n", observed=True)
    store.write(KEY, wide)
    back = store.read(KEY)
    assert (list(back.columns), back.columns.name, back.loc["ab12", "sleep"]) == (["sleep"], "item", 3)


@pytest.mark.parametrize(
    ("bad", "truth"),
    [
        (
            pd.DataFrame({"mixed": [1, "Zehnhausen 12"]}),
            "Column 'mixed' of the table mixes values of the types int, str",
        ),
        (pd.DataFrame({"n": [1, 2]}, index=[1, "Zehnhausen 12"]), "The index of the table mixes values"),
        (pd.DataFrame({"fine": [1], "odd": [object()]}), "Column 'odd' of the table has values of the type object"),
        (pd.DataFrame({"fine": [1], "large": [2**70]}), "Column 'large' of the table has values of the type int"),
        (pd.DataFrame({"o": [{"Zehnhausen": 1}, {"b": 2}]}), "Column 'o' of the table has values of the type dict"),
        (pd.DataFrame({"z": [1 + 2j]}), "Column 'z' of the table has the type complex128"),
        (pd.DataFrame({"l": pd.array([[1]], pd.ArrowDtype(pa.list_(pa.int8())))}), "Column 'l' .* has the type list<"),
        (pd.DataFrame({"c": pd.Categorical([1j])}), "Column 'c' of the table has categories of the type complex128"),
        (pd.DataFrame({"n": [1]}, index=pd.cut([1], [0, 1])), "The index of the table has categories of the type"),
        (pd.DataFrame([[1, 2]], columns=["same", "same"]), "Several columns of the table have the same name: same"),
        (pd.DataFrame([[1, 2]], columns=[0, 1]), "not texts, but of the type int"),
        (pd.DataFrame([[1]], columns=pd.MultiIndex.from_tuples([("a", "b")])), "names of 2 levels"),
    ],
)
def test_what_parquet_cannot_hold_is_refused_without_its_values(
    store: TableStore, bad: pd.DataFrame, truth: str
) -> None:
    """The message names the column and what is wrong with it, never a value. What could not be read is not stored."""
    with pytest.raises(ConfigurationError, match=truth) as caught:
        store.write(KEY, bad)
    assert "Zehnhausen" not in str(caught.value)
    assert "Nothing was stored" in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    assert not store.exists(KEY)


def lake_store(folder: Path, passphrase: str | None) -> TableStore:
    storage = open_storage(folder)
    return TableStore.of_lake(storage, passphrase=passphrase) if passphrase else TableStore.of_nobody(storage)


def test_tables_of_no_study_are_locked_with_the_lakes_passphrase(folder: Path, frame: pd.DataFrame) -> None:
    """Found wrong before anything is read."""
    lake_store(folder, PASSPHRASE).write(["overview"], frame)
    pd.testing.assert_frame_equal(lake_store(folder, PASSPHRASE).read(["overview"]), frame)
    assert (folder / ".tables/overview.parquet.lock").is_file()
    with pytest.raises(WrongPassphraseError):
        lake_store(folder, "another").read(["overview"])


def test_a_passphrase_can_be_set_later(folder: Path, frame: pd.DataFrame) -> None:
    """The plain table is not taken for a locked one; written again it is locked, and the plain one goes."""
    lake_store(folder, None).write(["overview"], frame)
    assert files_below(folder) == [".tables/overview.json", ".tables/overview.parquet"]
    with pytest.raises(IntegrityError, match="materialise it again"):
        lake_store(folder, PASSPHRASE).read(["overview"])
    lake_store(folder, PASSPHRASE).write(["overview"], frame)
    assert len(lake_store(folder, PASSPHRASE).read(["overview"])) == 3
    assert not (folder / ".tables/overview.parquet").exists()


def test_a_study_without_encryption_has_plain_tables(folder: Path, frame: pd.DataFrame, shared_world: World) -> None:
    """Which any tool opens."""
    TableStore.of_study(study_lake(folder, shared_world, cipher=None, passphrase=None)).write(KEY, frame)
    pd.testing.assert_frame_equal(pd.read_parquet(folder / ".tables/beiwe/sleep/daily_gps.parquet"), frame)


def test_tables_of_age_need_the_private_key(folder: Path, frame: pd.DataFrame, shared_world: World) -> None:
    """A host with the public key alone writes what it can't read."""
    pyrage = pytest.importorskip("pyrage")
    from dagster_beiwe.encryption.age import AgeCipher

    identity = pyrage.x25519.Identity.generate()
    writer = study_lake(folder, shared_world, cipher=AgeCipher(recipients=[str(identity.to_public())]))
    reader = study_lake(folder, shared_world, cipher=AgeCipher(identity=str(identity)))
    TableStore.of_study(writer).write(KEY, frame)
    with pytest.raises(EncryptionError, match="age"):
        TableStore.of_study(writer).read(KEY)
    pd.testing.assert_frame_equal(TableStore.of_study(reader).read(KEY), frame)


def test_a_table_says_when_and_by_whom_it_was_written(store: TableStore, frame: pd.DataFrame) -> None:
    """In UTC, with the run."""
    version = store.write(KEY, frame, run_id="run-1")
    written = datetime.fromisoformat(version.written_at)
    assert written.tzinfo == timezone.utc
    assert version.run_id == "run-1"
