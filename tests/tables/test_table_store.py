"""Tables at rest: they come back as they were, and whatever is not as it was is refused."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pandas as pd
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
    sync = LocalStorage.sync_folder

    def synced(storage: LocalStorage, path: str) -> None:
        written.extend(stored(folder).values())
        sync(storage, path)

    monkeypatch.setattr(LocalStorage, "sync_folder", synced)
    store.write(KEY, frame)
    written += stored(folder).values()
    assert len(written) > 10
    for secret in ("Grüße".encode(), b"cd34", b"PAR1", b"metres"):
        assert not any(secret in data for data in written)
    assert tables_below(folder) == [f"{store.layout.folder}/.tables/beiwe/sleep/daily_gps.parquet.lock"]
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
    inside = list(folder.rglob("*.parquet.lock"))
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
    with pytest.raises(ConfigurationError, match="opened at one state"):
        before.write(KEY, frame)


def test_what_was_never_written_is_missing(store: TableStore) -> None:
    """With advice."""
    with pytest.raises(TableMissingError, match="Materialize it first"):
        store.read(KEY)
    with pytest.raises(TableMissingError, match="2024-03-04"):
        store.read(KEY, partition="ab12|2024-03-04")


def test_a_changed_table_is_refused(store: TableStore, folder: Path, frame: pd.DataFrame) -> None:
    """One bit of the stored file or of its manifest, or one of them gone."""
    store.write(KEY, frame)
    for path in (stored_file(folder), next(folder.glob("*/.tables/beiwe/sleep/daily_gps~*.json.zst"))):
        whole = path.read_bytes()
        for position in (0, len(whole) // 2, len(whole) - 1):
            path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
            with pytest.raises(IntegrityError, match="changed or damaged"):
                store.read(KEY)
        path.write_bytes(whole + b"x")
        with pytest.raises(IntegrityError):
            store.read(KEY)
        assert damaged(store)
        path.unlink()
        with pytest.raises(IntegrityError, match="missing from the lake"):
            store.read(KEY)
        assert damaged(store)
        path.write_bytes(whole)
    assert not damaged(store)


def test_an_older_table_that_is_put_back_is_not_read(
    store: TableStore, folder: Path, frame: pd.DataFrame, shared_world: World
) -> None:
    """With all that was written about it: only the log tells which one counts, and nothing of it can be replaced."""
    store.write(KEY, frame)
    first = stored(folder)
    store.write(KEY, frame.head(1))
    tables = store.layout.tables()
    newer = {path: data for path, data in stored(folder).items() if path.startswith(tables) and path not in first}
    laid_back(folder, {path: data for path, data in first.items() if path.startswith(tables)})
    assert len(store.read(KEY)) == 1
    older = [path for path in first if path.startswith(tables) and "token" not in path]
    laid_back(folder, dict(zip(sorted(newer), (first[path] for path in sorted(older)), strict=True)))
    for each in (store, TableStore.of_study(study_lake(folder, shared_world))):
        with pytest.raises(IntegrityError, match=r"not the manifest that record 2|larger file"):
            each.read(KEY)


def test_swapped_tables_are_refused(store: TableStore, folder: Path, frame: pd.DataFrame, shared_world: World) -> None:
    """One participant's table under another's name, with all that was written about it."""
    for key in ("ab12", "cd34"):
        store.write(KEY, frame, partition=key)
    base = folder / store.layout.tables("beiwe/sleep/daily_gps")
    for kind in ("*.parquet.lock", "*.json.zst"):
        (theirs,), (ours,) = base.glob(f"cd34~{kind}"), base.glob(f"ab12~{kind}")
        theirs.write_bytes(ours.read_bytes())
    with pytest.raises(IntegrityError, match=r"not the manifest|larger file"):
        store.read(KEY, partition="cd34")
    (base / "cd34~token-0").write_bytes((base / "ab12~token-0").read_bytes())
    again = TableStore.of_study(study_lake(folder, shared_world))
    for action in (lambda: again.read(KEY, partition="cd34"), lambda: again.write(KEY, frame, partition="cd34")):
        with pytest.raises(IntegrityError, match="swapped"):
            action()


def test_a_table_whose_token_was_removed_is_not_taken_for_one_that_was_never_written(
    store: TableStore, folder: Path, frame: pd.DataFrame, shared_world: World
) -> None:
    """Neither by who reads it nor by who asks for what is there, nor is another one written over it."""
    store.write(KEY, frame, partition="ab12")
    (folder / f"{store.layout.tables('beiwe/sleep/daily_gps')}/ab12~token-0").unlink()
    again = TableStore.of_study(study_lake(folder, shared_world))
    for action in (
        lambda: again.read(KEY, partition="ab12"),
        lambda: again.partitions(KEY),
        lambda: again.write(KEY, frame, partition="ab12"),
    ):
        with pytest.raises(IntegrityError, match="Folders were removed"):
            action()
    assert damaged(again)


def test_tables_that_would_lie_in_one_place_are_refused(store: TableStore, frame: pd.DataFrame) -> None:
    """A partition of one asset, and an asset below it."""
    store.write(["lab", "daily"], frame, partition="all")
    with pytest.raises(IntegrityError, match="two tables have names that lead to the same place"):
        store.write(["lab", "daily", "all"], frame)
    assert len(store.read(["lab", "daily"], partition="all")) == 3


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


@pytest.mark.parametrize("step", range(1, 14))
@pytest.mark.parametrize("first", [True, False])
def test_a_crash_leaves_the_old_table_or_the_new_one(
    folder: Path, frame: pd.DataFrame, shared_world: World, monkeypatch: pytest.MonkeyPatch, step: int, *, first: bool
) -> None:
    """At every step of writing; then the next run goes on."""
    newer = frame.assign(metres=0.0)
    store = TableStore.of_study(study_lake(folder, shared_world))
    store.write(["other"] if first else KEY, frame)
    with monkeypatch.context() as patch:
        calls = {"left": step}
        for name in ("create", "create_new", "sync_folder", "delete"):
            patch.setattr(LocalStorage, name, crashing(getattr(LocalStorage, name), calls))
        try:
            store.write(KEY, newer)
        except CrashError:
            pass
        else:
            assert step > 7, "there are fewer steps than this test thinks"
    store = TableStore.of_study(study_lake(folder, shared_world))
    found = store.read(KEY)["metres"] if store.exists(KEY) else None
    assert first if found is None else found.equals(frame["metres"]) is not found.equals(newer["metres"])
    store.write(KEY, newer)
    pd.testing.assert_frame_equal(store.read(KEY), newer)
    assert not damaged(store)


def crashing(original: Any, calls: dict[str, int]) -> Any:
    def call(*args: Any, **kwargs: Any) -> Any:
        calls["left"] -= 1
        if calls["left"] <= 0:  # it is dead: nothing that it would do afterwards happens
            raise CrashError
        return original(*args, **kwargs)

    return call


def test_two_runs_that_write_one_table_come_one_after_the_other(
    store: TableStore, folder: Path, frame: pd.DataFrame, shared_world: World
) -> None:
    """Whoever has planned before the other's commit writes again."""
    other = TableStore.of_study(study_lake(folder, shared_world))
    store.write(KEY, frame)

    def fill(sink: Any) -> None:
        if other.state.number == 1:
            other.write(KEY, frame.head(1))
        sink.write(b"ours")

    content = TableContent(fill=fill, rows=1, written_at="2024-03-04T00:00:00+00:00", run_id="ours")
    store.commit(KEY, {None: content}, run_id="ours")
    assert store.load(KEY)[1] == b"ours"
    assert store.state.number == 3


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
    assert tables_below(folder) == [".lake/.tables/overview.parquet.lock"]
    with pytest.raises(WrongPassphraseError):
        lake_store(folder, "another").read(["overview"])


