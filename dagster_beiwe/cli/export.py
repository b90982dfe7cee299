"""``dagster-beiwe export``: unlock a selection into files that other programs read. What it writes is not protected."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dagster_beiwe.cli.context import (
    add_study_option,
    not_held,
    open_lake,
    past_state,
    studies_in_lake,
    user_path,
    utc_hour,
)
from dagster_beiwe.errors import ConfigurationError, NotATableError, TimeRangeError
from dagster_beiwe.ids import check_participant_id
from dagster_beiwe.lake import FileRecord, StudyLake
from dagster_beiwe.lake.storage.base import Storage
from dagster_beiwe.lake.storage.local import LocalStorage
from dagster_beiwe.private_files import FileTree, make_folder
from dagster_beiwe.streams import STREAM_NAMES, check_streams, misspelled_streams, stream_named
from dagster_beiwe.text import counted, human_size

if TYPE_CHECKING:
    from dagster_beiwe.reading.frames import ParseReport

_FIRST, _LAST = datetime.min.replace(tzinfo=timezone.utc), datetime.max.replace(tzinfo=timezone.utc)


def add_parser(commands: Any) -> None:
    parser = commands.add_parser("export", help="unlock a selection into plain files")
    add_study_option(parser, required=True)
    parser.add_argument("--participant", action="append", default=[], help="default: all; may be repeated")
    parser.add_argument("--stream", action="append", default=[], help="default: all; may be repeated")
    parser.add_argument("--start", type=utc_hour, default=_FIRST, help="first hour, UTC")
    parser.add_argument("--end", type=utc_hour, default=_LAST, help="hour to stop before, UTC")
    parser.add_argument("--as-of", type=past_state, help="a past state: a record's number, a time (UTC) or a snapshot")
    parser.add_argument("--format", choices=("tree", "csv", "parquet"), default="tree",
                        help="tree: Beiwe's own files; csv, parquet: one table per participant and stream")  # fmt: skip
    parser.add_argument("--to", required=True, type=user_path, help="folder to write to; it is made if need be")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    streams = _streams(options)
    if options.start >= options.end:
        raise TimeRangeError(
            f"Expected --start before --end, got {options.start.isoformat()} and {options.end.isoformat()}; nothing "
            "was written."
        )
    lake_of_all = open_lake()
    target = _checked_target(options.to, lake_of_all.storage)
    files = size_bytes = 0
    tables = _Tables()
    for _, newest in studies_in_lake(lake_of_all, options.study):
        lake = newest.at(options.as_of)
        unknown = {check_participant_id(each) for each in options.participant} - set(lake.participants())
        if unknown:
            raise not_held(sorted(unknown))
        _check_held(lake, streams)
        with _new_files(target) as tree:
            print("What is exported is NOT protected any more: keep it where patient data may be.", file=sys.stderr)
            for size in _export(lake, options, streams, tree, tables):
                files, size_bytes = files + 1, size_bytes + size
    if files:
        print(f"{counted(files, 'file')}, {human_size(size_bytes)}, in {target}")
        tables.tell()
        return 0
    print("The lake holds no file of this selection; nothing was written.")
    return 1


@contextmanager
def _new_files(folder: Path) -> Iterator[FileTree]:
    """The folder to write into. Folders that were made and stayed empty are removed in the end."""
    before = {path for path, _, _ in os.walk(folder)}
    make_folder(folder)
    try:
        yield FileTree(folder)
    finally:
        for path, _, _ in os.walk(folder, topdown=False):
            if path not in before:
                with suppress(OSError):  # it is not empty
                    Path(path).rmdir()


def _streams(options: argparse.Namespace) -> tuple[str, ...]:
    streams = check_streams(options.stream)
    if options.format == "tree" or not streams:
        return streams
    tables = tuple(name for name in streams if _may_be_table(name))
    if not tables:
        raise ConfigurationError(
            f"Expected streams that are tables, got {', '.join(streams)}; nothing was written. Leave --format out to "
            "get the files themselves."
        )
    return tables


def _may_be_table(stream: str) -> bool:
    return not stream_named(stream).audio


def _check_held(lake: StudyLake, streams: tuple[str, ...]) -> None:
    """Raises ``UnknownStreamError`` for a name that is misspelled: neither the catalogue nor the lake has it."""
    if misspelled_streams(streams):
        files = (file for each in lake.participants() for manifest in lake.manifests(each) for file in manifest.files)
        check_streams(streams, available={*STREAM_NAMES, *(file.stream for file in files)})


def _checked_target(folder: Path, storage: Storage) -> Path:
    if isinstance(storage, LocalStorage) and folder.resolve().is_relative_to(storage.root.resolve()):
        raise ConfigurationError(
            f"Expected a folder outside of the lake to export to, got {str(folder)!r} in {storage.describe()}; nothing "
            "was written. Readable files must not lie among locked ones: choose another folder."
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigurationError(
            f"Expected a new or empty folder to export to, got {str(folder)!r} with something in it; nothing was "
            "written. Choose another folder."
        )
    return folder


@dataclass
class _Tables:
    """What became of the rows of all tables, and which streams are none."""

    rows: int = 0
    repaired_rows: int = 0
    set_aside_rows: int = 0
    not_tables: set[str] = field(default_factory=set)

    def add(self, report: ParseReport) -> None:
        self.rows += report.rows
        self.repaired_rows += report.repaired_rows
        self.set_aside_rows += report.set_aside_rows

    def tell(self) -> None:
        if self.repaired_rows or self.set_aside_rows:
            print(
                f"Of {self.rows + self.set_aside_rows} rows, {self.repaired_rows} did not fit their header and were "
                f"repaired, {self.set_aside_rows} fitted none and were left out: see docs/reading.md."
            )
        if self.not_tables:
            print(f"No tables, so written as the files that they are: {', '.join(sorted(self.not_tables))}.")


def _export(
    lake: StudyLake, options: argparse.Namespace, streams: tuple[str, ...], target: FileTree, tables: _Tables
) -> Iterator[int]:
    """Write the selection; yields the size of each file."""
    for participant in dict.fromkeys(options.participant) or lake.participants():
        found = [
            (manifest.window, record)
            for manifest in lake.manifests(participant)
            for record in manifest.files
            if record.present
            and (not streams or record.stream in streams)
            and options.start <= record.moment < options.end
        ]
        if options.format == "tree":
            for window, record in found:
                yield _write_file(lake, participant, window, record, target)
        else:
            for stream in sorted({record.stream for _, record in found if _may_be_table(record.stream)}):
                chosen = [(window, record) for window, record in found if record.stream == stream]
                try:
                    yield _write_table(lake, participant, stream, chosen, target, options.format, tables)
                except NotATableError:
                    tables.not_tables.add(stream)
                    for window, record in chosen:
                        yield _write_file(lake, participant, window, record, target)


def _write_file(lake: StudyLake, participant: str, window: str, record: FileRecord, target: FileTree) -> int:
    with (
        _create(target, f"{participant}/{record.member}") as file,
        lake.open(participant, record, window=window) as source,
    ):
        shutil.copyfileobj(source, file, 256 * 1024)
    return record.size_bytes


def _write_table(
    lake: StudyLake,
    participant: str,
    stream: str,
    records: list[tuple[str, FileRecord]],
    target: FileTree,
    form: str,
    tables: _Tables,
) -> int:
    from dagster_beiwe.reading.frames import FrameBuilder  # pandas is slow to import, and most commands don't need it

    builder = FrameBuilder(stream)
    for window, record in records:
        data = lake.read(participant, record, window=window)
        builder.add(data, participant=participant, time=record.moment, survey_id=record.survey_id)
    frame = builder.build()
    tables.add(builder.report)
    with _create(target, f"{participant}/{stream}.{form}") as file:
        if form == "csv":
            frame.to_csv(file, index=False)
        else:
            frame.to_parquet(file, index=False)
        return int(file.tell())


@contextmanager
def _create(target: FileTree, path: str) -> Iterator[Any]:
    """A new file that stays only if the block ends well: its content is proven at the end."""
    with target.create(path, durable=False) as file:
        try:
            yield file
        except BaseException:
            target.delete(path)
            raise
