"""What lies in the lake of a table: nothing that can be read, and nothing that can be exchanged unnoticed."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import pytest
from reading_helpers import study_lake
from table_helpers import KEY, FormerStore, damaged, stored, stored_file, tables_below

from dagster_beiwe.encryption import AgeCipher, Cipher, CipherKeys, CrypteaseCipher, KeyRing
from dagster_beiwe.errors import EncryptionError, IntegrityError
from dagster_beiwe.lake.storage.local import LocalStorage
from dagster_beiwe.maintenance.exposure import find_exposures
from dagster_beiwe.maintenance.rekey import rekey_study
from dagster_beiwe.simulator import World
from dagster_beiwe.tables.keys import FileKey
from dagster_beiwe.tables.parquet import arrow_table, write_parquet
from dagster_beiwe.tables.store import TableStore

ROWS = 300_000
ALGORITHM_AT = 1
"""Where the footer says which algorithm encrypts: 1 AES-GCM, 2 AES-CTR for pages."""


@pytest.fixture
def places() -> pd.DataFrame:
    """Enough rows for several groups, in no order."""
    chance = np.random.default_rng(1)
    table: pd.DataFrame = pd.DataFrame(
        {
            "UTC time": pd.to_datetime(
                chance.integers(1_700_000_000_000, 1_800_000_000_000, 300_000), unit="ms", utc=True
            ),
            "latitude": chance.normal(47.1, 0.01, 300_000),
            "participant": pd.Categorical(["wq7kz3mt"] * 300_000),
        }
    ).astype({"UTC time": "datetime64[ms, UTC]"})
    return table


def test_names_statistics_and_rows_are_unreadable(store: TableStore, folder: Path, places: pd.DataFrame) -> None:
    """In the file and beside it: an encrypted Parquet file, of which nothing tells the columns."""
    store.write(KEY, places)
    data = stored_file(folder).read_bytes()
    assert (data[:4], data[-4:]) == (b"PARE", b"PARE")
    values = places["latitude"].to_numpy()
    numbers = [values.min().tobytes(), values.max().tobytes(), values[0].tobytes(), values[-1].tobytes()]
    texts = [b"latitude", b"participant", b"wq7kz3mt", b"pandas", b"ARROW"]
    everything = b"".join(stored(folder).values())
    assert [each for each in (*texts, *(base64.b64encode(each) for each in texts)) if each in data] == []
    assert [each for each in numbers if each in everything] == []


def test_each_file_has_a_key_of_its_own(store: TableStore, folder: Path, frame: pd.DataFrame) -> None:
    """Also each version of a table; no key lies in the lake as it is, and none shows in a text of the object."""
    for partition in ("ab12", "cd34", "ab12"):
        store.write(KEY, frame, partition=partition)
    tables = [store.version(*each) for each in store.tables()] + [store.at().opened(KEY, partition="ab12")]
    keys = {table.key._secret for table in tables if table.key}
    assert [len(key) for key in keys] == [32, 32]
    everything = b"".join(stored(folder).values())
    for key in keys:
        assert not any(form in everything for form in (key, base64.b64encode(key), key.hex().encode()))
        assert not any(
            form in repr(tables) + repr(tables[0].key) for form in (key.hex(), base64.b64encode(key).decode())
        )


def test_a_host_that_only_writes_cannot_read_what_it_wrote(
    folder: Path, frame: pd.DataFrame, shared_world: World
) -> None:
    """The key is wrapped for the recipients alone, and columns need it as whole tables do."""
    pyrage = pytest.importorskip("pyrage")
    identity = pyrage.x25519.Identity.generate()
    writer = study_lake(folder, shared_world, cipher=AgeCipher(recipients=[str(identity.to_public())]))
    TableStore.of_study(writer).write(KEY, frame)
    with pytest.raises(EncryptionError, match="identity was not given"):
        TableStore.of_study(writer).read(KEY, columns=["day"])
    reader = study_lake(folder, shared_world, cipher=AgeCipher(identity=str(identity)))
    pd.testing.assert_frame_equal(TableStore.of_study(reader).read(KEY, columns=["day"]), frame[["day"]])
    assert find_exposures(writer).protected


def test_a_column_is_read_without_the_others(
    store: TableStore, places: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In ranges of the file: the end, and what holds the column."""
    store.write(KEY, places)
    ranges: list[int] = []
    read_range = LocalStorage.read_range

    def counted(storage: LocalStorage, path: str, start: int, size_bytes: int) -> bytes:
        ranges.append(size_bytes)
        return read_range(storage, path, start, size_bytes)

    monkeypatch.setattr(LocalStorage, "read_range", counted)
    pd.testing.assert_frame_equal(store.read(KEY, columns=["participant"]), places[["participant"]])
    assert sum(ranges) < store.opened(KEY).manifest.stored_size_bytes / 10


