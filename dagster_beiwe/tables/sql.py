"""SQL over a study's tables, by DuckDB: in memory, read-only, and without a file of its own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import count, pairwise
from typing import TYPE_CHECKING, Final

import pandas as pd

from dagster_beiwe.errors import ConfigurationError
from dagster_beiwe.lake.study import StudyLake
from dagster_beiwe.tables.partitions import TablePartitions, private_connection
from dagster_beiwe.text import error_in_words

if TYPE_CHECKING:
    import duckdb


_AS_THEY_ARE: Final = frozenset(
    {
        *("boolean", "enum", "varchar", '"null"'),
        *("tinyint", "smallint", "integer", "bigint", "utinyint", "usmallint", "uinteger", "ubigint"),
        *("float", "double", "decimal", "hugeint"),
        *("date", "timestamp", "timestamp_s", "timestamp_ms", "timestamp_ns", "timestamp with time zone"),
    }
)
"""DuckDB's types that pandas has too, or numbers that it rounds to floats."""
_NESTED: Final = frozenset({"list", "array", "struct", "map", "variant"})
_ROUNDED: Final = frozenset({"uhugeint", "bignum", "varint"})
_LARGEST_INTEGER: Final = 2**63 - 1


def query(lake: StudyLake, statement: str) -> pd.DataFrame:
    """The rows of a SELECT. Tables are called by their key or the end of it: ``coverage``, ``"sleep/coverage"``.

    Of each table only the columns and groups of rows are read that the statement needs. Lists and structures are
    Python's; what pandas has no type for is text, as DuckDB writes it; and numbers of more than 64 bits are rounded to
    floats. Raises ``ConfigurationError`` for a statement that is wrong or no SELECT.
    """
    connection = private_connection()
    import duckdb

    missing: ConfigurationError | None = None
    try:
        kinds = [each.type for each in connection.extract_statements(statement)]
        if kinds != [duckdb.StatementType.SELECT]:
            raise ConfigurationError(
                f"{len(kinds)} statements, of which not all select. Nothing was read. Give one SELECT."
                if len(kinds) > 1
                else "The statement selects nothing. Nothing was read. Give one SELECT."
            )
        names = sorted(connection.get_table_names(statement))
        _check_case(names)
        for name in names:
            try:
                connection.register(name, TablePartitions.of(lake, name).dataset)
            except ConfigurationError as error:  # or the statement's own name for something
                missing = error
        bound = connection.sql(statement)
    except (duckdb.CatalogException, duckdb.PermissionException) as error:  # a name with a dot is taken for a file's
        raise missing or _wrong(error) from None
    except duckdb.Error as error:
        raise _wrong(error) from None
    return _rows(bound)


def _check_case(names: Sequence[str]) -> None:
    """Raise ``ConfigurationError`` for names that DuckDB takes for one, and that are those of several tables."""
    for name, following in pairwise(sorted(names, key=str.lower)):
        if name.lower() == following.lower():
            raise ConfigurationError(
                f"{name!r} and {following!r} are one name in SQL. Nothing was read. Write it in one way, or give more "
                "of the key of one of the tables."
            )


def _rows(bound: duckdb.DuckDBPyRelation) -> pd.DataFrame:
    """The rows of a query. Errors are named without their messages, which may hold values."""
    import duckdb

    kinds = [kind.id for kind in bound.types]
    columns = map(_column, count(1), bound.columns, kinds)
    try:
        rows: pd.DataFrame = bound.project(", ".join(columns)).df()
    except (duckdb.OutOfMemoryException, MemoryError):
        raise ConfigurationError(
            "The query needs more memory than there is, and nothing may spill to a disk unencrypted. Nothing was "
            "shown. Select fewer columns or rows, or aggregate."
        ) from None
    except duckdb.Error as error:
        raise ConfigurationError(
            f"DuckDB could not run the query: {error_in_words(type(error).__name__)}. Nothing was shown. Convert "
            "values with TRY_CAST, look for functions that fail on some rows, and see whether `dagster-beiwe verify` "
            "finds a changed table."
        ) from None
    nested = {name: rows[name] for name, kind in zip(rows.columns, kinds, strict=True) if kind in _NESTED}
    values: pd.DataFrame = rows.assign(**{name: each.map(_parsed, na_action="ignore") for name, each in nested.items()})
    return values


def _column(number: int, name: str, kind: str) -> str:
    """A column of a relation, in a type that comes out as it is. By its number: names may be there twice."""
    if kind in _AS_THEY_ARE:
        return f"#{number}"
    quoted = name.replace('"', '""')
    if kind in _NESTED:
        return f'to_json(#{number}) AS "{quoted}"'
    return f'CAST(#{number} AS {"DOUBLE" if kind in _ROUNDED else "VARCHAR"}) AS "{quoted}"'


def _parsed(text: str) -> object:
    return json.loads(text, parse_int=_number)


def _number(digits: str) -> float:
    number = int(digits)
    return number if abs(number) <= _LARGEST_INTEGER else float(number)


def _wrong(error: Exception) -> ConfigurationError:
    """Before a query runs, DuckDB knows the statement and the names of columns, and no rows."""
    return ConfigurationError(f"DuckDB does not understand the query. Nothing was read. {error}")
