"""What is told of a window after it was committed, or could not be."""

from __future__ import annotations

from collections import Counter

from dagster_beiwe.cells import Cell
from dagster_beiwe.errors import BeiweError
from dagster_beiwe.lake import Changes, FetchFailure, Manifest
from dagster_beiwe.lake.manifest import total_bytes
from dagster_beiwe.lake.writer import Submitted
from dagster_beiwe.sync.results import WindowReport
from dagster_beiwe.sync.splitting import DownloadResult
from dagster_beiwe.windows import Window


def committed_report(cell: Cell, commit: Submitted, result: DownloadResult) -> WindowReport:
    """The report of a window that is committed. Raises ``CommitConflictError`` if it is not."""
    record = commit.record()
    return report_of(cell, commit.manifest, commit.changes, result, record=record)


def report_of(cell: Cell, manifest: Manifest, changes: Changes, result: DownloadResult, *, record: int) -> WindowReport:
    present = [record for record in manifest.files if record.present]
    return WindowReport(
        cell=cell,
        complete=manifest.complete,
        data_version=manifest.data_version,
        record=record,
        files=len(present),
        size_bytes=total_bytes(present),
        stored_bytes=sum(record.stored_size_bytes for record in present),
        added=changes.added,
        changed=changes.changed,
        deleted_upstream=changes.deleted_upstream,
        unchanged=changes.unchanged,
        added_bytes=changes.added_bytes,
        changed_bytes=changes.changed_bytes,
        deleted_upstream_bytes=changes.deleted_upstream_bytes,
        unchanged_bytes=changes.unchanged_bytes,
        not_sent=sum(record.key in result.not_sent for record in present),
        mislisted=sum(record.key in result.mislisted for record in present),
        unchecked=sum(not record.checked for record in present),
        files_by_stream=dict(Counter(record.stream for record in present)),
        failures=manifest.failures,
    )


def failures_in(result: DownloadResult, window: Window) -> tuple[FetchFailure, ...]:
    """The parts of a window that could not be fetched; a request that failed may have covered several windows."""
    return tuple(
        failure_of(error, part, request.streams)
        for request, error in result.failures.items()
        if (part := request.window.intersection(window))
    )


def failure_of(error: BeiweError, window: Window, streams: tuple[str, ...]) -> FetchFailure:
    return FetchFailure(
        start=window.start.isoformat(),
        end=window.end.isoformat(),
        streams=streams,
        error=type(error).__name__,
        message=str(error),
    )


def refused_report(cell: Cell, streams: tuple[str, ...], error: BeiweError) -> WindowReport:
    """The report of a window that nothing was committed to."""
    return WindowReport(
        cell=cell,
        complete=False,
        data_version="",
        record=0,
        files=0,
        size_bytes=0,
        stored_bytes=0,
        failures=(failure_of(error, cell.window, streams),),
    )
