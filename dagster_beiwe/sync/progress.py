"""Count what a run has done, and tell it now and then."""

from __future__ import annotations

import time
from collections.abc import Callable

from dagster_beiwe.sync.results import Progress, WindowReport


class Meter:
    """Reports progress at most every ``every_seconds``, and once at the end."""

    def __init__(self, cells_total: int, every_seconds: float, on_progress: Callable[[Progress], None] | None) -> None:
        self._cells_total, self._every_seconds, self._on_progress = cells_total, every_seconds, on_progress
        self._started = self._reported = time.monotonic()
        self._cells_done = self._files = self._downloaded_bytes = self._stored_bytes = 0

    def received(self, size_bytes: int) -> None:
        """Count bytes of an archive."""
        self._downloaded_bytes += size_bytes
        self._report_if_due()

    def committed(self, report: WindowReport) -> None:
        """Count a window."""
        self._cells_done += 1
        self._files += report.files
        self._stored_bytes += report.stored_bytes
        self._report_if_due()

    def report(self) -> None:
        """Tell the progress now."""
        self._reported = time.monotonic()
        if self._on_progress:
            self._on_progress(
                Progress(
                    cells_done=self._cells_done,
                    cells_total=self._cells_total,
                    files=self._files,
                    downloaded_bytes=self._downloaded_bytes,
                    stored_bytes=self._stored_bytes,
                    elapsed_seconds=self._reported - self._started,
                )
            )

    def _report_if_due(self) -> None:
        if time.monotonic() - self._reported >= self._every_seconds:
            self.report()
