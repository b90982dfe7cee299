"""Tables that are not as they were are refused by name, and a write that fails leaves the old one."""

from __future__ import annotations

import errno
import io
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from reading_helpers import study_lake
from table_helpers import KEY, ROWS, content, damaged, laid_back, stored, stored_file, tables_below

from dagster_beiwe.errors import (
    ConfigurationError,
    IntegrityError,
    LakeUnavailableError,
    TableMissingError,
    WrongPassphraseError,
)
from dagster_beiwe.file_tree import FileTree
from dagster_beiwe.lake.storage.local import LocalStorage
from dagster_beiwe.maintenance.verify import verify_study
from dagster_beiwe.simulator import World
from dagster_beiwe.tables.store import TableStore


def test_tables_of_which_one_cannot_be_written_leave_nothing(store: TableStore, folder: Path) -> None:
    """They were to share a record: what was stored of the first ones goes too."""

    def fails(sink: Any, key: object) -> None:
        raise RuntimeError("no rows")

    with pytest.raises(RuntimeError, match="no rows"):
        store.commit(KEY, {"a": content(), "b": content(fails)}, run_id="r")
    assert tables_below(folder) == []
    assert verify_study(store).findings == []


def test_what_was_never_written_is_missing(store: TableStore) -> None:
    """With advice."""
    with pytest.raises(TableMissingError, match="Materialize it first"):
        store.read(KEY)
    with pytest.raises(TableMissingError, match="2024-03-04"):
        store.read(KEY, partition="ab12|2024-03-04")


def test_a_changed_table_is_refused(store: TableStore, folder: Path, frame: pd.DataFrame) -> None:
    """One bit of the stored file or of its manifest, or one of them gone. Only `verify` reads the four first letters of
    the file, which say no more than its four last ones."""
    store.write(KEY, frame)
    for path in (stored_file(folder), next(folder.glob("*/.tables/beiwe/sleep/daily_gps~*.json.zst"))):
        whole = path.read_bytes()
        for position in (4, 40, len(whole) // 2, len(whole) - 1):
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


def test_a_disk_that_fails_is_not_a_changed_table(
    store: TableStore, frame: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading it again may succeed."""
    store.write(KEY, frame)
    table = store.opened(KEY)

    class Failing(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(FileTree, "open", lambda tree, path: Failing())
    for read in (table.stored, table.parquet, table.fragment):
        with pytest.raises(LakeUnavailableError, match="Input/output error"):
            read()


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
        with pytest.raises(IntegrityError, match=r"not the manifest that record 2|is larger than"):
            each.read(KEY)


def test_swapped_tables_are_refused(store: TableStore, folder: Path, frame: pd.DataFrame, shared_world: World) -> None:
    """One participant's table under another's name, with all that was written about it."""
    for key in ("ab12", "cd34"):
        store.write(KEY, frame, partition=key)
    base = folder / store.layout.tables("beiwe/sleep/daily_gps")
    for kind in ("*.parquet", "*.json.zst"):
        (theirs,), (ours,) = base.glob(f"cd34~{kind}"), base.glob(f"ab12~{kind}")
        theirs.write_bytes(ours.read_bytes())
    with pytest.raises(IntegrityError, match=r"not the manifest|is larger than"):
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

    def fill(sink: Any, key: object) -> None:
        if other.state.number == 1:
            other.write(KEY, frame.head(1))
        sink.write(b"ours" + ROWS)

    store.commit(KEY, {None: content(fill)}, run_id="ours")
    assert store.opened(KEY).stored() == b"ours" + ROWS
    assert store.state.number == 3


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
        (
            pd.DataFrame({"l": pd.Series([[1]], dtype=pd.ArrowDtype(pa.list_(pa.int8())))}),
            "Column 'l' .* has the type list<",
        ),
        (pd.DataFrame({"c": pd.Categorical([1j])}), "Column 'c' of the table has categories of the type complex128"),
        (pd.DataFrame({"n": [1]}, index=pd.cut([1], [0, 1])), "The index of the table has categories of the type"),
        (pd.DataFrame([[1, 2]], columns=["same", "same"]), "Several columns of the table have the same name: same"),
        (pd.DataFrame([[1, 2]], columns=[0, 1]), "not strings, but of the type int"),
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
