"""Beiwe's CSV files as pandas DataFrames: pure functions on bytes.

Beiwe never quotes: a comma inside a text makes its row longer than the header, and an app or a cut upload can make one
shorter. No row and no file is dropped for that; what had to be repaired or could not be read is counted. Well-formed
files, which are nearly all, are parsed by Arrow; the others, more slowly, value by value.

Types are the same for every file, with or without rows, so that frames concatenate:

=========  ===========================================================================
integer    ``Int64`` (nullable), also ``timestamp``, which is Unix milliseconds
number     ``float64``, missing is NaN
text       pandas' string type: ``str`` from pandas 3 on, ``string[pyarrow]`` before
time       ``datetime64[ms, UTC]``
=========  ===========================================================================

An empty value is missing; everything else is taken literally (the answer "NA" is an answer). Every column that a stream
is known to have on either platform is there, then those that only the files know, as text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta, timezone
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from dagster_beiwe.errors import ConfigurationError, TimeRangeError
from dagster_beiwe.streams import ColumnType, Stream, column_type, stream_named

PARTICIPANT: Final = "participant"
FILE_TIME: Final = "file time"
SURVEY_ID: Final = "survey id"

_TIMESTAMP: Final = "timestamp"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)
_UTC_MILLISECONDS: Final = pa.timestamp("ms", tz="UTC")
_ARROW_TYPES: Final[dict[ColumnType, Any]] = {
    "integer": pa.int64(),
    "number": pa.float64(),
    "text": pa.string(),
    "time": _UTC_MILLISECONDS,
}
_LARGEST_BLOCK_BYTES: Final = 2**31 - 2
_TEXT_DTYPE: Final = (
    pd.StringDtype(na_value=np.nan) if int(pd.__version__.split(".")[0]) >= 3 else pd.StringDtype("pyarrow")
)
_INTEGER: Final = re.compile(r"\s*([+-]?[0-9]{1,19})(?:\.0*)?\s*")
_UNDECODABLE: Final = re.compile("[\udc80-\udcff]")


@dataclass(frozen=True, kw_only=True)
class ParseReport:
    """What became of the files of a frame.

    ``ragged_rows`` were longer or shorter than their header and repaired, ``unreadable_values`` became missing because
    they are not of their column's type, ``undecodable_bytes`` are not UTF-8 and became U+FFFD. All three count what was
    parsed, before rows were selected by time.
    """

    files: int = 0
    rows: int = 0
    ragged_rows: int = 0
    unreadable_values: int = 0
    undecodable_bytes: int = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class ParsedFile:
    """One parsed file as an Arrow table of the columns it has, with the counts of ``ParseReport``."""

    stream: str
    table: pa.Table
    columns: tuple[str, ...] | None = None
    ragged_rows: int = 0
    unreadable_values: int = 0
    undecodable_bytes: int = 0

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
) -> ParsedFile:
    """Parse the content of one CSV file of a stream.

    ``columns`` selects by the names in the header (None: all of them); the others are not converted. ``start`` and
    ``end`` keep the rows with start <= ``timestamp`` < end, both aware; a stream without ``timestamp`` is not filtered.
    A file of any content gives a result. Raises ``UnknownStreamError``, ``ConfigurationError`` for an audio stream and
    ``TimeRangeError`` for naive times.
    """
    known = _table_stream(stream)
    first, last = _milliseconds("start", start), _milliseconds("end", end)
    head, _, body = data.partition(b"\n")
    header = _header(head) or list(known.columns)
    wanted = _to_parse(header, columns, filtered=first is not None or last is not None)
    types = {name: _arrow_type(stream, name) for name in wanted}
    plain = b"\r" not in data  # Arrow would end a line there
    table = _parsed(body, header, types) if plain else None
    unreadable = ragged = undecodable = 0
    if table is None:
        texts = _parsed(body, header, dict.fromkeys(wanted, pa.string())) if plain else None
        if texts is None:
            rows = _Rows(data, header, known)
            texts, ragged, undecodable = rows.table(wanted), rows.ragged, rows.undecodable
        table = pa.table([_converted(texts[name], kind) for name, kind in types.items()], names=wanted)
        unreadable = sum(table[name].null_count - texts[name].null_count for name in wanted)
    return ParsedFile(
        stream=stream,
        table=_between(table, first, last),
        columns=None if columns is None else tuple(columns),
        ragged_rows=ragged,
        unreadable_values=unreadable,
        undecodable_bytes=undecodable,
    )


def combine(files: Iterable[ParsedFile], stream: str, *, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """The rows of all files in the given order; without files, an empty frame of the same columns and types.

    Columns are those asked for, in that order, or else all: the stream's known ones, then others as they appear.
    """
    tables = [file.table for file in files]
    names = list(dict.fromkeys(columns if columns is not None else _all_columns(stream, tables)))
    schema = pa.schema([(name, _arrow_type(stream, name)) for name in names])
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
        self._columns = None if columns is None else tuple(columns)
        self._start, self._end = start, end
        self._range = _milliseconds("start", start), _milliseconds("end", end)
        self._files: list[ParsedFile] = []
        self._origins: list[tuple[str, int | None, str | None]] = []

    def add(self, data: bytes, *, participant: str, time: datetime | None = None, survey_id: str | None = None) -> None:
        """Parse one file and keep its rows. ``time`` is the one in the file's name, aware."""
        moment = _milliseconds("time", time)
        if not self._stream.chunked and moment is not None:
            first, last = self._range
            if (first is not None and moment < first) or (last is not None and moment >= last):
                return
        parsed = read_csv(data, self._stream.name, columns=self._columns, start=self._start, end=self._end)
        self._files.append(parsed)
        self._origins.append((participant, moment, survey_id))

    @property
    def report(self) -> ParseReport:
        """The counts so far; also in ``frame.attrs["beiwe"]`` as a plain dict."""
        return ParseReport(
            files=len(self._files),
            rows=sum(file.table.num_rows for file in self._files),
            ragged_rows=sum(file.ragged_rows for file in self._files),
            unreadable_values=sum(file.unreadable_values for file in self._files),
            undecodable_bytes=sum(file.undecodable_bytes for file in self._files),
        )

    def build(self) -> pd.DataFrame:
        """All rows in the order in which their files were added. The builder can go on after that."""
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