def test_a_passphrase_can_be_set_later(folder: Path, frame: pd.DataFrame) -> None:
    """The plain table is not taken for an encrypted one; written again it is encrypted."""
    lake_store(folder, None).write(["overview"], frame)
    assert tables_below(folder) == [".plain/.tables/overview.parquet"]
    with pytest.raises(TableMissingError, match=r"again, if the asset's study .* was changed"):
        lake_store(folder, PASSPHRASE).read(["overview"])
    lake_store(folder, PASSPHRASE).write(["overview"], frame)
    assert len(lake_store(folder, PASSPHRASE).read(["overview"])) == 3


def test_a_table_can_go_over_to_another_study(
    store: TableStore, folder: Path, frame: pd.DataFrame, shared_world: World
) -> None:
    """What each of them writes is its own, and neither's collection or withdrawal touches the other's."""
    store.write(KEY, frame)
    other = TableStore.of_study(BeiweLake(folder).study("OtherOtherOtherOtherOthe", passphrase="another"))
    with pytest.raises(TableMissingError, match="Materialize it first"):
        other.read(KEY)
    other.write(KEY, frame.head(1))
    assert (len(store.read(KEY)), len(other.read(KEY))) == (3, 1)
    assert not [*damaged(store), *damaged(other)]


def test_superseded_tables_are_kept_and_then_collected(folder: Path, frame: pd.DataFrame, shared_world: World) -> None:
    """As windows are: a past state is read until its versions are collected, which is said then."""
    lake = study_lake(folder, shared_world)
    store = TableStore.of_study(lake)
    store.write(KEY, frame)
    before = TableStore.of_study(lake.at(1))
    store.write(KEY, frame.head(1))
    catalog = lake.catalog()
    assert catalog is not None
    assert len(before.read(KEY)) == 3
    catalog.terms = replace(catalog.terms, now=lambda: datetime.now(timezone.utc) + timedelta(hours=2))
    collect(catalog, keep_days=0, run_id="collect")
    assert len(store.read(KEY)) == 1
    assert len(tables_below(folder)) == 1
    with pytest.raises(PastStateError, match="was collected"):
        before.read(KEY)


def test_tables_of_no_study_are_collected_without_a_run_of_one(
    folder: Path, frame: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is written again and again does not grow for ever, nor does what a dead run left stay."""
    monkeypatch.setattr(collecting, "_DUE_AFTER", 4)
    store = TableStore.of_lake(open_storage(folder), passphrase=PASSPHRASE, keep_superseded_days=0)
    catalog = store.log.begun()
    for hour in range(12):
        now = datetime.now(timezone.utc) + timedelta(hours=hour)
        catalog.terms = replace(catalog.terms, now=partial(now.replace, microsecond=0))
        store.write(["overview"], frame)
    assert len(tables_below(folder)) <= 6
    assert not damaged(store)


def test_a_study_without_encryption_has_plain_tables(folder: Path, frame: pd.DataFrame, shared_world: World) -> None:
    """Which any tool opens."""
    TableStore.of_study(study_lake(folder, shared_world, cipher=None, passphrase=None)).write(KEY, frame)
    (path,) = folder.rglob("*.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(path), frame)


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
