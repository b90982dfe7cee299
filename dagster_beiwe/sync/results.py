"""What a download brought, and the report of each window. No side effects."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone

from dagster_beiwe.cells import Cell
from dagster_beiwe.errors import BeiweError, WithdrawnError
from dagster_beiwe.lake import Changes, FetchedFile, FetchFailure, Manifest
from dagster_beiwe.lake.manifest import total_bytes
from dagster_beiwe.lake.writer import Submitted
from dagster_beiwe.sync.requests import DownloadRequest
from dagster_beiwe.windows import Window


@dataclass
class DownloadResult:
    """What the download of some consecutive windows brought.

    ``fetched_files`` are staged and checked, by key. ``failures`` are the requests that could not be downloaded.
    ``not_sent`` are keys of held files that the server left out of a full listing: it may have lost them, so the lake
    keeps them. ``deleted_upstream`` are those of which that is proven. ``mislisted`` are keys of fetched files with
    a different hash than the server lists, each time. ``counted_in`` has the row of daily counts that is known to have
    counted a file, by key. ``requests`` and ``downloaded_bytes`` are what it took.
    """

    fetched_files: dict[str, FetchedFile] = field(default_factory=dict)
    failures: dict[DownloadRequest, BeiweError] = field(default_factory=dict)
    not_sent: set[str] = field(default_factory=set)
    deleted_upstream: set[str] = field(default_factory=set)
    mislisted: set[str] = field(default_factory=set)
    counted_in: dict[str, str] = field(default_factory=dict)
    requests: int = 0
    downloaded_bytes: int = 0
    begun_at: datetime = field(default_factory=lambda: datetime.now(timezone.utc))

    def mark_deleted(self, keys: set[str]) -> None:
        """Count files that were not sent as deleted upstream."""
        self.deleted_upstream |= keys
        self.not_sent -= keys

    def failures_in(self, window: Window) -> tuple[FetchFailure, ...]:
        """The parts of a window that could not be fetched."""
        return tuple(
            failure_of(error, part, request.streams)
            for request, error in self.failures.items()
            if (part := request.window.intersection(window))
        )


@dataclass(frozen=True, kw_only=True)
class WindowReport(Changes):
    """One window, after it was committed by a ``record`` of the lake's log (0 if it was not).

    ``complete`` is False if a part could not be fetched: the rest is committed, and ``failures`` name that part.
    ``files``, ``size_bytes`` (plain) and ``stored_bytes`` are what the window holds now, as are the files and plain
    bytes by stream; the inherited fields are what this commit changed. ``not_sent`` counts held files that the server
    did not send although it may still count them: it may have lost them, so the lake keeps them. ``mislisted`` counts
    files that were stored although the server listed a different hash, twice. ``unchecked`` counts files from an
    archive that broke off before its hashes came; the next run requests them again. ``downloaded_bytes`` and
    ``requests`` are counted on one window of each download. ``participant_deleted_upstream``: the server no longer has
    the participant.
    ``participant_unknown``: neither the server nor the lake has anything of the participant; the id may be mistyped.
    ``participant_withdrawn``: the participant's data was withdrawn from the lake meanwhile.
    """

    cell: Cell
    complete: bool = False
    data_version: str = ""
    record: int = 0
    files: int = 0
    size_bytes: int = 0
    stored_bytes: int = 0
    not_sent: int = 0
    mislisted: int = 0
    unchecked: int = 0
    downloaded_bytes: int = 0
    requests: int = 0
    files_by_stream: Mapping[str, int] = field(default_factory=dict)
    bytes_by_stream: Mapping[str, int] = field(default_factory=dict)
    participant_deleted_upstream: bool = False
    participant_unknown: bool = False
    participant_withdrawn: bool = False
    failures: tuple[FetchFailure, ...] = ()

    @property
    def transient(self) -> bool:
        """Whether running the window again soon may complete it."""
        return any(failure.transient for failure in self.failures)

    def with_traffic(self, result: DownloadResult) -> WindowReport:
        """The same, with what a download took in addition."""
        return replace(
            self,
            requests=self.requests + result.requests,
            downloaded_bytes=self.downloaded_bytes + result.downloaded_bytes,
        )


def committed_report(cell: Cell, commit: Submitted, result: DownloadResult) -> WindowReport:
    """The report of a window that is committed. Raises as ``Submitted.record`` does if it is not."""
    return report_of(cell, commit.manifest, commit.changes, result, record=commit.record())


def report_of(cell: Cell, manifest: Manifest, changes: Changes, result: DownloadResult, *, record: int) -> WindowReport:
    present = [record for record in manifest.files if record.present]
    bytes_by_stream: Counter[str] = Counter()
    for record_of_file in present:
        bytes_by_stream[record_of_file.stream] += record_of_file.size_bytes
    return WindowReport(
        cell=cell,
        complete=manifest.complete,
        data_version=manifest.data_version,
        record=record,
        files=len(present),
        size_bytes=total_bytes(present),
        stored_bytes=sum(record.stored_size_bytes for record in present),
        **vars(changes),
        not_sent=sum(record.key in result.not_sent for record in present),
        mislisted=sum(record.key in result.mislisted for record in present),
        unchecked=sum(not record.checked for record in present),
        files_by_stream=dict(Counter(record.stream for record in present)),
        bytes_by_stream=dict(bytes_by_stream),
        failures=manifest.failures,
    )


def held_report(cell: Cell, manifest: Manifest, *, record: int) -> WindowReport:
    """The report of a window that stays as it was committed."""
    present = [each for each in manifest.files if each.present]
    unchanged = Changes(unchanged=len(present), unchanged_bytes=total_bytes(present))
    return report_of(cell, manifest, unchanged, DownloadResult(), record=record)


def refused_report(cell: Cell, streams: tuple[str, ...], error: BeiweError) -> WindowReport:
    """The report of a window to which nothing was committed."""
    return WindowReport(
        cell=cell,
        participant_withdrawn=isinstance(error, WithdrawnError),
        failures=(failure_of(error, cell.window, streams),),
    )


def failure_of(error: BeiweError, window: Window, streams: tuple[str, ...]) -> FetchFailure:
    return FetchFailure(
        start=window.start.isoformat(),
        end=window.end.isoformat(),
        streams=streams,
        error=type(error).__name__,
        message=str(error),
        transient=error.transient,
    )
