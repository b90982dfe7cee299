"""Partitions of a table, read lazily: one by one, or all of them by pandas, Polars, DuckDB, or Arrow.

    lake = BeiweLake("/data/lake").study(study_id, passphrase=...)
    gps = TablePartitions.of(lake, "gps", participants=["abcd1234"], columns=["UTC time", "latitude", "longitude"])
    frame = gps.to_pandas()

Columns that nobody asks for are not fetched, nor groups of rows that cannot hold what is wanted: their statistics are
in the encrypted footers. Whatever is read is decrypted and proven, in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import cache, cached_property, reduce
from operator import and_
from typing import TYPE_CHECKING, Any, Final, TypeVar

import pandas as pd
import pyarrow as pa
from pyarrow import dataset as ds

from dagster_beiwe.arguments import check_list
from dagster_beiwe.cells import CellKey
from dagster_beiwe.errors import ConfigurationError, TableMissingError
from dagster_beiwe.lake.study import StudyLake, When
from dagster_beiwe.tables.finding import table_called
from dagster_beiwe.tables.joining import concat
from dagster_beiwe.tables.parquet import check_columns, read_fragment
from dagster_beiwe.tables.rows import PARTICIPANT, Rows, are_participants, names_in
from dagster_beiwe.tables.store import TableStore
from dagster_beiwe.tables.stored import StoredTable
from dagster_beiwe.text import listed

if TYPE_CHECKING:
    import duckdb
    import polars as pl

_T = TypeVar("_T")

_OPENED_AT_ONCE: Final = 16
_EVERYTHING: Final = Rows()


class TablePartitions(Mapping[str, pd.DataFrame]):
    """Partitions of a table: {partition key: DataFrame}. Each is read when it is accessed, and not kept.

    ``columns`` selects some of them, ``rows`` what is wanted. ``missing`` are keys that were asked for and that the
    lake does not hold. A table without partitions has the one key ``""``. The state of the lake stays what it was when
    this was made. Usable from several threads.
    """

    def __init__(
        self,
        store: TableStore,
        asset_key: Sequence[str],
        partitions: Iterable[str | None],
        *,
        columns: Sequence[str] | None = None,
        rows: Rows = _EVERYTHING,
        missing: Iterable[str] = (),
    ) -> None:
        self._store, self.asset_key, self._rows = store.at(), list(asset_key), rows
        self._partitions = {each or "": each for each in partitions}
        self._columns = None if columns is None else list(check_list("columns", columns))
        self.missing = tuple(missing)

    @classmethod
    def of(
        cls,
        lake: StudyLake,
        table: str | Sequence[str],
        *,
        participants: Iterable[str] | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
        columns: Sequence[str] | None = None,
        time_column: str | None = None,
        as_of: When | None = None,
    ) -> TablePartitions:
        """A study's table, by its key or the end of it, such as ``"gps"`` or ``"sleep/gps"``.

        ``start`` and ``end`` are aware and look at ``time_column``, by default the column ``UTC time`` or the only one
        of times. Raises ``ConfigurationError`` for a name that fits no table or several, a text in place of a list,
        and a participant of whom the lake holds nothing, ``TimeRangeError``, ``WrongPassphraseError``, and
        ``UnknownStateError``.
        """
        lake = lake.at(as_of)
        store = TableStore.of_study(lake)
        key = table_called(store, table)
        stored = store.partitions(key)
        people = None if participants is None else frozenset(check_list("participants", participants))
        by_column = people is not None and not are_participants(stored, {*people, *lake.participants()})
        rows = Rows(participants=people, start=start, end=end, time_column=time_column, by_column=by_column)
        wanted = sorted(filter(rows.may_be_in, stored), key=lambda each: each or "")
        missing = [each for each in _expected(lake, rows, stored) if each not in stored]
        if unknown := (people or frozenset()).difference(lake.participants(), *map(names_in, stored)):
            _check_named(store, key, stored if by_column else (), unknown)
        return cls(store, key, wanted, columns=columns, rows=rows, missing=missing)

    def __repr__(self) -> str:
        missing = f", {len(self.missing)} missing" if self.missing else ""
        return f"<TablePartitions of {self._name}: {len(self)} partitions{missing}>"

    def __getitem__(self, key: str) -> pd.DataFrame:
        partition = self._partitions[str(key)]
        if self._rows.are_all_in(partition):  # a file is read faster as a whole than through a dataset
            return self._store.read(self.asset_key, partition=partition, columns=self._columns)
        table = self._opened(partition)
        fragment = table.fragment()
        conditions = self._rows.conditions(_plain(fragment.physical_schema), [partition])
        with table.proven():
            return read_fragment(fragment, columns=self._columns, condition=_all(conditions), name=self._name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._partitions)

    def __len__(self) -> int:
        return len(self._partitions)

    @property
    def size_bytes(self) -> int:
        """Plain bytes of the partitions, with all their columns and rows. Reads every manifest, and no table."""
        return sum(self._of_each(lambda partition: self._opened(partition).manifest.size_bytes))

    @cached_property
    def schema(self) -> pa.Schema:
        """The columns of all partitions together, whose footers are read now. Categories are plain values.

        Raises ``ConfigurationError`` if columns of one name have types that do not fit.
        """
        return self._unified(self._of_each(lambda partition: _columns(self._fragment(partition).physical_schema)))

    @cached_property
    def dataset(self) -> ds.Dataset:
        """All partitions as one Arrow dataset of the wanted rows and columns, whose footers are read now.

        Categories are plain values. If rows are chosen by a column that was not asked for, it is there too. Raises
        ``TableMissingError`` if there is no partition.
        """
        if not self._partitions:
            raise TableMissingError(
                f"The lake holds none of the partitions of {self._name} that were asked for. Nothing was read. "
                "Materialize them first, or ask for others."
            )
        fragments = list(self._of_each(self._fragment))
        schema = self._unified(_plain(each.physical_schema) for each in fragments)
        conditions = self._rows.conditions(schema, self._partitions.values())
        if self._columns is not None:
            check_columns(schema.names, self._columns, name=self._name)
            schema = pa.schema([schema.field(each) for each in dict.fromkeys([*self._columns, *conditions])])
        whole, condition = ds.FileSystemDataset(fragments, schema, fragments[0].format), _all(conditions)
        return whole if condition is None else whole.filter(condition)

    def to_pandas(self) -> pd.DataFrame:
        """All partitions in one DataFrame, in the order of their keys, with the types that they were stored with."""
        return concat([self[key] for key in self])

    def to_polars(self) -> pl.LazyFrame:
        """All partitions as a lazy frame, which reads no more than a query needs. Needs the extra ``polars``."""
        try:
            import polars as pl
        except ImportError:
            raise _not_installed("polars") from None
        frame = pl.scan_pyarrow_dataset(self.dataset)
        return frame if self._columns is None else frame.select(self._columns)

    def to_duckdb(self, connection: duckdb.DuckDBPyConnection | None = None) -> duckdb.DuckDBPyRelation:
        """All partitions as a relation that reads no more than a query needs. Needs the extra ``duckdb``.

        Without a ``connection`` it belongs to the one of this process, which writes nothing to a disk: relations can
        be joined. A connection is for one thread at a time.
        """
        relation = (connection or _shared_connection()).from_arrow(self.dataset)
        return relation if self._columns is None else relation.select(*map(_quoted, self._columns))

    def _opened(self, partition: str | None) -> StoredTable:
        return self._store.opened(self.asset_key, partition=partition)

    def _fragment(self, partition: str | None) -> ds.ParquetFileFragment:
        return self._opened(partition).fragment()

    def _of_each(self, get: Callable[[str | None], _T]) -> Iterator[_T]:
        """Something of each partition, in their order, several at a time."""
        with ThreadPoolExecutor(_OPENED_AT_ONCE, thread_name_prefix="beiwe-tables") as pool:
            yield from pool.map(get, self._partitions.values())

    def _unified(self, schemas: Iterable[pa.Schema]) -> pa.Schema:
        try:
            return pa.unify_schemas(list(dict.fromkeys(schemas)), promote_options="permissive")
        except pa.ArrowException:
            raise ConfigurationError(
                f"Partitions of {self._name} have columns of one name and types that do not fit. Nothing "
                "was read. Materialize the older ones again, or read the partitions one by one."
            ) from None

    @property
    def _name(self) -> str:
        return "/".join(self.asset_key)


def private_connection() -> duckdb.DuckDBPyConnection:
    """A DuckDB in memory that reads and writes no files: what does not fit into memory is an error. Its days are UTC's.

    Raises ``ConfigurationError`` if the extra ``duckdb`` is not installed.
    """
    try:
        import duckdb
    except ImportError:
        raise _not_installed("duckdb") from None
    connection = duckdb.connect(":memory:")
    for setting in (
        "temp_directory = ''",
        "enable_external_access = false",
        "python_enable_replacements = false",
        "TimeZone = 'UTC'",
        "lock_configuration = true",
    ):
        connection.execute(f"SET {setting}")
    return connection


@cache
def _shared_connection() -> duckdb.DuckDBPyConnection:
    """Kept, because relations of DuckDB before 2 do not keep their connection open."""
    return private_connection()


def _check_named(store: TableStore, key: Sequence[str], stored: Iterable[str | None], unknown: frozenset[str]) -> None:
    """Raise ``ConfigurationError`` for participants of whom there is no raw data and whom no row names."""
    rows = Rows(participants=unknown, by_column=True)
    table = TablePartitions(store, key, stored, columns=[PARTICIPANT], rows=rows)
    if absent := unknown.difference(*(frame[PARTICIPANT] for frame in table.values())):
        raise ConfigurationError(
            f"{store.where} holds no data of {listed(sorted(absent))}. Nothing was read. Correct the ids, or "
            "materialize their raw data."
        )


def _expected(lake: StudyLake, rows: Rows, stored: Collection[str | None]) -> list[str]:
    """The partitions that should be there: of everybody in the lake, by their windows if the table has windows."""
    people = sorted(rows.participants) if rows.participants is not None else lake.participants()
    if not are_participants(stored, {*people, *lake.participants()}):
        return []
    if not all(CellKey.parse(each).participant for each in stored if each is not None):
        return people
    keys = [str(CellKey(each, window)) for each in people for window in lake.windows(each)]
    return [key for key in keys if rows.may_be_in(key)]


def _all(conditions: Mapping[str, ds.Expression]) -> ds.Expression | None:
    return reduce(and_, conditions.values()) if conditions else None


def _plain(schema: pa.Schema) -> pa.Schema:
    """The schema with categories as what they stand for. Any value may be missing: a partition may lack the column."""
    return pa.schema(
        [
            pa.field(field.name, field.type.value_type if pa.types.is_dictionary(field.type) else field.type)
            for field in schema
        ]
    )


def _columns(schema: pa.Schema) -> pa.Schema:
    """What a DataFrame has as columns, without the levels of its index."""
    index = set(filter(lambda level: isinstance(level, str), (schema.pandas_metadata or {}).get("index_columns", ())))
    return pa.schema([field for field in _plain(schema) if field.name not in index])


def _quoted(name: str) -> Any:
    import duckdb

    return duckdb.ColumnExpression(name)


def _not_installed(name: str) -> ConfigurationError:
    return ConfigurationError(
        f"{name} is not installed. Nothing was read. Install it with: pip install 'dagster-beiwe[{name}]'"
    )
