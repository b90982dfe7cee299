"""Dagster at a fraction of its cost, for tests and for the processes that they start.

What it does again for each database, each connection to one, or each resource is done once. Garbage is looked for
rarely.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any
from unittest.mock import patch

from alembic.config import Config
from alembic.script import ScriptDirectory
from dagster._config.pythonic_config import resource as resources
from dagster._config.pythonic_config.config import infer_schema_from_config_class as infer
from dagster._core.storage.event_log import SqlEventLogStorage
from dagster._core.storage.event_log import in_memory as events_in_memory
from dagster._core.storage.event_log.in_memory import InMemoryEventLogStorage
from dagster._core.storage.event_log.sqlite import sqlite_event_log
from dagster._core.storage.runs import SqlRunStorage
from dagster._core.storage.runs import in_memory as runs_in_memory
from dagster._core.storage.runs.in_memory import InMemoryRunStorage
from dagster._core.storage.runs.sqlite import sqlite_run_storage
from dagster._core.storage.schedules.sqlite import sqlite_schedule_storage
from sqlalchemy import Connection, Engine, QueuePool, create_engine, event

_COLUMNS = {
    SqlEventLogStorage: ("has_asset_key_col", "_has_asset_key_col_on_connection"),
    SqlRunStorage: ("has_run_stats_index_cols", "has_backfill_id_column"),
}
"""What looks up the columns of a table, in one version of Dagster or another."""


@contextmanager
def cheap_dagster(*, alone: bool = False) -> Iterator[None]:
    """All of it; connections to files stay open where no other process writes to them."""
    with (
        _histories_in_files(alone=alone),
        _histories_in_memory(),
        _complete_tables(),
        _schemas_of_resources(),
        _garbage_seldom(),
    ):
        yield


@contextmanager
def _garbage_seldom() -> Iterator[None]:
    """Dagster makes many objects that stay: to look through them every time takes an eighth of what a test costs."""
    before = gc.get_threshold()
    gc.set_threshold(20_000, 50, 50)
    yield
    gc.set_threshold(*before)


@contextmanager
def _histories_in_files(*, alone: bool) -> Iterator[None]:
    """Dagster reads all its migrations to make a database, and makes an engine for each connection, which compiles each
    query. When the only connection to a database is closed, SQLite writes its log back and removes it."""
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
            engines[address] = _keeping_connections(address) if alone else create_engine(address, **options)
        return engines[address]

    with (
        patch.object(ScriptDirectory, "from_config", read_once),
        patch.object(sqlite_event_log, "create_engine", create_once),
        patch.object(sqlite_run_storage, "create_engine", create_once),
        patch.object(sqlite_schedule_storage, "create_engine", create_once),
    ):
        yield


def _keeping_connections(address: str) -> Engine:
    """An engine that Dagster can't part from its connections; nothing is kept from a power cut."""
    engine = create_engine(address, poolclass=QueuePool, connect_args={"check_same_thread": False})
    event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA synchronous=OFF").close())
    engine.dispose = lambda close=True: None
    return engine


@contextmanager
def _histories_in_memory() -> Iterator[None]:
    """Dagster makes a connection for each query, and sets two switches of it."""

    def keep_connections(address: str, **_without_pool: Any) -> Engine:
        engine = create_engine(address, poolclass=QueuePool, connect_args={"check_same_thread": False})
        event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA foreign_keys=ON").close())
        weakref.finalize(engine, engine.pool.dispose)
        return engine

    @contextmanager
    def connect_to_events(storage: InMemoryEventLogStorage) -> Iterator[Connection]:
        with storage._db_lock, storage._engine.begin() as connection:
            yield connection

    @contextmanager
    def connect_to_runs(storage: InMemoryRunStorage) -> Iterator[Connection]:
        with storage._engine.begin() as connection:
            yield connection

    with (
        patch.object(events_in_memory, "create_engine", keep_connections),
        patch.object(runs_in_memory, "create_engine", keep_connections),
        patch.object(InMemoryEventLogStorage, "_connect", connect_to_events),
        patch.object(InMemoryRunStorage, "connect", connect_to_runs),
    ):
        yield


@contextmanager
def _complete_tables() -> Iterator[None]:
    """Dagster looks up for each event which columns its tables have. Those of a new database have all."""

    def yes(*_: object) -> bool:
        return True

    with ExitStack() as patches:
        for storage, names in _COLUMNS.items():
            for name in filter(partial(hasattr, storage), names):
                patches.enter_context(patch.object(storage, name, yes))
        yield


@contextmanager
def _schemas_of_resources() -> Iterator[None]:
    """Each run makes its resources anew, and Dagster makes a schema of the class of each."""
    schemas: dict[tuple[type, frozenset[str]], Any] = {}

    def infer_once(kind: Any, *, fields_to_omit: set[str], **options: Any) -> Any:
        if options:  # the values that a resource was configured with
            return infer(kind, fields_to_omit=fields_to_omit, **options)
        key = kind, frozenset(fields_to_omit)
        if key not in schemas:
            schemas[key] = infer(kind, fields_to_omit=fields_to_omit)
        return schemas[key]

    with patch.object(resources, "infer_schema_from_config_class", infer_once):
        yield
