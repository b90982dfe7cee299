"""Fields and options of get-summary-statistics, which servers read from the query string."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date

from dagster_beiwe.errors import TimeRangeError

_QUERY_LIMIT_BYTES = 3_000
"""For the ids in one query string. Common proxies refuse addresses longer than 4 to 8 kB."""

ROW_FIELDS = ("date", "participant_id")
"""Without these a row is useless."""

ZONE_FIELD = "timezone"
"""The abbreviation of the zone that a row's day was counted in."""

_COUNT_FIELD = re.compile(r"\bbeiwe_([a-z0-9_-]{1,80})_bytes\b")


def count_field(stream: str) -> str:
    """The field with a stream's bytes."""
    return f"beiwe_{stream}_bytes"


def streams_of_fields(names: Iterable[str]) -> list[str]:
    """The streams counted by some fields, or by fields in a text."""
    return [stream for name in names for stream in _COUNT_FIELD.findall(name)]


def date_options(start_date: date | None, end_date: date | None) -> dict[str, str]:
    if start_date is not None and end_date is not None and start_date > end_date:
        raise TimeRangeError(f"The start date {start_date} is after the end date {end_date}. Nothing was requested.")
    given = {"start_date": start_date, "end_date": end_date}
    return {name: day.strftime("%Y-%m-%d") for name, day in given.items() if day is not None}


def batches(participants: tuple[str, ...]) -> list[str]:
    """Comma-separated ids, in texts short enough for a query string, where a comma takes three bytes."""
    found: list[str] = []
    for participant in participants:
        if found and len(found[-1]) + 2 * found[-1].count(",") + len(participant) + 3 <= _QUERY_LIMIT_BYTES:
            found[-1] += f",{participant}"
        else:
            found.append(participant)
    return found
