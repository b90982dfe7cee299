"""The metadata of one window of raw data, and what the run's log says about it."""

from __future__ import annotations

import logging
from collections.abc import Iterable

import dagster as dg

from dagster_beiwe.lake import StudyLake
from dagster_beiwe.runs.remembered_heads import Metadata, head_metadata
from dagster_beiwe.sync import WindowReport


def window_metadata(report: WindowReport, lake: StudyLake) -> Metadata:
    """Numbers of one committed window, without file names or content. Below 1 kB, as there is one per partition."""
    window = report.cell.window
    numbers = {
        "dagster/size_bytes": report.size_bytes,
        "files": report.files,
        "stored_bytes": report.stored_bytes,
        "added": report.added,
        "changed": report.changed,
        "deleted_upstream": report.deleted_upstream,
        "unchanged": report.unchanged,
        "added_bytes": report.added_bytes,
        "changed_bytes": report.changed_bytes,
        "deleted_upstream_bytes": report.deleted_upstream_bytes,
        "unchanged_bytes": report.unchanged_bytes,
        "not_sent": report.not_sent,
        "mislisted": report.mislisted,
        "unchecked": report.unchecked,
        "downloaded_bytes": report.downloaded_bytes,
        "requests": report.requests,
    }
    return {
        **{name: dg.MetadataValue.int(number) for name, number in numbers.items()},
        **(
            {"participant_deleted_upstream": dg.MetadataValue.bool(True)} if report.participant_deleted_upstream else {}
        ),
        "streams": dg.MetadataValue.json(dict(report.files_by_stream)),
        "window_start": dg.MetadataValue.timestamp(window.start),
        "window_end": dg.MetadataValue.timestamp(window.end),
        **head_metadata(lake),
    }


def errors_of(reports: Iterable[WindowReport]) -> str:
    """Why windows are incomplete, as the names of errors."""
    return ", ".join(sorted({failure.error for report in reports for failure in report.failures}))


def log_failures(report: WindowReport, log: logging.Logger) -> None:
    """Log which parts of a window could not be fetched."""
    for failure in report.failures:
        log.error(
            "%s, %s to %s, %s: %s: %s",
            report.cell.participant,
            failure.window.start.isoformat(),
            failure.window.end.isoformat(),
            ", ".join(failure.streams) or "all streams",
            failure.error,
            failure.message,
        )


def log_oddities(report: WindowReport, log: logging.Logger) -> None:
    """Warn of files that are not a failure but deserve a look."""
    if report.not_sent or report.mislisted or report.unchecked:
        log.warning(
            "%s, %s: %d files in the lake were not sent, and are kept because it is not certain that they were deleted "
            "upstream; %d files have another hash than the server lists, and are stored; %d files could not be checked "
            "because their archive broke off, and are requested again. If this persists, tell the server's operators.",
            report.cell.participant,
            report.cell.window.key,
            report.not_sent,
            report.mislisted,
            report.unchecked,
        )
