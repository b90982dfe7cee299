"""``dagster-beiwe export``: decrypt a selection into files that other programs read."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dagster_beiwe.cli.context import check_outside, not_held, open_lake, studies_in_lake
from dagster_beiwe.cli.options import as_of_option, json_option, participants_option, study_option, utc_time
from dagster_beiwe.cli.output import print_json
from dagster_beiwe.errors import ConfigurationError, NotATableError
from dagster_beiwe.ids import check_participant_id
from dagster_beiwe.lake import FileRecord, StudyLake
from dagster_beiwe.opening import user_path
from dagster_beiwe.private_files import FileTree, make_folder
from dagster_beiwe.streams import STREAM_NAMES, check_streams, misspelled_streams, stream_named
from dagster_beiwe.text import as_typed, counted, human_size

if TYPE_CHECKING:
    import pandas as pd

    from dagster_beiwe.reading.frames import ParseReport

_FIRST, _LAST = datetime.min.replace(tzinfo=timezone.utc), datetime.max.replace(tzinfo=timezone.utc)


@dataclass(frozen=True)
class _Selection:
    participants: tuple[str, ...]
    streams: tuple[str, ...]
    start: datetime
    end: datetime
    form: str

    def records(self, lake: StudyLake, participant: str) -> list[tuple[str, FileRecord]]:
        """The selected files of a participant, with their windows."""
        return [
            (manifest.window, record)
            for manifest in lake.manifests(participant)
            for record in manifest.files
            if record.present
            and (not self.streams or record.stream in self.streams)
            and self.start <= record.moment < self.end
        ]


@click.command()
@study_option
@participants_option
@click.option("--stream", "streams", multiple=True, help="Only this stream. Can be repeated. Default: all.")
@click.option("--table", help="This table of the lake in place of raw data, as --format csv (the default) or parquet.")
@click.option("--start", type=utc_time, metavar="TIME", help="First hour (UTC). Default: all.")
@click.option("--end", type=utc_time, metavar="TIME", help="Hour to stop before (UTC). Default: all.")
@as_of_option
@click.option(
    "--format",
    "form",
    type=click.Choice(["tree", "csv", "parquet"]),
    help="tree (the default): Beiwe's own files. csv, parquet: one table per participant and stream.",
)
@click.option(
    "--to", "folder", required=True, type=user_path, metavar="FOLDER", help="New or empty folder to write to."
)
@json_option
def command(
    *,
    study: str,
    participants: tuple[str, ...],
    streams: tuple[str, ...],
    table: str | None,
    start: datetime | None,
    end: datetime | None,
    as_of: int | datetime | str | None,
    form: str | None,
    folder: Path,
    as_json: bool,
) -> int:
    """Decrypt a selection into plain files.

    What is exported is not protected: keep it where patient data may be.
    """
    if table is not None:
        if streams or form == "tree":
            raise click.UsageError("--table excludes --stream and --format tree.")
        return _export_table(study, as_of, table, participants, start, end, form or "csv", folder, as_json=as_json)
    form = form or "tree"
    selection = _Selection(participants, _streams(streams, form), start or _FIRST, end or _LAST, form)
    if selection.start >= selection.end:
        raise click.UsageError(
            f"--start {selection.start.isoformat()} is not before --end {selection.end.isoformat()}."
        )
    whole = open_lake()
    check_outside(folder, whole.storage)
    _check_new(folder)
    files = size_bytes = 0
    tables = _Tables()
    ((found, newest),) = studies_in_lake(whole, study)
    lake = newest.at(as_of)
    unknown = {check_participant_id(each) for each in selection.participants} - set(lake.participants())
    if unknown:
        raise not_held(sorted(unknown))
    _check_held(lake, selection.streams)
    with _new_files(folder) as tree:
        _warn()
        for size in _export(lake, selection, tree, tables):
            files, size_bytes = files + 1, size_bytes + size
    if as_json:
        rows = {**asdict(tables), "not_tables": sorted(tables.not_tables)}
        print_json({"study_id": found.id, "folder": folder, "files": files, "size_bytes": size_bytes, **rows})
    elif files:
        print(f"{counted(files, 'file')}, {human_size(size_bytes)}, in {as_typed(str(folder))}")
        tables.tell()
    else:
        print("The lake holds no file of this selection. Nothing was written.")
    return 0 if files else 1


def _export_table(
    study: str,
    as_of: int | datetime | str | None,
    table: str,
    participants: tuple[str, ...],
    start: datetime | None,
    end: datetime | None,
    form: str,
    folder: Path,
    *,
    as_json: bool,
) -> int:
    """Write the rows of one table into one file; partitions are told apart by a column."""
    from dagster_beiwe.tables.joining import concat  # pandas is slow to import
    from dagster_beiwe.tables.partitions import TablePartitions

    whole = open_lake()
    check_outside(folder, whole.storage)
    _check_new(folder)
    ((listing, lake),) = studies_in_lake(whole, study)
    found = TablePartitions.of(lake, table, participants=participants or None, start=start, end=end, as_of=as_of)
    frame = concat([found[key].assign(partition=key) if key else found[key] for key in found])
    size_bytes = 0
    if len(frame):
        with _new_files(folder) as tree, _create(tree, f"{found.asset_key[-1]}.{form}") as file:
            _warn()
            size_bytes = _write_frame(frame, file, form)
    if as_json:
        facts = {"folder": folder, "rows": len(frame), "size_bytes": size_bytes, "missing": found.missing}
        print_json({"study_id": listing.id, "table": "/".join(found.asset_key), **facts})
        return 0 if len(frame) else 1
    for key in found.missing:
        print(f"Not in the lake: partition {key}.", file=sys.stderr)
    if len(frame):
        print(f"{counted(len(frame), 'row')}, {human_size(size_bytes)}, in {as_typed(str(folder))}")
        return 0
    print("The lake holds no row of this selection. Nothing was written.")
    return 1


def _warn() -> None:
    print("Exported files are NOT protected: keep them where patient data may be.", file=sys.stderr)


@contextmanager
def _new_files(folder: Path) -> Iterator[FileTree]:
    """The folder to write into. Folders that were created and stayed empty are removed at the end."""
    before = {path for path, _, _ in os.walk(folder)}
    make_folder(folder)
    try:
        yield FileTree(folder)
    finally:
        for path, _, _ in os.walk(folder, topdown=False):
            if path not in before:
                with suppress(OSError):  # it is not empty
                    Path(path).rmdir()


def _streams(named: tuple[str, ...], form: str) -> tuple[str, ...]:
    streams = check_streams(named)
    if form == "tree" or not streams:
        return streams
    tables = tuple(name for name in streams if _may_be_table(name))
    if not tables:
        raise click.UsageError(
            f"No table can be made of {', '.join(streams)}. Leave out --format to export the files themselves."
        )
    return tables


def _may_be_table(stream: str) -> bool:
    return not stream_named(stream).audio


def _check_held(lake: StudyLake, streams: tuple[str, ...]) -> None:
    """Raises ``UnknownStreamError`` for a name that is misspelled: neither Beiwe nor the lake has it."""
    if misspelled_streams(streams):
        files = (file for each in lake.participants() for manifest in lake.manifests(each) for file in manifest.files)
        check_streams(streams, available={*STREAM_NAMES, *(file.stream for file in files)})


def _check_new(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigurationError(f"{folder} is not a new or empty folder. Nothing was written. Choose another folder.")


@dataclass
class _Tables:
    """What became of the rows of all tables, and which streams are not tables."""

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
                f"repaired, and {self.set_aside_rows} fit no header and were left out. See docs/reading.md."
            )
        if self.not_tables:
            print(f"Written as files, because no table can be made of them: {', '.join(sorted(self.not_tables))}.")


def _export(lake: StudyLake, selection: _Selection, target: FileTree, tables: _Tables) -> Iterator[int]:
    """Write the selection. Yields the size of each file."""
    for participant in dict.fromkeys(selection.participants) or lake.participants():
        found = selection.records(lake, participant)
        if selection.form == "tree":
            for window, record in found:
                yield _write_file(lake, participant, window, record, target)
            continue
        for stream in sorted({record.stream for _, record in found if _may_be_table(record.stream)}):
            chosen = [(window, record) for window, record in found if record.stream == stream]
            try:
                yield _write_table(lake, participant, stream, chosen, target, selection.form, tables)
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
        return _write_frame(frame, file, form)


def _write_frame(frame: pd.DataFrame, file: Any, form: str) -> int:
    if form == "csv":
        frame.to_csv(file, index=False)
    else:
        frame.to_parquet(file, index=False)
    return int(file.tell())


@contextmanager
def _create(target: FileTree, path: str) -> Iterator[Any]:
    """A new file that stays only if the block succeeds: its content is proven at the end."""
    with target.create(path, durable=False) as file:
        try:
            yield file
        except BaseException:
            target.delete(path)
            raise
