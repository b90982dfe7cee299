"""Copy log messages of client, lake, and sync to the log of the run that they work for."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from dagster_beiwe.client import BeiweClient
from dagster_beiwe.errors import ServerError


class _ToRun(logging.Handler):
    """Forwards messages without their arguments and tracebacks."""

    def __init__(self, log: logging.Logger) -> None:
        super().__init__(logging.INFO)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        self._log.log(record.levelno, "%s", record.getMessage())


@contextmanager
def in_run_log(log: logging.Logger) -> Iterator[None]:
    """Copy what this package logs, from level INFO, to a run's log."""
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
    """Log what the server supports. That takes a small request per endpoint, so runs of ``roster`` do it, and not each
    of the many runs of ``raw_data``. An endpoint that fails to answer is no reason to fail."""
    try:
        client.capabilities()  # logs them
    except ServerError as error:
        if error.transient:
            raise
        log.warning("Not everything that the server supports could be determined. %s", error)
