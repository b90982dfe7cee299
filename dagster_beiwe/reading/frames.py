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
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from dagster_beiwe.errors import ConfigurationError, NotATableError
from dagster_beiwe.reading.parsing import Parsed, arrow_type, milliseconds, parse
from dagster_beiwe.reading.rows import TIMESTAMP, is_table
from dagster_beiwe.streams import Stream, stream_named

PARTICIPANT: Final = "participant"
FILE_TIME: Final = "file time"
SURVEY_ID: Final = "survey id"

TEXT_DTYPE: Final = (
    pd.StringDtype(na_value=np.nan) if int(pd.__version__.split(".")[0]) >= 3 else pd.StringDtype("pyarrow")
)


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
    if not known.known and not is_table(data):
        raise _no_table(stream, "files that are no CSV")
    first, last = milliseconds("start", start), milliseconds("end", end)
    found = parse(data, known, columns=columns, hour=milliseconds("hour", hour))
    selected = None if columns is None else tuple(columns)
    return ParsedFile(stream=stream, columns=selected, **(vars(found) | {"table": _between(found.table, first, last)}))


def combine(files: Iterable[ParsedFile], stream: str, *, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """The rows of all files in the given order; without files, an empty frame of the same columns and types.

    Columns are those asked for, in that order, or else all: the stream's known ones, then others as they appear.
    """
    tables = [file.table for file in files]
    names = list(dict.fromkeys(columns if columns is not None else _all_columns(stream, tables)))
    schema = pa.schema([(name, arrow_type(stream, name)) for name in names])
    # The empty table has every column, and promotion fills what a file lacks with missing values.
    table = pa.concat_tables([schema.empty_table(), *tables], promote_options="default").select(names)
    frame: pd.DataFrame = table.to_pandas(types_mapper=_pandas_dtype, split_blocks=True, self_destruct=True)
    return frame


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
        self._start, self._end = start, end
        self._range = milliseconds("start", start), milliseconds("end", end)
        self._names: dict[str, None] = {}
        self._files: list[ParsedFile] = []
        self._origins: list[tuple[str, int | None, str | None]] = []

    def add(self, data: bytes, *, participant: str, time: datetime | None = None, survey_id: str | None = None) -> None:
        """Parse one file and keep its rows. ``time`` is the one in the file's name, aware."""
        moment = milliseconds("time", time)
        outside = moment is not None and not self._holds(moment)
        if outside and self._stream.known and not self._stream.chunked:
            return
        parsed = read_csv(
            data,
            self._stream.name,
            columns=self._columns,
            start=self._start,
            end=self._end,
            hour=time if self._stream.chunked else None,
        )
        self._names |= dict.fromkeys(parsed.names)
        if outside and not self._stream.chunked and TIMESTAMP not in parsed.names:
            return
        self._files.append(parsed)
        self._origins.append((participant, moment, survey_id))

    def _holds(self, moment: int) -> bool:
        first, last = self._range
        return (first is None or first <= moment) and (last is None or moment < last)

    @property
    def names(self) -> tuple[str, ...]:
        """Every column of the files so far, also those that were not selected."""
        return tuple(self._names)

    @property
    def report(self) -> ParseReport:
        """The counts so far; also in ``frame.attrs["beiwe"]`` as a plain dict."""
        counts = [name for name in ParseReport.__dataclass_fields__ if name not in ("files", "rows")]
        return ParseReport(
            files=len(self._files),
            rows=sum(file.table.num_rows for file in self._files),
            **{name: sum(getattr(file, name) for file in self._files) for name in counts},
        )

    def build(self) -> pd.DataFrame:
        """All rows in the order in which their files were added. You can add more files after that."""
        frame: pd.DataFrame = combine(self._files, self._stream.name, columns=self._columns)
        rows = np.array([file.table.num_rows for file in self._files], dtype=np.int64)
        origin: dict[str, Any] = {PARTICIPANT: _repeated([participant for participant, _, _ in self._origins], rows)}
        if not self._stream.chunked:
            moments = np.array([_as_datetime64(moment) for _, moment, _ in self._origins], dtype="datetime64[ms]")
            origin[FILE_TIME] = pd.Series(np.repeat(moments, rows)).dt.tz_localize("UTC")
            origin[SURVEY_ID] = _repeated([survey for _, _, survey in self._origins], rows)
        frame = frame[[name for name in frame.columns if name not in origin]]
        for position, (name, values) in enumerate(origin.items()):
            frame.insert(position, name, values)
        frame.attrs["beiwe"] = asdict(self.report)
        return frame


def check_list(what: str, values: Iterable[str]) -> tuple[str, ...]:
    """The values as a tuple; a text, which would be taken as a list of letters, raises ``ConfigurationError``."""
    if isinstance(values, str):
        raise ConfigurationError(
            f"The {what} are the text {values[:60]!r}. Nothing was read. Give a list: [{values!r}]."
        )
    return tuple(values)


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


def _no_table(stream: str, what: str) -> NotATableError:
    return NotATableError(
        f"{stream} holds {what}. Nothing was read as a table. List them with `files({stream!r})` and read each with "
        "`open`, or choose another stream."
    )


def _as_datetime64(milliseconds: int | None) -> np.datetime64:
    return np.datetime64("NaT" if milliseconds is None else milliseconds, "ms")


def _pandas_dtype(arrow_type: Any) -> Any:
    if pa.types.is_int64(arrow_type):
        return pd.Int64Dtype()
    return TEXT_DTYPE if pa.types.is_string(arrow_type) else None


def _all_columns(stream: str, tables: Iterable[pa.Table]) -> list[str]:
    known = (name for header in stream_named(stream).known_headers for name in header)
    found = (name for table in tables for name in table.column_names)
    return list(dict.fromkeys([*known, *found]))


def _repeated(values: Sequence[str | None], counts: np.ndarray[Any, np.dtype[np.int64]]) -> Any:
    """A categorical of one value per file, repeated for the file's rows; categories in order of appearance."""
    categories = list(dict.fromkeys(value for value in values if value is not None))
    codes = {value: code for code, value in enumerate(categories)}
    per_file = np.array([codes.get(value, -1) if value is not None else -1 for value in values], dtype=np.int64)
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