def plain(store: TableStore, frame: pd.DataFrame, file: Path) -> bytes:
    frame.to_parquet(sink := io.BytesIO())
    return sink.getvalue()


def plain_under_a_mark(store: TableStore, frame: pd.DataFrame, file: Path) -> bytes:
    """Arrow looks at the last letters, `protected` at the first."""
    return b"PARE" + plain(store, frame, file)[4:]


def weaker(store: TableStore, frame: pd.DataFrame, file: Path) -> bytes:
    """The same file with pages that nothing proves, as its footer says in a part that no key proves."""
    data = bytearray(file.read_bytes())
    footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    assert data[footer + ALGORITHM_AT] >> 4 == 1
    data[footer + ALGORITHM_AT] += 1 << 4
    return bytes(data)


def of_its_key(store: TableStore, frame: pd.DataFrame, file: Path) -> bytes:
    """Other rows under the same key and name."""
    write_parquet(arrow_table(frame.assign(whole=~frame["whole"])), sink := io.BytesIO(), store.opened(KEY).key)
    assert len(sink.getvalue()) == file.stat().st_size
    return sink.getvalue()


@pytest.mark.parametrize("damage", [plain, plain_under_a_mark, weaker, of_its_key])
def test_a_file_of_another_kind_in_its_place_is_refused(
    store: TableStore, folder: Path, frame: pd.DataFrame, damage: Callable[..., bytes]
) -> None:
    """Arrow would read each of them with the key that it was given, or without."""
    store.write(KEY, frame)
    file = stored_file(folder)
    file.write_bytes(damage(store, frame, file))
    for columns in (None, ["day"]):
        with pytest.raises(IntegrityError, match="changed or damaged"):
            store.read(KEY, columns=columns)
    assert damaged(store)


def test_another_tables_file_in_its_place_is_refused(store: TableStore, folder: Path, frame: pd.DataFrame) -> None:
    """Though the same cipher wrapped its key, and each manifest is as it was."""
    for partition in ("ab12", "cd34"):
        store.write(KEY, frame, partition=partition)
    mine, theirs = (stored_file(folder, f"daily_gps/{each}") for each in ("ab12", "cd34"))
    mine.write_bytes(theirs.read_bytes())
    with pytest.raises(IntegrityError, match="changed or damaged"):
        store.read(KEY, partition="ab12")
    pd.testing.assert_frame_equal(store.read(KEY, partition="cd34"), frame)


@pytest.mark.parametrize("cipher", ["cryptease", "age"])
def test_a_key_is_unwrapped_by_whoever_it_was_wrapped_for(cipher: str) -> None:
    """Another passphrase or identity is an error, and not a key that opens nothing."""
    pyrage = pytest.importorskip("pyrage")
    ciphers: list[Cipher] = [CrypteaseCipher("one"), CrypteaseCipher("other")]
    if cipher == "age":
        ciphers = [AgeCipher(identity=str(pyrage.x25519.Identity.generate())) for _ in range(2)]
    ours, theirs = (KeyRing(each, CipherKeys()) for each in ciphers)
    key = FileKey.new("study/.tables/a~1-00.parquet")
    modular = key.for_manifest(ciphers[0], b"footer")
    assert FileKey.unwrap(modular, ours, cipher, path=key.name) == key
    with pytest.raises(EncryptionError, match="does not decrypt it"):
        FileKey.unwrap(modular, theirs, cipher, path=key.name)


