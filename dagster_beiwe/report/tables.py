"""Read the content of a report from the tables of a study in the lake."""

from __future__ import annotations

import pandas as pd

from dagster_beiwe.coverage.changes import changes_in
from dagster_beiwe.coverage.stored import KeyOf, read_coverage
from dagster_beiwe.report.page import Report
from dagster_beiwe.tables.store import TableStore

_PAGE = "page"


def read_report(tables: TableStore, key_of: KeyOf, *, study: str, silent_days: int | None = None) -> Report:
    """The report of a study, made from its coverage, and from its roster and quality if the lake has them.

    With ``silent_days``, other days than those of the study's configuration make somebody silent. Raises
    ``TableMissingError`` without coverage.
    """
    stored = read_coverage(tables, key_of, silent_days=silent_days)
    return Report(
        study=study,
        coverage=stored.table,
        silent=stored.silent,
        limits=stored.limits,
        quality=tables.find(key_of("quality")),
        changes=changes_in(stored.table),
    )


def page_table(page: str) -> pd.DataFrame:
    """A page as the lake stores it: encrypted, like every table."""
    table: pd.DataFrame = pd.DataFrame({_PAGE: [page]}, dtype="string")
    return table


def stored_page(tables: TableStore, key_of: KeyOf) -> str:
    """The page that the asset ``report`` stored. Raises ``TableMissingError`` if it never did."""
    return str(tables.read(key_of("report"))[_PAGE].iloc[0])
