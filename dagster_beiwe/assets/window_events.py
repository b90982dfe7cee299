"""The metadata of one window of raw data, and what the run's log says about it."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import timedelta

import dagster as dg

from dagster_beiwe.lake import StudyLake
from dagster_beiwe.runs.remembered_heads import Metadata, head_metadata
from dagster_beiwe.sync import WindowReport
from dagster_beiwe.text import counted, error_in_words, human_size


def window_metadata(report: WindowReport, lake: StudyLake) -> Metadata:
    """What one committed window holds and what changed, without file names or content. About 1 kB, as there is one per
    partition. The size has no name that Dagster knows: it would show that of the last partition as the asset's."""
    window = report.cell.window
    last = (window.end - timedelta(microseconds=1)).date()
    notes = _notes(report)
    return {
        "files": dg.MetadataValue.int(report.files),
        "size_bytes": dg.MetadataValue.int(report.size_bytes),
        "stored_bytes": dg.MetadataValue.int(report.stored_bytes),
        "streams": _streams(report),
        "changes": dg.MetadataValue.text(_changes(report)),
        "window": dg.MetadataValue.text(f"{window.start.date()} to {last} (UTC)"),
        **({"notes": dg.MetadataValue.text(notes)} if notes else {}),
        **head_metadata(lake),
    }


def _streams(report: WindowReport) -> dg.MarkdownMetadataValue | dg.TextMetadataValue:
    if not report.files:
        return dg.MetadataValue.text("No files: the server has none of this window.")
    rows = [
        f"| {stream} | {files:,} | {human_size(report.bytes_by_stream[stream])} |"
        for stream, files in sorted(report.files_by_stream.items())
    ]
    return dg.MetadataValue.md("\n".join(["| stream | files | size |", "|---|--:|--:|", *rows]))


def _changes(report: WindowReport) -> str:
    """What the run did to the window: files and plain bytes."""
    kinds = {
        "added": (report.added, report.added_bytes),
        "changed": (report.changed, report.changed_bytes),
        "deleted upstream": (report.deleted_upstream, report.deleted_upstream_bytes),
        "unchanged": (report.unchanged, report.unchanged_bytes),
    }
    parts = [f"{files:,} {kind} ({human_size(size)})" for kind, (files, size) in kinds.items() if files]
    return ", ".join(parts) or "none"


def _notes(report: WindowReport) -> str:
    """What deserves a look; the run's log says more."""
    notes = (
        (report.participant_deleted_upstream, "The participant is no longer on the server."),
        (report.not_sent, f"{counted(report.not_sent, 'file')} not sent, and kept."),
        (report.mislisted, f"{counted(report.mislisted, 'file')} with a different hash than the server lists."),
        (report.unchecked, f"{counted(report.unchecked, 'file')} not checked; the next run requests them again."),
    )
    return " ".join(text for applies, text in notes if applies)


def errors_of(reports: Iterable[WindowReport]) -> str:
    """Why windows are incomplete, in a few words."""
    return ", ".join(sorted({error_in_words(each.error) for report in reports for each in report.failures}))


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
            "%s, %s: %d files in the lake were not sent, and are kept because it is not certain that they were "
            "deleted upstream; %d files have a different hash than the server lists, and are stored; %d files could "
            "not be checked because their archive broke off, and are requested again. If this persists, tell the "
            "server's operators.",
            report.cell.participant,
            report.cell.window.key,
            report.not_sent,
            report.mislisted,
            report.unchecked,
        )
