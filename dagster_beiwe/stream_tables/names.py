"""What stream tables are called, and which streams they read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, get_args

TableName = Literal[
    "accelerometer",
    "app_log",
    "bluetooth",
    "calls",
    "devicemotion",
    "gps",
    "gyro",
    "identifiers",
    "ios_log",
    "magnetometer",
    "power_state",
    "proximity",
    "reachability",
    "survey_answers",
    "survey_timings",
    "surveys",
    "texts",
    "wifi",
]
"""The streams of the catalog that have rows, and what is joined from several."""
TABLE_NAMES: tuple[TableName, ...] = get_args(TableName)

_JOINED: Final[Mapping[str, tuple[str, ...]]] = {"surveys": ("survey_answers", "survey_timings")}


def streams_of(table: TableName) -> tuple[str, ...]:
    """The streams that a table is made from."""
    return _JOINED.get(table, (table,))
