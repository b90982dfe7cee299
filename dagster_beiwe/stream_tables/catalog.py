"""Every table that a study can name in its ``tables``."""

from __future__ import annotations

from collections.abc import Mapping

from dagster_beiwe.stream_tables.definition import TableDefinition
from dagster_beiwe.stream_tables.names import TABLE_NAMES, TableName
from dagster_beiwe.stream_tables.of_stream import stream_table
from dagster_beiwe.stream_tables.of_surveys import SURVEYS

_JOINED = {table.name: table for table in (SURVEYS,)}
TABLES: Mapping[TableName, TableDefinition] = {name: _JOINED.get(name) or stream_table(name) for name in TABLE_NAMES}
