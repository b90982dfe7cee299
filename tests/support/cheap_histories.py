"""Dagster's histories at a fraction of their cost, for tests and for the processes that they start."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

from alembic.config import Config
from alembic.script import ScriptDirectory
from dagster._core.storage.event_log.sqlite import sqlite_event_log
from dagster._core.storage.runs.sqlite import sqlite_run_storage
from dagster._core.storage.schedules.sqlite import sqlite_schedule_storage
from sqlalchemy import Engine, create_engine


@contextmanager
def cheap_histories() -> Iterator[None]:
    """What Dagster does again for each database, or for each connection to one, is done once.

    It reads all its migrations to make a database, and it makes an engine for each connection to SQLite, which has to
    compile each query.
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
        yield