def _table_stream(stream: str) -> Stream:
    known = stream_named(stream)
    if known.audio:
        raise ConfigurationError(
            f"Expected a stream of tables, got {stream!r}, which holds recordings; nothing was read. "
            "Load recordings as files, or choose another stream."
        )
    return known


def _milliseconds(name: str, moment: datetime | None) -> int | None:
    """Unix milliseconds, rounded up, which keeps half-open ranges exact."""
    if moment is None:
        return None
    if moment.tzinfo is None:
        raise TimeRangeError(
            f"Expected an aware {name}, got the naive {moment.isoformat()}; nothing was read. "
            "Add the zone, for instance datetime(..., tzinfo=timezone.utc)."
        )
    return -((_EPOCH - moment) // timedelta(milliseconds=1))


def _as_datetime64(milliseconds: int | None) -> np.datetime64:
    return np.datetime64("NaT" if milliseconds is None else milliseconds, "ms")


def _header(line: bytes) -> list[str]:
    """Column names, made unique; none in an empty line."""
    text = line.decode("utf-8", errors="replace").lstrip("\ufeff").rstrip("\r")
    names: list[str] = []
    for name in text.split(",") if text else []:
        while name in names:
            name += "'"  # noqa: PLW2901  (a primed name is the next candidate)
        names.append(name)
    return names


def _to_parse(header: list[str], columns: Sequence[str] | None, *, filtered: bool) -> list[str]:
    """The columns to convert: those asked for, what the time filter needs, and at least one, which counts the rows."""
    if columns is None:
        return header
    wanted = [name for name in header if name in columns or (filtered and name == _TIMESTAMP)]
    return wanted or header[:1]


def _arrow_type(stream: str, column: str) -> Any:
    return _ARROW_TYPES[column_type(stream, column)]


def _pandas_dtype(arrow_type: Any) -> Any:
    if pa.types.is_int64(arrow_type):
        return pd.Int64Dtype()
    return _TEXT_DTYPE if pa.types.is_string(arrow_type) else None


def _all_columns(stream: str, tables: Iterable[pa.Table]) -> list[str]:
    known = (name for header in stream_named(stream).known_headers for name in header)
    found = (name for table in tables for name in table.column_names)
    return list(dict.fromkeys([*known, *found]))


def _repeated(values: Sequence[str | None], counts: np.ndarray[Any, np.dtype[np.int64]]) -> Any:
    """A categorical of one value per file, repeated for the file's rows; categories in order of appearance."""
    categories = list(dict.fromkeys(value for value in values if value is not None))
    codes = {value: code for code, value in enumerate(categories)}
    per_file = np.array([codes.get(value, -1) if value is not None else -1 for value in values], dtype=np.int64)
    return pd.Categorical.from_codes(np.repeat(per_file, counts), categories=pd.Index(categories, dtype=_TEXT_DTYPE))


def _between(table: pa.Table, first: int | None, last: int | None) -> pa.Table:
    if (first is None and last is None) or _TIMESTAMP not in table.column_names or not table.num_rows:
        return table
    times = table[_TIMESTAMP]
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


def _parsed(body: bytes, header: list[str], types: dict[str, Any]) -> pa.Table | None:
    """Arrow's parser; None if a row is ragged, a value is not of its type, or a byte is not UTF-8."""
    schema = pa.schema(types.items())
    if not body:
        return schema.empty_table()
    with suppress(pa.ArrowInvalid):
        table = csv.read_csv(
            pa.BufferReader(body),
            read_options=csv.ReadOptions(
                column_names=header, use_threads=False, block_size=min(len(body) + 1, _LARGEST_BLOCK_BYTES)
            ),
            parse_options=csv.ParseOptions(quote_char=False, double_quote=False, escape_char=False),
            convert_options=csv.ConvertOptions(
                column_types={name: _naive(kind) for name, kind in types.items()},
                include_columns=list(types),
                null_values=[""],
                strings_can_be_null=True,
            ),
        )
        return table.cast(schema)
    return None


def _naive(kind: Any) -> Any:
    """Arrow wants a zone in the text of an aware time; Beiwe's has none, so it is parsed as naive, which means UTC."""
    return pa.timestamp("ms") if kind == _UTC_MILLISECONDS else kind


class _Rows:
    """The rows of a file that Arrow does not take, each brought to the length of the header."""

    def __init__(self, data: bytes, header: list[str], stream: Stream) -> None:
        self._stream, self._header = stream, header
        text = data.decode("utf-8", errors="surrogateescape")
        text, self.undecodable = _UNDECODABLE.subn("\ufffd", text)
        head, *lines = text.split("\n")
        if head.endswith("\r"):
            lines = [line.removesuffix("\r") for line in lines]
        self.ragged = 0
        self._rows = [self._fitted(line.split(",")) for line in lines if line.strip("\r")]

    def _fitted(self, cells: list[str]) -> list[str]:
        surplus = len(cells) - len(self._header)
        if not surplus:
            return cells
        self.ragged += 1
        if surplus < 0:
            return cells + [""] * -surplus
        names = self._header
        position = names.index(self._stream.text_column) if self._stream.text_column in names else len(names) - 1
        joined = ",".join(cells[position : position + surplus + 1])
        return [*cells[:position], joined, *cells[position + surplus + 1 :]]

    def table(self, wanted: list[str]) -> pa.Table:
        """The wanted columns as text."""
        positions = [self._header.index(name) for name in wanted]
        columns = [[row[position] or None for row in self._rows] for position in positions]
        return pa.table([pa.array(column, pa.string()) for column in columns], names=wanted)


def _converted(texts: pa.ChunkedArray, kind: Any) -> pa.ChunkedArray:
    """A column of text in its own type; what can't be read is missing."""
    with suppress(pa.ArrowInvalid):
        return texts.cast(_naive(kind)).cast(kind)
    read = _READERS[kind]
    return pa.chunked_array([[None if text is None else read(text) for text in texts.to_pylist()]], kind)


def _read_integer(text: str) -> int | None:
    match = _INTEGER.fullmatch(text)
    value = int(match[1]) if match else None
    return value if value is not None and -(2**63) <= value < 2**63 else None


def _read_number(text: str) -> float | None:
    with suppress(ValueError):
        return None if "_" in text else float(text)
    return None


def _read_time(text: str) -> datetime | None:
    with suppress(ValueError):
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=timezone.utc) if moment.tzinfo is None else moment
    return None


_READERS: Final[dict[Any, Callable[[str], int | float | datetime | None]]] = {
    pa.int64(): _read_integer,
    pa.float64(): _read_number,
    _UTC_MILLISECONDS: _read_time,
}
