"""Write the raw data of a selection, in one of the forms."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import Final

from dagster_beiwe.errors import NotATableError
from dagster_beiwe.exports.folder import ExportFolder, Written
from dagster_beiwe.exports.outputs import Output, as_beiwe_has_them, as_forest_expects_them
from dagster_beiwe.exports.selection import TABLE_FORMS, Contents, Selection
from dagster_beiwe.exports.tables import as_tables
from dagster_beiwe.lake.study import StudyLake
from dagster_beiwe.meanwhile import BUSY_THREADS, read_ahead
from dagster_beiwe.progress import Progress
from dagster_beiwe.reading import BeiwePartitions
from dagster_beiwe.streams import stream_named

_JOB_BYTES: Final = 16 * 1024 * 1024
"""What a thread writes before it takes the next files. Small files are written faster one after the other."""
_JOB_FILES: Final = 1000
"""Nor more files than this: an interrupt waits for them."""


@dataclass
class Result:
    """What became of an export. ``kept_files`` of the ``files`` were complete already.

    ``rewritten`` and ``left_out`` are raw files that Forest could not have read as they are, and ``not_tables`` and
    ``recordings`` streams: those written as files, and those not written at all.
    """

    files: int = 0
    kept_files: int = 0
    size_bytes: int = 0
    rows: int = 0
    repaired_rows: int = 0
    set_aside_rows: int = 0
    rewritten: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    not_tables: set[str] = field(default_factory=set)
    recordings: set[str] = field(default_factory=set)

    def add(self, done: _Done, output: Output) -> None:
        written = done.written
        if written.sha256:
            self.files += 1
            self.kept_files += done.kept
            self.size_bytes += written.size_bytes
        self.rows += written.notes.rows
        self.repaired_rows += written.notes.repaired_rows
        self.set_aside_rows += written.notes.set_aside_rows
        named = {"rewritten": self.rewritten, "left out": self.left_out}.get(written.notes.outcome)
        if named is not None:
            named += [f"{file.participant}/{file.name}" for file in output.files]


def export(
    lake: StudyLake, selection: Selection, contents: Contents, folder: ExportFolder, progress: Progress
) -> Result:
    """Write a selection, several raw files at a time. Files that an interrupted export has completed are kept."""
    result, shown = Result(), _SharedProgress(progress)
    stopped, small_jobs = threading.Event(), threading.Lock()
    threads, job_bytes = (1, 0) if selection.form in TABLE_FORMS else (BUSY_THREADS, _JOB_BYTES)

    def write(own: ExportFolder, output: Output) -> _Done | NotATableError:
        try:
            return _write(own, output, shown)
        except NotATableError as error:
            return error

    def write_all(outputs: Sequence[Output]) -> list[tuple[Output, _Done | NotATableError]]:
        # Small files on a disk keep Python busy: two threads would only hinder each other. A store takes its time.
        filled = sum(output.size_bytes for output in outputs) >= job_bytes
        with nullcontext() if filled or not lake.storage.locks else small_jobs, folder.for_thread() as own:
            return [(output, write(own, output)) for output in outputs if not stopped.is_set()]

    for participant in contents.participants:
        view = selection.view(lake, participant)
        jobs = in_jobs(_outputs(selection, view, result), size_bytes=job_bytes)
        with closing(read_ahead(jobs, write_all, most=threads, stopped=stopped)) as written:
            for output, done in chain.from_iterable(done for _, done in written):
                if isinstance(done, NotATableError):
                    result.not_tables.update(file.stream for file in output.files)
                    for each in as_beiwe_has_them(view, output.files):
                        result.add(_write(folder, each, shown), each)
                else:
                    result.add(done, output)
    return result


def in_jobs(outputs: Iterable[Output], *, size_bytes: int, most_files: int = _JOB_FILES) -> Iterator[list[Output]]:
    """Files in groups of about so many bytes, and of at most so many files."""
    job: list[Output] = []
    left = size_bytes
    for output in outputs:
        job.append(output)
        left -= output.size_bytes
        if left <= 0 or len(job) == most_files:
            yield job
            job, left = [], size_bytes
    if job:
        yield job


@dataclass(frozen=True)
class _Done:
    """A complete file; ``kept`` if it was complete already."""

    written: Written
    kept: bool


def _write(folder: ExportFolder, output: Output, shown: _SharedProgress) -> _Done:
    kept = folder.kept(output.path)
    tick = partial(shown.within, output)
    try:
        written = kept or folder.write(output.path, lambda sink: output.write(sink, tick), sha256=output.sha256)
        shown.advance(output)
    finally:
        shown.drop(output)
    return _Done(written, kept=kept is not None)


class _SharedProgress:
    """The progress of files that are written at the same time."""

    def __init__(self, progress: Progress) -> None:
        self._progress, self._lock = progress, threading.Lock()
        self._within: dict[str, int] = {}

    def within(self, output: Output, size_bytes: int) -> None:
        with self._lock:
            self._within[output.path] = size_bytes
            self._progress.within(sum(self._within.values()))

    def advance(self, output: Output) -> None:
        with self._lock:
            self._within.pop(output.path, None)
            self._progress.advance(len(output.files), output.size_bytes)

    def drop(self, output: Output) -> None:
        """Forget what was written of a file: it is complete, or it failed."""
        with self._lock:
            self._within.pop(output.path, None)


def _outputs(selection: Selection, view: BeiwePartitions, result: Result) -> Iterator[Output]:
    files = selection.files(view)
    if selection.form in TABLE_FORMS:
        chosen = list(files)
        result.recordings |= {file.stream for file in chosen if stream_named(file.stream).audio}
        return as_tables(view, [file for file in chosen if file.stream not in result.recordings], selection.form)
    return as_forest_expects_them(view, files) if selection.form == "forest" else as_beiwe_has_them(view, files)
