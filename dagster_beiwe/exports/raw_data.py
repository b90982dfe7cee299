"""Write the raw data of a selection, in one of the forms."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from dagster_beiwe.errors import NotATableError
from dagster_beiwe.exports.folder import ExportFolder, Written
from dagster_beiwe.exports.outputs import Output, as_beiwe_has_them, as_forest_expects_them
from dagster_beiwe.exports.selection import TABLE_FORMS, Contents, Selection
from dagster_beiwe.exports.tables import as_tables
from dagster_beiwe.lake.study import StudyLake
from dagster_beiwe.progress import Progress
from dagster_beiwe.reading import BeiwePartitions
from dagster_beiwe.streams import stream_named


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

    def add(self, written: Written, output: Output, *, kept: bool) -> None:
        if written.sha256:
            self.files += 1
            self.kept_files += kept
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
    """Write a selection. Files that an interrupted export has completed are kept."""
    result = Result()
    for participant in contents.participants:
        view = selection.view(lake, participant)
        for output in _outputs(selection, view, result):
            try:
                _write(folder, output, result, progress)
            except NotATableError:
                result.not_tables.update(file.stream for file in output.files)
                for each in as_beiwe_has_them(view, output.files):
                    _write(folder, each, result, progress)
    return result


def _write(folder: ExportFolder, output: Output, result: Result, progress: Progress) -> None:
    kept = folder.kept(output.path)
    written = kept or folder.write(output.path, lambda sink: output.write(sink, progress.within))
    result.add(written, output, kept=kept is not None)
    progress.advance(len(output.files), output.size_bytes)


def _outputs(selection: Selection, view: BeiwePartitions, result: Result) -> Iterator[Output]:
    files = selection.files(view)
    if selection.form in TABLE_FORMS:
        chosen = list(files)
        result.recordings |= {file.stream for file in chosen if stream_named(file.stream).audio}
        return as_tables(view, [file for file in chosen if file.stream not in result.recordings], selection.form)
    return as_forest_expects_them(view, files) if selection.form == "forest" else as_beiwe_has_them(view, files)
