"""Read what a report tells from the tables of a study in the lake."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from dagster_beiwe.coverage import enrollments, find_silent
from dagster_beiwe.coverage.changes import changes_in
from dagster_beiwe.coverage.silence import limits_in
from dagster_beiwe.report.page import Report
from dagster_beiwe.tables.store import TableStore

KeyOf = Callable[[str], Sequence[str]]
"""Returns a table's asset key by its name in this package."""

_PAGE = "page"


def read_report(tables: TableStore, key_of: KeyOf, *, study: str, silent_days: int | None = None) -> Report:
    """The report of a study, made from its coverage, and from its roster and quality if the lake has them.

    With ``silent_days``, other days than those of the study's configuration make somebody silent. Raises
    ``TableMissingError`` without coverage.
    """
    coverage = tables.read(key_of("coverage"))
    limits = limits_in(coverage)
    limits = replace(limits, days=silent_days) if silent_days else limits
    roster, quality = (
        tables.read(key) if tables.exists(key) else None for key in (key_of("roster"), key_of("quality"))
    )
    rows: Any = [] if roster is None else roster.to_dict("records")
    return Report(
        study=study,
        coverage=coverage,
        silent=find_silent(coverage, enrollments(rows), limits=limits),
        limits=limits,
        quality=quality,
        changes=changes_in(coverage),
    )


def page_table(page: str) -> pd.DataFrame:
    """A page as the lake stores it: encrypted, like every table."""
    table: pd.DataFrame = pd.DataFrame({_PAGE: [page]}, dtype="string")
    return table


def stored_page(tables: TableStore, key_of: KeyOf) -> str:
    """The page that the asset ``report`` stored. Raises ``TableMissingError`` if it never did."""
    return str(tables.read(key_of("report"))[_PAGE].iloc[0])
