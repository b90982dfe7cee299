"""Beiwe's CSV files as pandas DataFrames: pure functions on bytes.

Beiwe never quotes, phones and servers have bugs, and one file can hold rows of both systems. ``rows`` decides which
cell belongs to which column. What was repaired, set aside or unreadable is counted, and every file can be read.

Types are the same for every file, with or without rows, so that frames concatenate:

=========  ===========================================================================
integer    ``Int64`` (nullable), also ``timestamp``, which is Unix milliseconds
number     ``float64``, missing is NaN
text       pandas' string type: ``str`` from pandas 3 on, ``string[pyarrow]`` before
time       ``datetime64[ms, UTC]``
=========  ===========================================================================

An empty value is missing; everything else is taken literally (the answer "NA" is an answer). A frame has every column
that the stream is known to have on either platform, then those that only the files have, as text.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from dagster_beiwe.arguments import check_list
from dagster_beiwe.errors import ConfigurationError, NotATableError
from dagster_beiwe.reading.columns import TEXT_DTYPE, Columns
from dagster_beiwe.reading.parsing import Parsed, parse, parse_all
from dagster_beiwe.reading.rows import TIMESTAMP, is_table
from dagster_beiwe.reading.times import milliseconds
from dagster_beiwe.streams import Stream, stream_named

PARTICIPANT: Final = "participant"
FILE_TIME: Final = "file time"
SURVEY_ID: Final = "survey id"

_TOGETHER_BYTES: Final = 2 * 1024 * 1024
"""Files are parsed together up to this size: one by one takes longer, and many need memory."""
_COUNTED: Final = ("repaired_rows", "unreadable_values", "corrected_times", "undecodable_bytes", "missing_headers")


@dataclass(frozen=True, kw_only=True)
class ParseReport:
    """How parsing the files of a frame went. Counts cover what was parsed, before rows were selected by time.

    ============================  =====================================================================================
    ``repaired_rows``             did not fit their header, and were fitted by what their cells are
    ``set_aside_rows``            are not in the frame: no assignment of their cells to columns fits, or several do
    ``unreadable_values``         became missing: not of their column's type, or the last number of a row that was cut
    ``corrected_times``           had a ``UTC time`` other than their ``timestamp``, or a ``timestamp`` in seconds
    ``undecodable_bytes``         are not UTF-8 and became U+FFFD
    ``missing_headers``           files that begin with a row
    ============================  =====================================================================================
    """

    files: int = 0
    rows: int = 0
    repaired_rows: int = 0
    set_aside_rows: int = 0
    unreadable_values: int = 0
    corrected_times: int = 0
    undecodable_bytes: int = 0
    missing_headers: int = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class ParsedFile(Parsed):
    """One parsed file of a stream, with the rows that were set aside and their text."""

    stream: str
    columns: tuple[str, ...] | None = None

    @property
    def set_aside_rows(self) -> int:
        """How many rows were set aside."""
        return len(self.set_aside)

    @property
    def frame(self) -> pd.DataFrame:
        """The file alone as a DataFrame; for many files use ``combine``, which converts once."""
        return combine([self], self.stream, columns=self.columns)


def read_csv(
    data: bytes,
    stream: str,
    *,
    columns: Sequence[str] | None = None,
    start: datetime | None = None,
    end: datetime | None = None,
    hour: datetime | None = None,
) -> ParsedFile:
    """Parse the content of one CSV file of a stream.

    ``columns`` selects by the names in the header (None: all of them); the others are not converted. ``start`` and
    ``end`` keep the rows with start <= ``timestamp`` < end, both aware; a stream without ``timestamp`` is not filtered.
    ``hour`` is the one in the file's name, which shows whether a ``timestamp`` is in seconds. Any content gives a
    result, unless the catalog does not know the stream. Raises ``UnknownStreamError``, ``NotATableError`` and
    ``TimeRangeError`` for naive times.
    """
    known = _table_stream(stream)
    _check_table(data, known)
    first, last = milliseconds("start", start), milliseconds("end", end)
    found = parse(data, known, columns=columns, hour=milliseconds("hour", hour))
    selected = None if columns is None else tuple(columns)
    return ParsedFile(stream=stream, columns=selected, **(vars(found) | {"table": _between(found.table, first, last)}))


def combine(files: Iterable[ParsedFile], stream: str, *, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """The rows of all files in the given order; without files, an empty frame of the same columns and types.

    Columns are those asked for, in that order, or else all: the stream's known ones, then others as they appear.
    """
    rows = Columns(stream, columns)
    for file in files:
        rows.append(file.table)
    return rows.frame()


class FrameBuilder:
    """Gathers the files of one stream, of any number of participants, into one DataFrame.

    The frame starts with ``participant`` (categorical); where a file's time is in its name only (``survey_answers``)
    follow ``file time`` (UTC) and ``survey id`` (categorical). Arguments as for ``read_csv``; files without
    ``timestamp`` are selected as a whole by the time given with them.
    """

    def __init__(
        self,
        stream: str,
        *,
        columns: Sequence[str] | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
    ) -> None:
        self._stream = _table_stream(stream)
        self._columns = None if columns is None else check_list("columns", columns)
        self._range = milliseconds("start", start), milliseconds("end", end)
        self._names: dict[str, None] = {}
        self._waiting: list[_File] = []
        self._waiting_bytes = 0
        self._rows = Columns(stream, self._columns)
        self._origins: list[_Origin] = []
        self._counts = Counter[str]()

    def add(self, data: bytes, *, participant: str, time: datetime | None = None, survey_id: str | None = None) -> None:
        """Take one file and keep its rows. ``time`` is the one in the file's name, aware."""
        moment = milliseconds("time", time)
        if self._stream.known and not self._stream.chunked and not self._holds(moment):
            return
        _check_table(data, self._stream)
        self._waiting.append(_File(data, participant, moment, survey_id))
        self._waiting_bytes += len(data)
        if self._waiting_bytes >= _TOGETHER_BYTES:
            self._parse()

    def _parse(self) -> None:
        """Parse the files that wait for it."""
        files, self._waiting, self._waiting_bytes = self._waiting, [], 0
        hours = [file.moment if self._stream.chunked else None for file in files]
        contents = [(file.data, hour) for file, hour in zip(files, hours, strict=True)]
        for file, parsed in zip(files, parse_all(contents, self._stream, columns=self._columns), strict=True):
            self._names |= dict.fromkeys(parsed.names)
            if not self._stream.chunked and TIMESTAMP not in parsed.names and not self._holds(file.moment):
                continue
            table = _between(parsed.table, *self._range)
            self._rows.append(table)
            self._origins.append(_Origin(file.participant, file.moment, file.survey_id, table.num_rows))
            self._counts.update({name: getattr(parsed, name) for name in _COUNTED})
            self._counts.update(files=1, rows=table.num_rows, set_aside_rows=len(parsed.set_aside))

    def _holds(self, moment: int | None) -> bool:
        first, last = self._range
        return moment is None or ((first is None or first <= moment) and (last is None or moment < last))

    @property
    def names(self) -> tuple[str, ...]:
        """Every column of the files so far, also those that were not selected."""
        self._parse()
        return tuple(self._names)

    @property
    def report(self) -> ParseReport:
        """The counts so far; also in ``frame.attrs["beiwe"]`` as a plain dict."""
        self._parse()
        return ParseReport(**self._counts)

    def build(self, *, more: bool = True) -> pd.DataFrame:
        """All rows in the order in which their files were added. You can add more files after that.

        If no ``more`` come, the builder gives up its rows, which saves as much memory as they take.
        """
        report = self.report
        frame: pd.DataFrame = self._rows.frame(more=more)
        origins = self._origins
        rows = np.array([origin.rows for origin in origins], dtype=np.int64)
        added: dict[str, Any] = {PARTICIPANT: _repeated([origin.participant for origin in origins], rows)}
        if not self._stream.chunked:
            moments = np.array([_as_datetime64(origin.moment) for origin in origins], dtype="datetime64[ms]")
            added[FILE_TIME] = pd.Series(np.repeat(moments, rows)).dt.tz_localize("UTC")
            added[SURVEY_ID] = _repeated([origin.survey_id for origin in origins], rows)
        if clashing := [name for name in frame.columns if name in added]:
            frame = frame.drop(columns=clashing)
        for position, (name, values) in enumerate(added.items()):
            frame.insert(position, name, values)
        frame.attrs["beiwe"] = asdict(report)
        return frame


