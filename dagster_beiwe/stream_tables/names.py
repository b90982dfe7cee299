"""What stream tables are called, and which streams they read."""

from __future__ import annotations

from typing import Literal, get_args

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
    "texts",
    "wifi",
]
"""The streams of the catalog that have rows."""
TABLE_NAMES: tuple[TableName, ...] = get_args(TableName)


def streams_of(table: TableName) -> tuple[str, ...]:
    """The streams that a table is made from."""
    return (table,)
