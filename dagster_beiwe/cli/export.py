"""``dagster-beiwe export``: decrypt a selection into files that other programs read."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, get_args

import click

from dagster_beiwe.cli import completion
from dagster_beiwe.cli.command import Command
from dagster_beiwe.cli.context import check_outside, not_held, open_lake, studies_in_lake
from dagster_beiwe.cli.messages import say, when_interrupted
from dagster_beiwe.cli.options import as_of_option, json_option, participants_option, study_option, utc_time
from dagster_beiwe.cli.output import print_json
from dagster_beiwe.cli.progress import progress
from dagster_beiwe.errors import ConfigurationError, LakeUnavailableError
from dagster_beiwe.exports.folder import ExportFolder, Request, unfinished
from dagster_beiwe.exports.lake_tables import TableExport
from dagster_beiwe.exports.programs import parsed, run
from dagster_beiwe.exports.raw_data import Result, export
from dagster_beiwe.exports.selection import TABLE_FORMS, Contents, Form, Selection
from dagster_beiwe.ids import check_participant_id
from dagster_beiwe.lake import StudyLake
from dagster_beiwe.lake.access import Access, record_access
from dagster_beiwe.memory_folders import memory_folder
from dagster_beiwe.opening import user_path
from dagster_beiwe.streams import STREAM_NAMES, check_streams, misspelled_streams, stream_named
from dagster_beiwe.tables.partitions import TablePartitions
from dagster_beiwe.text import as_typed, counted, human_size, listed

_LISTED = 10


@click.command(
    cls=Command,
    examples=[
        'export --study "Sleep and Mood" --to plain',
        'export --study "Sleep and Mood" --stream gps --format parquet --and-run "Rscript places.R"',
    ],
)
@study_option
@participants_option
@click.option(
    "--stream",
    "streams",
    multiple=True,
    metavar="STREAM",
    shell_complete=completion.streams,
    help="Only this stream. Can be repeated. Default: all.",
)
@click.option(
    "--table",
    default="",
    metavar="TABLE",
    help="This table of the lake in place of raw data, as csv (the default) or parquet.",
)
@click.option("--start", type=utc_time, metavar="TIME", help="First hour (UTC). Default: all.")
@click.option("--end", type=utc_time, metavar="TIME", help="Hour to stop before (UTC). Default: all.")
@as_of_option
@click.option(
    "--format",
    "form",
    type=click.Choice(get_args(Form)),
    help="tree (the default): Beiwe's own files. forest: files as Forest expects them. csv: one table per participant "
    "and stream. parquet: a data set per stream.",
)
@click.option(
    "--to", "folder", type=user_path, metavar="FOLDER", help="New or empty folder, or one of an interrupted export."
)
@click.option(
    "--and-run",
    "program",
    metavar="COMMAND",
    help="Run this command with the folder in place of {}, or as its last word; then remove the folder. Without --to, "
    "it is in memory.",
)
@click.option(
    "--by", "name", default="", metavar="NAME", help="Your name for the access record, beside the system's user."
)
@click.option("--no-record", is_flag=True, help="Write nothing into the lake's access record.")
@json_option
def command(
    *,
    study: str,
    participants: tuple[str, ...],
    streams: tuple[str, ...],
    table: str,
    start: datetime | None,
    end: datetime | None,
    as_of: int | datetime | str | None,
    form: Form | None,
    folder: Path | None,
    program: str | None,
    name: str,
    no_record: bool,
    as_json: bool,
) -> int:
    """Decrypt a selection into plain files.

    What is exported is not protected: keep it where patient data may be. Run the same command again to continue an
    interrupted export.
    """
    if folder is None and program is None:
        raise click.UsageError("Missing option '--to' or '--and-run'.")
    form = _form(form, table, streams)
    if start and end and start >= end:
        raise click.UsageError(f"--start {start.isoformat()} is not before --end {end.isoformat()}.")
    streams = _streams(streams, form)
    words = parsed(program) if program is not None else None
    whole = open_lake()
    if folder is not None:
        check_outside(folder, whole.storage)
    ((found, newest),) = studies_in_lake(whole, study)
    request = Request(
        study_id=found.id,
        form=form,
        participants=participants,
        streams=streams,
        table=table,
        start=start,
        end=end,
        as_of="" if as_of is None else str(as_of),
    )
    lake = _state(newest, as_of, folder, request)
    unknown = set(map(check_participant_id, participants)) - set(lake.participants())
    if unknown:
        raise not_held(sorted(unknown))
    order = _Order(
        lake=lake, request=request, folder=folder, words=words, name=name, recorded=not no_record, as_json=as_json
    )
    return _export_table(order, form) if table else _export_raw_data(order, form)


@dataclass(frozen=True, kw_only=True)
class _Order:
    """What to export, where to, and what to do with it."""

    lake: StudyLake
    request: Request
    folder: Path | None
    words: list[str] | None
    name: str
    recorded: bool
    as_json: bool

    def carry_out(self, access: Access, write: Callable[[ExportFolder], tuple[dict[str, Any], list[str]]]) -> int:
        """Record, write and tell, and run the command. ``write`` returns facts for programs and lines for people."""
        with (
            when_interrupted(self._what_stands),
            self._place() as place,
            ExportFolder.open(place, self.request, self.lake.state.head, temporary=self.words is not None) as target,
        ):
            record = self._record(access) if self.recorded else None
            say("warning", "Exported files are NOT protected: keep them where patient data may be.")
            facts, lines = write(target)
            if self.folder is None or self.words is None:  # else a killed command would leave files of nobody
                target.finish()
            if self.as_json:
                print_json({"study_id": self.request.study_id, "folder": self.folder, **facts, "record": record})
            else:
                print(*lines, sep="\n", file=sys.stdout if self.words is None else sys.stderr)
            if self.words is None:
                return 0
            sys.stdout.flush()
            return run(self.words, place)

    def _what_stands(self) -> str:
        if self.words is not None:
            return "The exported files were removed."
        return f"What is complete in {self.where} stays, unencrypted. Run the same command again to continue."

    def _record(self, access: Access) -> int:
        try:
            return record_access(self.lake, access)
        except LakeUnavailableError as error:
            raise LakeUnavailableError(
                f"The export cannot be entered in the lake's access record. Nothing was decrypted. Let this user write "
                f"to the log of study {self.request.study_id}, or add --no-record. {error}"
            ) from None

    def access(self, participants: Iterable[str], *, files: int, size_bytes: int) -> Access:
        asked = self.request
        return Access(
            participants=participants,
            form=asked.form,
            name=self.name,
            streams=asked.streams,
            table=asked.table,
            start=asked.start,
            end=asked.end,
            folder=as_typed(str(self.folder.resolve())) if self.folder else "",
            files=files,
            size_bytes=size_bytes,
        )

    def nothing(self, what: str, **facts: Any) -> int:
        """Tell that the lake holds nothing to export."""
        if self.as_json:
            print_json({"study_id": self.request.study_id, "folder": self.folder, **facts, "record": None})
        else:
            print(f"The lake holds no {what} of this selection. Nothing was written.")
        return 1

    @property
    def where(self) -> str:
        return as_typed(str(self.folder)) if self.folder else "memory"

    @contextmanager
    def _place(self) -> Iterator[Path]:
        if self.folder is not None:
            yield self.folder
            return
        with memory_folder("export", otherwise="name with --to") as above:
            yield above / "export"


def _state(newest: StudyLake, as_of: int | datetime | str | None, folder: Path | None, request: Request) -> StudyLake:
    """The state to read: that of the interrupted export in the folder, if there is one."""
    earlier = unfinished(folder, request) if folder is not None else None
    if earlier is None:
        return newest.at(as_of)
    if not newest.follows(*earlier):
        raise ConfigurationError(
            f"{folder} holds a part of an export of another lake's state {earlier.number}. Nothing was written. Remove "
            "the folder, or choose another one."
        )
    return newest.at(earlier.number)


def _export_raw_data(order: _Order, form: Form) -> int:
    asked = order.request
    selection = Selection(
        form=form, participants=asked.participants, streams=asked.streams, start=asked.start, end=asked.end
    )
    _check_held(order.lake, asked.streams)
    contents = Contents.of(order.lake, selection)
    if not contents.files:
        return order.nothing("file", **_facts(Result(), form))

    def write(target: ExportFolder) -> tuple[dict[str, Any], list[str]]:
        with progress("files") as shown:
            shown.expect(contents.files, contents.size_bytes)
            result = export(order.lake, selection, contents, target, shown, processes=True)
        return _facts(result, form), [_summary(result, order), *_notes(result)]

    access = order.access(contents.participants, files=contents.files, size_bytes=contents.size_bytes)
    return order.carry_out(access, write)


def _facts(result: Result, form: Form) -> dict[str, Any]:
    named = {name: sorted(getattr(result, name)) for name in ("not_tables", "recordings")}
    return {"format": form, **asdict(result), **named}


def _summary(result: Result, order: _Order) -> str:
    kept = f"; {result.kept_files:,} were there already" if result.kept_files else ""
    return f"{counted(result.files, 'file')}, {human_size(result.size_bytes)}, in {order.where}{kept}"


def _notes(result: Result) -> Iterator[str]:
    """What became of rows and files that did not fit."""
    if result.repaired_rows or result.set_aside_rows:
        yield (
            f"Of {result.rows + result.set_aside_rows:,} rows, {result.repaired_rows:,} did not fit their header and "
            f"were repaired, and {result.set_aside_rows:,} fit no header and were left out. See docs/reading.md."
        )
    if result.not_tables:
        yield f"Written as files, because no table can be made of them: {', '.join(sorted(result.not_tables))}."
    if result.recordings:
        yield f"Left out, because they hold recordings: {', '.join(sorted(result.recordings))}."
    if result.rewritten:
        yield f"Written with quotes, for Forest to read them: {listed(result.rewritten, most=_LISTED)}."
    if result.left_out:
        yield f"Left out, because Forest could read no row of them: {listed(result.left_out, most=_LISTED)}."


def _export_table(order: _Order, form: Form) -> int:
    asked = order.request
    found = TablePartitions.of(
        order.lake, asked.table, participants=asked.participants or None, start=asked.start, end=asked.end
    )
    source = TableExport(found, form)
    facts = {"table": source.table, "missing": source.missing}

    def write(target: ExportFolder) -> tuple[dict[str, Any], list[str]]:
        with progress("partitions") as shown:
            written = source.write(target, shown)
        line = f"{counted(written.notes.rows, 'row')}, {human_size(written.size_bytes)}, in {order.where}"
        return {**facts, "rows": written.notes.rows, "size_bytes": written.size_bytes}, [line]

    if not order.as_json:
        for key in source.missing:
            say("warning", f"Not in the lake: partition {key}.")
    if not len(found):
        return order.nothing("row", **facts, rows=0, size_bytes=0)
    people = asked.participants or order.lake.participants()
    return order.carry_out(order.access(people, files=len(found), size_bytes=found.size_bytes), write)


def _form(named: Form | None, table: str, streams: tuple[str, ...]) -> Form:
    if table and (streams or named not in (None, *TABLE_FORMS)):
        raise click.UsageError("--table excludes --stream, --format tree and --format forest.")
    return named or ("csv" if table else "tree")


def _streams(named: tuple[str, ...], form: Form) -> tuple[str, ...]:
    streams = check_streams(named)
    if form not in TABLE_FORMS or not streams:
        return streams
    tables = tuple(name for name in streams if not stream_named(name).audio)
    if not tables:
        raise click.UsageError(
            f"No table can be made of {', '.join(streams)}. Leave out --format to export the files themselves."
        )
    return tables


def _check_held(lake: StudyLake, streams: tuple[str, ...]) -> None:
    """Raises ``UnknownStreamError`` for a name that is misspelled: neither Beiwe nor the lake has it."""
    if misspelled_streams(streams):
        files = (file for each in lake.participants() for manifest in lake.manifests(each) for file in manifest.files)
        check_streams(streams, available={*STREAM_NAMES, *(file.stream for file in files)})