class _File(NamedTuple):
    """A file that waits to be parsed. ``moment`` is the one in its name, in Unix milliseconds."""

    data: bytes
    participant: str
    moment: int | None
    survey_id: str | None


class _Origin(NamedTuple):
    """What the rows of a file have in common, and how many they are."""

    participant: str
    moment: int | None
    survey_id: str | None
    rows: int


def check_columns(columns: Iterable[str] | None, stream: str, found: Iterable[str]) -> None:
    """Raise ``ConfigurationError`` for a column that neither the catalog nor any file that was read has.

    Nothing is known about a stream outside the catalog until one of its files is read.
    """
    known = stream_named(stream)
    there = dict.fromkeys([*(name for header in known.known_headers for name in header), *found])
    for name in columns or () if there else ():
        if name not in {*there, PARTICIPANT, FILE_TIME, SURVEY_ID}:
            close = difflib.get_close_matches(str(name).lower(), there, n=1, cutoff=0.5)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise ConfigurationError(
                f"{stream} has no column {str(name)[:60]!r}, and neither has any file that was read, so it is empty in "
                f"all frames.{hint} Its columns are: {', '.join(there)}."
            )


def _table_stream(stream: str) -> Stream:
    known = stream_named(stream)
    if known.audio:
        raise _no_table(stream, "recordings")
    return known