def test_a_file_is_bound_to_its_table_and_version(store: TableStore, frame: pd.DataFrame) -> None:
    """Its key alone does not open it under another name, nor is a manifest believed that names another table's."""
    store.write(KEY, frame)
    table = store.opened(KEY)
    assert table.manifest.modular
    assert table.manifest.modular.bound_to == table.path
    for name in (table.path.replace("daily_gps", "daily_gps2"), table.path.replace("~0", "~1")):
        moved = replace(table, manifest=msgspec.structs.replace(
            table.manifest, modular=msgspec.structs.replace(table.manifest.modular, bound_to=name)
        ))  # fmt: skip
        with pytest.raises(IntegrityError, match="changed or damaged"):
            moved.parquet()


def test_rows_keep_their_order(store: TableStore, places: pd.DataFrame) -> None:
    """Whatever their encoding: nobody sorts them."""
    store.write(KEY, places)
    pd.testing.assert_frame_equal(store.read(KEY), places)


def test_equal_tables_have_an_equal_hash(store: TableStore, frame: pd.DataFrame) -> None:
    """Though no two files are equal: what depends on a table need not be made again."""
    first, second = store.write(KEY, frame), store.write(KEY, frame.copy())
    assert (first.sha256, first.size_bytes) == (second.sha256, second.size_bytes)
    assert first.stored_sha256 != second.stored_sha256
    assert store.write(KEY, frame.assign(metres=0.5)).sha256 != first.sha256
    assert store.write(KEY, frame.rename(columns={"metres": "meters"})).sha256 != first.sha256


def test_tables_of_before_are_read_and_written_anew(
    store: TableStore, folder: Path, frame: pd.DataFrame, shared_world: World, tmp_path: Path
) -> None:
    """A file that was encrypted as a whole stays until the table is made again, or copied under another passphrase."""
    FormerStore.of_study(study_lake(folder, shared_world)).write(KEY, frame)
    (file,) = folder.rglob("*.parquet.lock")
    pd.testing.assert_frame_equal(store.read(KEY), frame)
    pd.testing.assert_frame_equal(store.read(KEY, columns=["metres", "day"]), frame[["metres", "day"]])
    assert not damaged(store)
    lake, copy = study_lake(folder, shared_world), study_lake(tmp_path / "copy", shared_world, passphrase="new")
    for copied in (1, 0):
        assert rekey_study(lake, copy).tables_copied == copied
    pd.testing.assert_frame_equal(TableStore.of_study(copy).read(KEY), frame)
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(IntegrityError, match="changed or damaged"):
        store.read(KEY)
    file.write_bytes(whole)
    store.write(KEY, frame.head(1))
    assert tables_below(tmp_path / "copy") == [name for name in tables_below(folder) if name.endswith(".parquet")]


@pytest.mark.parametrize("plain_first", [True, False])
def test_tables_are_copied_from_plain_to_encrypted_and_back(
    folder: Path, frame: pd.DataFrame, shared_world: World, tmp_path: Path, *, plain_first: bool
) -> None:
    """What has no key of its own in both lakes is written again."""
    forms = [{"cipher": None, "passphrase": None}, {}]
    source, target = forms if plain_first else forms[::-1]
    lake = study_lake(folder, shared_world, **source)
    copy = study_lake(tmp_path / "copy", shared_world, **target)
    TableStore.of_study(lake).write(KEY, frame)
    for copied in (1, 0):
        assert rekey_study(lake, copy, encrypt_all=plain_first).tables_copied == copied
    pd.testing.assert_frame_equal(TableStore.of_study(copy).read(KEY), frame)
    (file,) = (tmp_path / "copy").rglob("*.parquet")
    assert file.read_bytes()[:4] == (b"PARE" if plain_first else b"PAR1")


def test_a_copy_under_another_cipher_is_made_again(
    store: TableStore, frame: pd.DataFrame, shared_world: World, tmp_path: Path
) -> None:
    """As raw data is: a first call may have been told to store it unencrypted."""
    store.write(KEY, frame)
    lake = study_lake(Path(store.storage.describe()), shared_world)
    for settings in ({"cipher": None}, {}):
        copy = study_lake(tmp_path / "copy", shared_world, **settings)
        for copied in (1, 0):
            assert rekey_study(lake, copy).tables_copied == copied
    assert TableStore.of_study(copy).opened(KEY).key is not None
