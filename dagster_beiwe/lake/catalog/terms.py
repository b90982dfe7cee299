"""What a catalog goes by, and what its tests change."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Final

from dagster_beiwe.lake.catalog.log import Log
from dagster_beiwe.lake.catalog.state import MARK_EVERY, RULES, Rules
from dagster_beiwe.lake.layout import RECORDS_PER_FOLDER


def _now() -> datetime:
    return datetime.now(timezone.utc).replace(microsecond=0)


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What a catalog goes by: its rules, its clocks, and how long it may trust what it saw of the log."""

    rules: Rules = RULES
    log: type[Log] = Log
    now: Callable[[], datetime] = _now
    monotonic: Callable[[], float] = time.monotonic
    look_after_seconds: float = 10.0
    checkpoint_every: int = MARK_EVERY
    checkpoint_after_run: int = 8
    """How many records a run of an object store leaves at most that no checkpoint holds."""
    records_per_folder: int = RECORDS_PER_FOLDER
    log2_n: int | None = None
    """What it costs to derive the key of a new log, if not the usual cost; see ``key_file``."""


TERMS: Final = Terms()
