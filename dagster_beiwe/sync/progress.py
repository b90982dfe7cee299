"""Report: count what a run has done, and report it now and then."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from dagster_beiwe.sync.results import WindowReport


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a run is. ``downloaded_bytes`` are of archives as received, ``stored_bytes`` of files as stored."""

    cells_done: int
    cells_total: int
    files: int
    downloaded_bytes: int
    stored_bytes: int
    elapsed_seconds: float

    @property
    def rate_bytes_per_second(self) -> float:
        return self.downloaded_bytes / self.elapsed_seconds if self.elapsed_seconds else 0.0


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
        """Report the progress now."""
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
