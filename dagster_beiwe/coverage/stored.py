"""The coverage of a study as its tables in the lake tell it: what the command line, the report, and the check read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import pandas as pd

from dagster_beiwe.coverage.enrollment import Enrollment, enrollments
from dagster_beiwe.coverage.silence import SilenceLimits, SilentParticipant, find_silent, limits_in
from dagster_beiwe.tables.store import TableStore

KeyOf: TypeAlias = Callable[[str], Sequence[str]]
"""Returns a table's asset key by its name in this package."""


@dataclass(frozen=True, kw_only=True, eq=False)
class StoredCoverage:
    """A coverage table, the roster beside it, and who is silent. Without a roster, last uploads are unknown."""

    table: pd.DataFrame
    roster: Mapping[str, Enrollment]
    limits: SilenceLimits
    silent: tuple[SilentParticipant, ...]


def read_coverage(
    tables: TableStore, key_of: KeyOf, *, limits: SilenceLimits | None = None, silent_days: int | None = None
) -> StoredCoverage:
    """The newest coverage table of the tables' state. Raises ``TableMissingError`` if there is none.

    Somebody is silent by the ``limits``, by default those that the table was made with; ``silent_days`` replaces their
    days.
    """
    table, key = tables.read(key_of("coverage")), key_of("roster")
    limits = limits or limits_in(table)
    limits = replace(limits, days=silent_days) if silent_days else limits
    roster = enrollments(tables.read(key).to_dict("records")) if tables.exists(key) else {}
    return StoredCoverage(table=table, roster=roster, limits=limits, silent=find_silent(table, roster, limits=limits))
