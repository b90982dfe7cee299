"""SQL over a study's tables, by DuckDB: in memory, read-only, and without a file of its own."""

from __future__ import annotations

import pandas as pd

from dagster_beiwe.errors import ConfigurationError
from dagster_beiwe.lake.study import StudyLake
from dagster_beiwe.tables.partitions import TablePartitions, private_connection


def query(lake: StudyLake, statement: str) -> pd.DataFrame:
    """The rows of a SELECT. Tables are called by their key or the end of it: ``coverage``, ``"sleep/coverage"``.

    Of each table only the columns and groups of rows are read that the statement needs. Raises ``ConfigurationError``
    for a statement that is wrong or no SELECT.
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
        for name in sorted(connection.get_table_names(statement)):
            try:
                connection.register(name.strip('"'), TablePartitions.of(lake, name.strip('"')).dataset)
            except ConfigurationError as error:  # or the statement's own name for something
                missing = error
        rows: pd.DataFrame = connection.execute(statement).df()
    except duckdb.CatalogException as error:
        raise missing or _wrong(error) from None
    except (duckdb.ParserException, duckdb.BinderException) as error:
        raise _wrong(error) from None
    except duckdb.OutOfMemoryException:
        raise ConfigurationError(
            "The query needs more memory than there is, and nothing may spill to a disk unencrypted. Nothing was "
            "shown. Select fewer columns or rows, or aggregate."
        ) from None
    except duckdb.Error as error:  # its message may hold values
        raise ConfigurationError(
            f"DuckDB could not run the query: {type(error).__name__}. Nothing was shown. Convert values with TRY_CAST, "
            "look for functions that fail on some rows, and see whether `dagster-beiwe verify` finds a changed table."
        ) from None
    return rows


def _wrong(error: Exception) -> ConfigurationError:
    """Parser and binder know the statement and the names of columns, and no rows."""
    return ConfigurationError(f"DuckDB does not understand the query. Nothing was read. {error}")
