"""What is told of a window after it was committed, or could not be."""

from __future__ import annotations

from collections import Counter

from dagster_beiwe.cells import Cell
from dagster_beiwe.errors import BeiweError
from dagster_beiwe.lake import Changes, Hole, Manifest
from dagster_beiwe.lake.manifest import total_bytes
from dagster_beiwe.lake.writer import Submitted
from dagster_beiwe.sync.results import Problem, WindowReport
from dagster_beiwe.sync.splitting import Haul


def committed_report(cell: Cell, commit: Submitted, haul: Haul) -> WindowReport:
    """The report of a window that is committed. Raises ``CommitConflictError`` if it is not."""
    record = commit.record()
    return report_of(cell, commit.manifest, commit.changes, haul, record=record)


def report_of(cell: Cell, manifest: Manifest, changes: Changes, haul: Haul, *, record: int) -> WindowReport:
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
        vanished=changes.vanished,
        unchanged=changes.unchanged,
        added_bytes=changes.added_bytes,
        changed_bytes=changes.changed_bytes,
        vanished_bytes=changes.vanished_bytes,
        unchanged_bytes=changes.unchanged_bytes,
        missing_upstream=sum(record.key in haul.missing_upstream for record in present),
        mislisted=sum(record.key in haul.mislisted for record in present),
        unchecked=sum(not record.checked for record in present),
        files_by_stream=dict(Counter(record.stream for record in present)),
        problems=tuple(problems_in(haul, cell)),
    )


def problems_in(haul: Haul, cell: Cell) -> list[Problem]:
    """What could not be brought in of one window."""
    parts = (problem.inside(cell.window) for problem in haul.problems.values())
    return [part for part in parts if part]


def refused_report(cell: Cell, streams: tuple[str, ...], error: BeiweError) -> WindowReport:
    """The report of a window that nothing was committed to."""
    problem = Problem(
        participant=cell.participant,
        window=cell.window,
        streams=streams,
        error=type(error).__name__,
        message=str(error),
    )
    return WindowReport(
        cell=cell,
        complete=False,
        data_version="",
        record=0,
        files=0,
        size_bytes=0,
        stored_bytes=0,
        problems=(problem,),
    )


def hole_of(problem: Problem) -> Hole:
    return Hole(
        start=problem.window.start.isoformat(),
        end=problem.window.end.isoformat(),
        streams=problem.streams,
        error=problem.error,
    )
