"""What Forest's analyses found on the server: columns of the daily statistics beside the counts.

Which columns there are depends on the server's version, and most studies have no values in them. So they are requested
only if there are any: a row of the daily statistics takes some 2 kB with them, however empty they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Protocol, TypeVar

from dagster_beiwe.client.answers import DailyAnalyses, analyses_from
from dagster_beiwe.client.capabilities import ROUTES
from dagster_beiwe.client.statistics_query import ROW_FIELDS, ZONE_FIELD, streams_of_fields

_T = TypeVar("_T")

_ROUTE = ROUTES["summary_statistics"]
_NOT_RESULTS = frozenset((*ROW_FIELDS, ZONE_FIELD, "study_id"))


class StatisticsRows(Protocol):
    """Requests rows of the daily statistics with some options, and returns what is read from them."""

    def __call__(
        self, study_id: str, query: Mapping[str, str], read: Callable[[Iterator[dict[str, Any]]], list[_T]]
    ) -> list[_T]: ...


def columns_with_results(rows: StatisticsRows, study_id: str) -> tuple[str, ...]:
    """The columns of all analyses that found anything in the study, in the server's order.

    One request, and up to four small ones for each of Forest's trees. An analysis writes all of its columns, so its
    first and last column tell. Where a database sorts missing values is not certain, so both ends are looked at.
    """
    every = [name for row in rows(study_id, {"limit": "1"}, list) for name in row]
    names = [name for name in every if name not in _NOT_RESULTS and not streams_of_fields([name])]
    trees = [list(found) for _, found in groupby(names, key=lambda name: name.partition("_")[0])]
    return tuple(name for tree in trees if _has_results(rows, study_id, tree) for name in tree)


def read_analyses(
    rows: StatisticsRows, study_id: str, columns: Iterable[str], options: Mapping[str, str]
) -> list[DailyAnalyses]:
    """The days on which one of the columns has a value."""
    names = tuple(columns)
    query = {"fields": ",".join((*ROW_FIELDS, ZONE_FIELD, *names)), **options}
    return rows(study_id, query, lambda found: analyses_from(found, _ROUTE, names))


def _has_results(rows: StatisticsRows, study_id: str, tree: Sequence[str]) -> bool:
    return any(
        row.get(name) is not None
        for name in dict.fromkeys((tree[0], tree[-1]))
        for direction in ("ascending", "descending")
        for row in rows(
            study_id, {"fields": name, "ordered_by": name, "order_direction": direction, "limit": "1"}, list
        )
    )