def _check_table(data: bytes, stream: Stream) -> None:
    if not stream.known and not is_table(data):
        raise _no_table(stream.name, "files that are no CSV")


def _no_table(stream: str, what: str) -> NotATableError:
    return NotATableError(
        f"{stream} holds {what}. Nothing was read as a table. List them with `files({stream!r})` and read each with "
        "`open`, or choose another stream."
    )


def _as_datetime64(milliseconds: int | None) -> np.datetime64:
    return np.datetime64("NaT" if milliseconds is None else milliseconds, "ms")


def _repeated(values: Sequence[str | None], counts: np.ndarray[Any, np.dtype[np.int64]]) -> Any:
    """A categorical of one value per file, repeated for the file's rows; categories in order of appearance."""
    categories = list(dict.fromkeys(value for value in values if value is not None))
    codes = {value: code for code, value in enumerate(categories)}
    smallest = np.min_scalar_type(-max(1, len(categories)))  # what pandas takes, too
    per_file = np.array([codes.get(value, -1) if value is not None else -1 for value in values], dtype=smallest)
    return pd.Categorical.from_codes(np.repeat(per_file, counts), categories=pd.Index(categories, dtype=TEXT_DTYPE))


def _between(table: pa.Table, first: int | None, last: int | None) -> pa.Table:
    if (first is None and last is None) or TIMESTAMP not in table.column_names or not table.num_rows:
        return table
    times = table[TIMESTAMP]
    bounds = pc.min_max(times).as_py()
    whole = bounds["min"] is not None and not times.null_count
    if whole and (first is None or first <= bounds["min"]) and (last is None or bounds["max"] < last):
        return table
    keep = pc.is_valid(times)
    if first is not None:
        keep = pc.and_(keep, pc.greater_equal(times, first))
    if last is not None:
        keep = pc.and_(keep, pc.less(times, last))
    return table.filter(keep)
