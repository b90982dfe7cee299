"""Write the raw data of a selection, in one of the forms."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from operator import attrgetter
from typing import Final

from dagster_beiwe.errors import NotATableError
from dagster_beiwe.exports.folder import ExportFolder, Notes, Written
from dagster_beiwe.exports.outputs import Output, as_beiwe_has_them, as_forest_expects_them
from dagster_beiwe.exports.plain_copies import LakeAndFolder, export_files, processes_to_export
from dagster_beiwe.exports.selection import TABLE_FORMS, Contents, Selection
from dagster_beiwe.exports.tables import as_tables
from dagster_beiwe.lake.study import StudyLake
from dagster_beiwe.meanwhile import BUSY_THREADS, read_ahead
from dagster_beiwe.parallel import Processes, processes_for
from dagster_beiwe.progress import Progress
from dagster_beiwe.reading import BeiwePartitions
from dagster_beiwe.streams import stream_named

_Job = tuple[BeiwePartitions, list[Output]]

_JOB_BYTES: Final = 16 * 1024 * 1024
"""What a thread writes before it takes the next files. Small files are written faster one after the other."""
_JOB_FILES: Final = 1000
"""Nor more files than this: an interrupt waits for them."""
_QUICKLY_COPIED_BYTES: Final = 64 * 1024
"""Files of more than this are copied as fast by threads: most of it is done outside of Python's lock."""


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
    lake: StudyLake,
    selection: Selection,
    contents: Contents,
    folder: ExportFolder,
    progress: Progress,
    *,
    processes: bool = False,
) -> Result:
    """Write a selection, several raw files at a time. Files that an interrupted export has completed are kept.

    With ``processes``, one on each core works if there are many small files to copy from a local lake. The program's
    main module must then be importable.
    """
    worth = processes and selection.form == "tree" and contents.size_bytes < contents.files * _QUICKLY_COPIED_BYTES
    number = processes_for(contents.files, contents.size_bytes) if worth else 0
    with processes_to_export(lake.files, folder.root, number=number) as copiers:
        return _Export(lake, selection, folder, copiers, progress).write(contents.participants)


class _Export:
    """Writes raw files in jobs, several at the same time."""

    def __init__(
        self,
        lake: StudyLake,
        selection: Selection,
        folder: ExportFolder,
        copiers: Processes[LakeAndFolder],
        progress: Progress,
    ) -> None:
        self._lake, self._selection, self._folder, self._copiers = lake, selection, folder, copiers
        self._shown, self._result, self._stopped = _SharedProgress(progress), Result(), threading.Event()
        self._busy, self._small_jobs = threading.Semaphore(BUSY_THREADS), threading.Lock()
        self._job_bytes = 0 if selection.form in TABLE_FORMS else _JOB_BYTES

    def write(self, participants: Iterable[str]) -> Result:
        threads = 1 if self._selection.form in TABLE_FORMS else max(BUSY_THREADS, self._copiers.number)
        jobs = chain.from_iterable(map(self._jobs, participants))
        with closing(read_ahead(jobs, self._carry_out, most=threads, stopped=self._stopped)) as written:
            for (view, _), done in written:
                for output, outcome in done:
                    self._take(view, output, outcome)
        return self._result

    def _jobs(self, participant: str) -> Iterator[_Job]:
        view = self._selection.view(self._lake, participant)
        outputs = _outputs(self._selection, view, self._result)
        apart = attrgetter("is_small_copy") if self._copiers.number else None
        return ((view, job) for job in in_jobs(outputs, size_bytes=self._job_bytes, apart=apart))

    def _take(self, view: BeiwePartitions, output: Output, outcome: _Done | NotATableError) -> None:
        if isinstance(outcome, _Done):
            self._result.add(outcome, output)
            return
        self._result.not_tables.update(file.stream for file in output.files)
        for each in as_beiwe_has_them(view, output.files):
            self._result.add(_write(self._folder, each, self._shown), each)

    def _carry_out(self, job: _Job) -> list[tuple[Output, _Done | NotATableError]]:
        _, outputs = job
        if self._copiers.number and all(output.is_small_copy for output in outputs):
            return [] if self._stopped.is_set() else [*_copy(self._folder, outputs, self._shown, self._copiers)]
        # Small files on a disk keep Python busy: two threads would only hinder each other. A store takes its time.
        filled = sum(output.size_bytes for output in outputs) >= self._job_bytes
        alone = nullcontext() if filled or not self._lake.storage.locks else self._small_jobs
        with self._busy, alone, self._lake.storage.folder_by_folder(), self._folder.for_thread() as own:
            return [(output, self._written(own, output)) for output in outputs if not self._stopped.is_set()]

    def _written(self, folder: ExportFolder, output: Output) -> _Done | NotATableError:
        try:
            return _write(folder, output, self._shown)
        except NotATableError as error:
            return error


def in_jobs(
    outputs: Iterable[Output],
    *,
    size_bytes: int,
    most_files: int = _JOB_FILES,
    apart: Callable[[Output], bool] | None = None,
) -> Iterator[list[Output]]:
    """Files in groups of about so many bytes, and of at most so many files; what is ``apart`` in groups of its own."""
    jobs: dict[bool, list[Output]] = {}
    left: dict[bool, int] = {}
    for output in outputs:
        kind = apart(output) if apart else False
        jobs.setdefault(kind, []).append(output)
        left[kind] = left.get(kind, size_bytes) - output.size_bytes
        if left[kind] <= 0 or len(jobs[kind]) == most_files:
            yield jobs.pop(kind)
            del left[kind]
    yield from jobs.values()


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


def _copy(
    folder: ExportFolder, outputs: Sequence[Output], shown: _SharedProgress, copiers: Processes[LakeAndFolder]
) -> Iterator[tuple[Output, _Done]]:
    """Copy small raw files in another process."""
    done = {output.path: kept for output in outputs if (kept := folder.kept(output.path))}
    new = [output for output in outputs if output.path not in done]
    files = [output.stored for output in new if output.stored]
    written = [
        Written(path=output.path, size_bytes=file.record.size_bytes, sha256=file.record.sha256, notes=Notes())
        for output, file in zip(new, files, strict=True)
    ]
    try:
        folder.write_together(written, lambda targets: copiers.run(export_files, files, targets))
    except FileNotFoundError:
        for output in new:  # whoever has the log can say why it is not there
            output.write(io.BytesIO(), lambda _: None)
        raise
    for output in outputs:
        shown.advance(output)
    yield from ((output, _Done(done[output.path], kept=True)) for output in outputs if output.path in done)
    yield from ((output, _Done(each, kept=False)) for output, each in zip(new, written, strict=True))


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
