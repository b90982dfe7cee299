"""Which passphrase encrypts a table, and how long superseded tables are kept."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
from reading_helpers import PASSPHRASE, study_lake
from table_helpers import KEY, damaged, tables_below

from dagster_beiwe.errors import EncryptionError, PastStateError, TableMissingError, WrongPassphraseError
from dagster_beiwe.lake import collecting
from dagster_beiwe.lake.collecting import collect
from dagster_beiwe.lake.lake import BeiweLake, open_storage
from dagster_beiwe.simulator import World
from dagster_beiwe.tables.store import TableStore


def lake_store(folder: Path, passphrase: str | None) -> TableStore:
    storage = open_storage(folder)
    return TableStore.of_lake(storage, passphrase=passphrase) if passphrase else TableStore.of_nobody(storage)


def test_tables_of_no_study_are_locked_with_the_lakes_passphrase(folder: Path, frame: pd.DataFrame) -> None:
    """Found wrong before anything is read."""
    lake_store(folder, PASSPHRASE).write(["overview"], frame)
    pd.testing.assert_frame_equal(lake_store(folder, PASSPHRASE).read(["overview"]), frame)
    assert tables_below(folder) == [".lake/.tables/overview.parquet"]
    with pytest.raises(WrongPassphraseError):
        lake_store(folder, "another").read(["overview"])


def test_a_passphrase_can_be_set_later(folder: Path, frame: pd.DataFrame) -> None:
    """The plain table is not taken for an encrypted one; written again it is encrypted."""
    lake_store(folder, None).write(["overview"], frame)
    assert tables_below(folder) == [".plain/.tables/overview.parquet"]
    with pytest.raises(TableMissingError, match=r"again if its metadata named another study"):
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
