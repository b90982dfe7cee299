"""Dagster's histories at a fraction of their cost, for tests and for the processes that they start."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

from alembic.config import Config
from alembic.script import ScriptDirectory
from dagster._core.storage.event_log import SqlEventLogStorage
from dagster._core.storage.event_log import in_memory as in_memory_event_log
from dagster._core.storage.event_log.sqlite import sqlite_event_log
from dagster._core.storage.runs import SqlRunStorage
from dagster._core.storage.runs import in_memory as in_memory_runs
from dagster._core.storage.runs.sqlite import sqlite_run_storage
from dagster._core.storage.schedules.sqlite import sqlite_schedule_storage
from sqlalchemy import Connection, Engine, QueuePool, create_engine, event

_COLUMNS = {
    SqlEventLogStorage: ("has_asset_key_col", "_has_asset_key_col_on_connection"),
    SqlRunStorage: ("has_run_stats_index_cols", "has_backfill_id_column"),
}
"""What looks up the columns of a table, in one version of Dagster or another."""


@contextmanager
def cheap_histories() -> Iterator[None]:
    """What Dagster does again for each database, or for each connection to one, is done once.

    It reads all its migrations to make a database, and it makes an engine for each connection to SQLite, which has to
    compile each query. To a database in memory it makes a connection for each query. For each event it looks up which
    columns its tables have: those of databases that it has just made have all.
    """
    read = ScriptDirectory.from_config
    scripts: dict[str | None, ScriptDirectory] = {}
    engines: dict[str, Engine] = {}

    def read_once(config: Config) -> ScriptDirectory:
        place = config.get_main_option("script_location")
        if place not in scripts:
            scripts[place] = read(config)
        return scripts[place]

    def create_once(address: str, **options: Any) -> Engine:
        if address not in engines:
            engines[address] = create_engine(address, **options)
        return engines[address]

    with ExitStack() as patches:
        patches.enter_context(mock.patch.object(ScriptDirectory, "from_config", read_once))
        for storage in (sqlite_event_log, sqlite_run_storage, sqlite_schedule_storage):
            patches.enter_context(mock.patch.object(storage, "create_engine", create_once))
        for module in (in_memory_event_log, in_memory_runs):
            patches.enter_context(mock.patch.object(module, "create_engine", _in_memory))
        events, runs = in_memory_event_log.InMemoryEventLogStorage, in_memory_runs.InMemoryRunStorage
        patches.enter_context(mock.patch.object(events, "_connect", _connect_to_events))
        patches.enter_context(mock.patch.object(runs, "connect", _connect_to_runs))
        for kind, names in _COLUMNS.items():
            for name in names:
                if hasattr(kind, name):
                    patches.enter_context(mock.patch.object(kind, name, _yes))
        yield


def _in_memory(address: str, **_without_pool: Any) -> Engine:
    """An engine that keeps its connections until nobody needs it any more."""
    engine = create_engine(address, poolclass=QueuePool, connect_args={"check_same_thread": False})
    event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA foreign_keys=ON").close())
    weakref.finalize(engine, engine.pool.dispose)
    return engine


@contextmanager
def _connect_to_events(storage: in_memory_event_log.InMemoryEventLogStorage) -> Iterator[Connection]:
    with storage._db_lock, storage._engine.begin() as connection:
        yield connection


@contextmanager
def _connect_to_runs(storage: in_memory_runs.InMemoryRunStorage) -> Iterator[Connection]:
    with storage._engine.begin() as connection:
        yield connection


def _yes(*_: object) -> bool:
    return True
