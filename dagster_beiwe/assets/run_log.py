"""What client, lake and sync say goes into the log of the run that they work for: its reader has no other."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from dagster_beiwe.client import BeiweClient
from dagster_beiwe.errors import ServerError


class _ToRun(logging.Handler):
    """Hands messages on, without their arguments and tracebacks."""

    def __init__(self, log: logging.Logger) -> None:
        super().__init__(logging.INFO)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        self._log.log(record.levelno, "%s", record.getMessage())


@contextmanager
def in_run_log(log: logging.Logger) -> Iterator[None]:
    """Copy what this package logs, from INFO on, to a run's log."""
    package = logging.getLogger("dagster_beiwe")
    handler, level = _ToRun(log), package.level
    package.addHandler(handler)
    package.setLevel(min(package.getEffectiveLevel(), logging.INFO))
    try:
        yield
    finally:
        package.setLevel(level)
        package.removeHandler(handler)


def log_capabilities(client: BeiweClient, log: logging.Logger) -> None:
    """Say once in a run what the server can do. It takes a small request per endpoint: runs of ``roster`` say it, and
    not each one of the many of ``raw_data``. That an endpoint fails to tell is no reason to fail."""
    try:
        client.capabilities()  # logs them
    except ServerError as error:
        if error.transient:
            raise
        log.warning("What the server can do was not wholly found out. %s", error)
