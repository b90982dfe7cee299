"""The plain files that an analysis of Forest reads: one participant, the days of one window.

Forest stops at files that it cannot read, or skips them silently: rows with unquoted commas, bytes that are no UTF-8.
Such files are written again with quotes, without the rows that fit no column, or left out if nothing fits.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

from dagster_beiwe.file_tree import FileTree
from dagster_beiwe.reading.frames import read_csv
from dagster_beiwe.reading.raw_files import RawFile, RawFiles
from dagster_beiwe.reading.rows import UTC_TIME
from dagster_beiwe.streams import stream_named
from dagster_beiwe.windows import Window, local_day

_DAY: Final = timedelta(days=1)
_HOUR: Final = timedelta(hours=1)
_NAME: Final = "%Y-%m-%d %H_%M_%S+00_00"
_END: Final = "end"
"""A folder beside those of the streams. Forest takes the last hour of any folder for the end of the data, and leaves
that hour out."""
_OUTSIDE: Final = {"calls": "marker,Missed Call,0", "texts": "marker,received SMS,0,0"}
"""A row on the day after the last one. Willow fails if one of the two logs has no row at all."""


@dataclass(frozen=True, kw_only=True)
class Days:
    """The calendar days of a window in a study's zone: those of its dates, so that each day is in one window.

    [``start``, ``end``) is from the first midnight to the last, in UTC. It can begin or end some hours outside of the
    window.
    """

    days: Sequence[date]
    start: datetime
    end: datetime

    @classmethod
    def of(cls, window: Window, zone: str) -> Days:
        days = [window.start.date() + number * _DAY for number in range(window.hours // 24)]
        place = ZoneInfo(zone)
        return cls(days=days, start=local_day(days[0], place)[0], end=local_day(days[-1], place)[1])


@dataclass(kw_only=True)
class WrittenFiles:
    """What became of the files: how many were written, and the names of those that were changed or left out."""

    files: int = 0
    rewritten: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


def write_plain_files(
    view: RawFiles, files: Sequence[RawFile], participant: str, folder: Path, *, end: datetime
) -> WrittenFiles:
    """Write files of a participant as Forest expects them; ``end`` is the midnight after the last day."""
    tree, report, names = FileTree(folder), WrittenFiles(), set[str]()
    for file in files:
        path = free_path(names, file)
        if stream_named(file.stream).audio:
            with tree.create(path, durable=False) as sink, view.open(file) as source:
                shutil.copyfileobj(source, sink)
            report.files += 1
            continue
        data, changed = readable_content(view.content(file), file)
        if changed:
            (report.rewritten if data else report.left_out).append(file.name)
        if data:
            _write(tree, path, data)
            report.files += 1
    _write(tree, f"{participant}/{_END}/{end + _HOUR:{_NAME}}.csv", b"\n")
    if {file.stream for file in files} & _OUTSIDE.keys():
        for stream, cells in _OUTSIDE.items():
            row = f"{int(end.timestamp()) * 1000},{end:%Y-%m-%dT%H:%M:%S}.000,{cells}"
            content = "\n".join([",".join(stream_named(stream).columns), row])
            _write(tree, f"{participant}/{stream}/{end:{_NAME}}.csv", content.encode())
    return report


def readable_content(data: bytes, file: RawFile) -> tuple[bytes, bool]:
    """What Forest can read of a CSV file, empty if that is no row, and whether the content had to be changed."""
    if not _is_readable(data, file.stream):
        return _rewritten(data, file), True
    return data if b"\n" in data.rstrip() else b"", False


def free_path(names: set[str], file: RawFile) -> str:
    """Where Forest expects a file, by a name that none of ``names`` is: two surveys can be submitted within a second.

    The name is added to them.
    """
    folder = "/".join(filter(None, (file.participant, file.stream, file.survey_id)))
    stem, suffix = f"{folder}/{file.time:{_NAME}}", _extension(file)
    number = 1
    path = f"{stem}{suffix}"
    while path in names:
        number += 1
        path = f"{stem}_{number}{suffix}"
    names.add(path)
    return path


def _write(tree: FileTree, path: str, data: bytes) -> None:
    with tree.create(path, durable=False) as sink:
        sink.write(data)


def _extension(file: RawFile) -> str:
    return (".wav" if ".wav" in file.name else ".mp4") if stream_named(file.stream).audio else ".csv"


def _is_readable(data: bytes, stream: str) -> bool:
    """Whether pandas reads a file as it is meant: it has a known header, as many cells in each row, and no quotes."""
    header, _, rows = data.rstrip(b"\n").partition(b"\n")
    columns = tuple(header.decode(errors="replace").split(","))
    if columns not in stream_named(stream).known_headers or b'"' in data or not _is_utf8(data):
        return False
    commas = len(columns) - 1
    return all(row.count(b",") == commas for row in rows.split(b"\n")) if rows else True


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _rewritten(data: bytes, file: RawFile) -> bytes:
    """The rows that can be assigned to columns, quoted where needed; empty if there are none."""
    parsed = read_csv(data, file.stream, hour=file.time if stream_named(file.stream).chunked else None)
    frame = parsed.frame[list(parsed.names)]
    if frame.empty:
        return b""
    if UTC_TIME in frame:
        frame[UTC_TIME] = frame[UTC_TIME].dt.strftime("%Y-%m-%dT%H:%M:%S.%f").str[:-3]
    text: str = frame.to_csv(index=False)
    return text.encode()
