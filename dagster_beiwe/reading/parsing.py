"""The content of one CSV file as an Arrow table: pure functions on bytes.

Files that fit their header, which are nearly all, are parsed by Arrow. Any doubt about a single row sends the whole
file to ``rows.fit_row``, row by row. Both ways give the same values, whichever columns are selected.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from functools import lru_cache, reduce
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from dagster_beiwe.errors import TimeRangeError
from dagster_beiwe.reading.rows import (
    TIMESTAMP,
    UTC_TIME,
    Fitted,
    Reason,
    SetAside,
    column_names,
    fit_row,
    is_data,
    is_header,
    may_stand_in,
    read_integer,
    read_number,
    read_time,
)
from dagster_beiwe.streams import ColumnType, Stream, column_type, known_values

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MILLISECOND: Final = timedelta(milliseconds=1)
_HOUR_MS: Final = 3_600_000
_LARGEST_SECONDS: Final = 10_000_000_000  # in milliseconds, that is April 1970
_UTC_MILLISECONDS: Final = pa.timestamp("ms", tz="UTC")
_ARROW_TYPES: Final[dict[ColumnType, Any]] = {
    "integer": pa.int64(),
    "number": pa.float64(),
    "text": pa.string(),
    "time": _UTC_MILLISECONDS,
}
_LONGEST_HEADER_BYTES: Final = 4096
_BLOCK_BYTES: Final = 64 * 1024
_LARGEST_BLOCK_BYTES: Final = 2**31 - 2
_STAMP: Final = re.compile("[0-9]{1,18}")
_UNDECODABLE: Final = re.compile("[\udc80-\udcff]")


@dataclass(frozen=True, kw_only=True)
class SetAsideRow:
    """A row that could not be assigned to columns: where it stands, why, and its text, which no ``repr`` shows."""

    line: int
    reason: Reason
    text: str = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Parsed:
    """The selected columns of one file, and what had to be done to get them."""

    table: pa.Table
    names: tuple[str, ...]
    """Every column of the file, also those that were not selected."""
    repaired_rows: int = 0
    set_aside: tuple[SetAsideRow, ...] = ()
    unreadable_values: int = 0
    undecodable_bytes: int = 0
    corrected_times: int = 0
    missing_headers: int = 0


def check_time(name: str, moment: object) -> None:
    """Raise ``TimeRangeError`` for anything but an aware datetime."""
    if not isinstance(moment, datetime):
        raise TimeRangeError(
            f"The {name} is {str(moment)[:40]!r}, of type {type(moment).__name__}. Nothing was read. Give an aware "
            "datetime, which says the zone: datetime(2024, 3, 1, tzinfo=timezone.utc)."
        )
    if moment.tzinfo is None:
        raise TimeRangeError(
            f"The {name} {moment.isoformat()} has no time zone. Nothing was read. Add it, for instance "
            "datetime(..., tzinfo=timezone.utc)."
        )


def milliseconds(name: str, moment: datetime | None) -> int | None:
    """Unix milliseconds, rounded up, which keeps half-open ranges exact. Raises ``TimeRangeError`` unless aware."""
    if moment is None:
        return None
    check_time(name, moment)
    return -((_EPOCH - moment) // _MILLISECOND)


def arrow_type(stream: str, column: str) -> Any:
    """The Arrow type of a column of a stream."""
    return _ARROW_TYPES[column_type(stream, column)]


def parse(data: bytes, stream: Stream, *, columns: Sequence[str] | None, hour: int | None = None) -> Parsed:
    """The columns of a file that are selected (None: all), with ``timestamp`` where it has one.

    ``hour`` is the start of the hour, in Unix milliseconds, that the file's name says its rows are of.
    """
    line, _, body = data.lstrip(b"\n").partition(b"\n")
    # What is as long is no header, and would lie in the cache for nothing.
    head = (_read_head if len(line) <= _LONGEST_HEADER_BYTES else _read_head.__wrapped__)(line, stream)
    found = _by_arrow(body, head, columns, stream) if head.tells_rows_apart and b"\r" not in data else None
    return _with_right_times(found or _by_rows(data, stream, columns), hour)


@dataclass(frozen=True, kw_only=True)
class _Head:
    """What the first line of a file says about how to read the others.

    ``witnesses`` are columns whose values tell whether a row of the right length is one of another shape that is cut
    or ends in a comma, with the words known of them. ``tells_rows_apart``: no text could hide such a row from them.
    """

    names: tuple[str, ...]
    witnesses: dict[str, frozenset[str]]
    tells_rows_apart: bool


@lru_cache(maxsize=1024)
def _read_head(line: bytes, stream: Stream) -> _Head:
    names = column_names(line.decode("utf-8", errors="replace"))
    return _Head(
        names=names,
        witnesses=_witnesses(names, stream),
        tells_rows_apart=names[:1] == (TIMESTAMP,)
        and not is_data(names, stream)
        and not (len(stream.known_headers) > 1 and stream.text_column),
    )


def _selected(names: Sequence[str], columns: Sequence[str] | None) -> list[str]:
    """The columns to keep: those asked for, and ``timestamp``; at least one, which counts the rows."""
    return [name for name in names if columns is None or name in columns or name == TIMESTAMP] or list(names[:1])


def _by_arrow(body: bytes, head: _Head, columns: Sequence[str] | None, stream: Stream) -> Parsed | None:
    """Arrow's parser; None unless every row surely fits its header."""
    wanted = _selected(head.names, columns)
    parsed = {*wanted, *head.witnesses, *(head.names[2:] if len(head.names) == 3 else ())}
    table = _parsed(body, head.names, {name: arrow_type(stream.name, name) for name in head.names if name in parsed})
    if table is None or _has_repeated_times(body, table.num_rows):
        return None
    if len(head.names) == 3 and _may_end_in_a_time(table, head.names[2]):
        return None
    if any(_speaks_for_another_shape(table[name], stream, name, words) for name, words in head.witnesses.items()):
        return None
    return Parsed(table=table.select(wanted) if len(parsed) > len(wanted) else table, names=head.names)


def _has_repeated_times(body: bytes, rows: int) -> bool:
    """Whether there are more or fewer times than rows. In most files a T stands nowhere else, and is fast to count."""
    characters = np.frombuffer(body, np.uint8)
    blocks = range(0, len(body), _BLOCK_BYTES)  # small ones, as fresh memory for large ones takes longer than counting
    if sum(int(np.count_nonzero(characters[at : at + _BLOCK_BYTES] == ord("T"))) for at in blocks) == rows:
        return False
    places = np.flatnonzero(characters[:-3] == ord("T"))
    return int(np.count_nonzero(characters[places + 3] == ord(":"))) != rows


def _may_end_in_a_time(table: pa.Table, name: str) -> bool:
    """Whether a text that ends its row may be the beginning of a repeated time in a row that was cut."""
    if not pa.types.is_string(table[name].type):
        return False
    return any(bool(pc.any(pc.starts_with(table[name], digit)).as_py()) for digit in ("1", "2"))


def _witnesses(names: tuple[str, ...], stream: Stream) -> dict[str, frozenset[str]]:
    """Where another shape of the stream parts from these names, and the words known of either column there."""
    found = {}
    for shape in stream.known_headers:
        parting = next(((ours, theirs) for ours, theirs in zip(names, shape, strict=False) if ours != theirs), None)
        if parting:
            found[parting[0]] = next(filter(None, (known_values(stream.name, name) for name in parting[::-1])), None)
    return {name: words for name, words in found.items() if words}


def _speaks_for_another_shape(column: pa.ChunkedArray, stream: Stream, name: str, words: frozenset[str]) -> bool:
    """Whether a number is one of the other shape's codes, or a word is none that this column can have."""
    if pa.types.is_string(column.type):
        return any(not may_stand_in(stream, name, word or "") for word in pc.unique(column).to_pylist())
    codes = [code for word in words if (code := read_number(word)) is not None]
    numbers = column.to_numpy()
    return bool(np.isin(numbers[numbers == np.rint(numbers)], codes).any())


def _parsed(body: bytes, header: Sequence[str], types: dict[str, Any]) -> pa.Table | None:
    """None if a row has another length than the header, a value is not of its type, or a byte is not UTF-8."""
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


def _by_rows(data: bytes, stream: Stream, columns: Sequence[str] | None) -> Parsed:
    """Fit row by row."""
    text, undecodable = _UNDECODABLE.subn("\ufffd", data.decode("utf-8", errors="surrogateescape"))
    rows = _Rows(stream)
    for number, line in enumerate(text.split("\n"), start=1):
        rows.add(number, line)
    names = rows.names
    wanted = _selected(names, columns)
    texts = rows.table(wanted)
    types = {name: arrow_type(stream.name, name) for name in wanted}
    table = pa.table([_converted(texts[name], kind) for name, kind in types.items()], names=wanted)
    return Parsed(
        table=table,
        names=names,
        repaired_rows=sum(row.repaired for row in rows.fitted),
        set_aside=tuple(rows.set_aside),
        unreadable_values=sum(table[name].null_count - texts[name].null_count for name in wanted)
        + sum(row.untrusted for row in rows.fitted),
        undecodable_bytes=undecodable,
        missing_headers=int(rows.headerless),
    )


class _Rows:
    """The rows of a file, each with the columns that its cells belong to. A header in the middle of it counts, too."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._header: tuple[str, ...] | None = None
        self._began = self._crlf = False
        self._plain_length = 0
        self.headerless = False
        self.fitted: list[Fitted] = []
        self.set_aside: list[SetAsideRow] = []
        self._names: dict[str, None] = {}

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._names or dict.fromkeys(self._stream.columns))

    def add(self, number: int, line: str) -> None:
        if not line.strip("\r"):
            return
        if not self._began:
            self._began, self._crlf = True, line.endswith("\r")
            names = column_names(line)
            self.headerless = is_data(names, self._stream)
            if not self.headerless:
                self._take_header(names)
                return
        if self._crlf:
            line = line.removesuffix("\r")
        if not line[:1].isdigit() and is_header(names := column_names(line), self._stream):
            self._take_header(names)
            return
        row = self._plain(cells := line.split(",")) or fit_row(cells, self._header, self._stream)
        if isinstance(row, SetAside):
            self.set_aside.append(SetAsideRow(line=number, reason=row.reason, text=line))
            return
        self.fitted.append(row)
        if row.columns is not self._header:
            self._names |= dict.fromkeys(row.columns)

    def _plain(self, cells: list[str]) -> Fitted | None:
        """A row that ``fit_row`` takes as it stands, seen at a glance."""
        if len(cells) != self._plain_length or not _STAMP.fullmatch(cells[0]):
            return None
        may_be_repeated = len(cells) > 2 and cells[2][:1] == cells[1][:1]
        return None if may_be_repeated else Fitted(self._header or (), cells, repaired=False)

    def _take_header(self, names: tuple[str, ...]) -> None:
        self._header = names
        self._plain_length = len(names) if len(self._stream.known_headers) < 2 and names[:1] == (TIMESTAMP,) else 0
        self._names |= dict.fromkeys(names)

    def table(self, wanted: list[str]) -> pa.Table:
        """The wanted columns as text."""
        shapes = {row.columns for row in self.fitted}
        places = {shape: [_place(shape, name) for name in wanted] for shape in shapes}
        columns: list[list[str | None]] = [[] for _ in wanted]
        for row in self.fitted:
            for column, place in zip(columns, places[row.columns], strict=True):
                column.append(row.cells[place] or None if 0 <= place < len(row.cells) else None)
        return pa.table([pa.array(column, pa.string()) for column in columns], names=wanted)


def _place(names: tuple[str, ...], name: str) -> int:
    return names.index(name) if name in names else -1


def _converted(texts: pa.ChunkedArray, kind: Any) -> pa.ChunkedArray:
    """A column of text in its own type; what can't be read is missing."""
    with suppress(pa.ArrowInvalid):
        return texts.cast(_naive(kind)).cast(kind)
    read = _READERS[kind]
    return pa.chunked_array([[None if text is None else read(text) for text in texts.to_pylist()]], kind)


_READERS: Final[dict[Any, Callable[[str], int | float | None]]] = {
    pa.int64(): read_integer,
    pa.float64(): read_number,
    _UTC_MILLISECONDS: read_time,
}


def _with_right_times(parsed: Parsed, hour: int | None) -> Parsed:
    """``timestamp`` in milliseconds, and ``UTC time`` the same moment; rows in which they were not are counted."""
    table = parsed.table
    at, utc_at = (table.schema.get_field_index(name) for name in (TIMESTAMP, UTC_TIME))
    if at < 0 or not table.num_rows or _are_right([table.column(place) for place in (at, utc_at) if place >= 0]):
        return parsed
    stamps = table.column(at)
    written = table.column(utc_at).cast(pa.int64()) if utc_at >= 0 else None
    wrong = _in_seconds(stamps, written, hour)
    if wrong is not None:
        stamps = pc.if_else(wrong, pc.multiply(stamps, 1000), stamps)
        table = table.set_column(at, TIMESTAMP, stamps)
    if written is not None and not written.equals(stamps):
        differs = pc.and_(pc.is_valid(stamps), pc.fill_null(pc.not_equal(written, stamps), fill_value=True))
        right = pc.if_else(differs, stamps, written).cast(_UTC_MILLISECONDS)
        table = table.set_column(utc_at, UTC_TIME, right)
        wrong = differs if wrong is None else pc.or_(wrong, differs)
    corrected = 0 if wrong is None else pc.sum(wrong).as_py() or 0
    return replace(parsed, table=table, corrected_times=corrected)


def _are_right(times: Sequence[pa.ChunkedArray]) -> bool:
    """Whether a glance shows that all times are present, agree and are no seconds, as in nearly every file."""
    if any(column.null_count or column.num_chunks != 1 for column in times):
        return False
    stamps, *written = (column.chunk(0).to_numpy().view(np.int64) for column in times)
    return bool(stamps.min() >= _LARGEST_SECONDS) and all(np.array_equal(stamps, each) for each in written)


def _in_seconds(stamps: pa.ChunkedArray, written: pa.ChunkedArray | None, hour: int | None) -> pa.ChunkedArray | None:
    """Which stamps are seconds, as the file's hour or ``UTC time`` proves; None if none is."""
    smallest = pc.min(stamps).as_py()
    if smallest is None or smallest >= _LARGEST_SECONDS:
        return None
    scaled = pc.multiply(stamps, 1000)
    proofs = []
    if hour is not None:
        proofs.append(pc.and_(pc.greater_equal(scaled, hour), pc.less(scaled, hour + _HOUR_MS)))
    if written is not None:
        proofs.append(pc.and_(pc.equal(scaled, written), pc.not_equal(stamps, 0)))
    found = [pc.fill_null(proof, fill_value=False) for proof in proofs]
    proven = reduce(pc.or_, found) if found else None
    return proven if proven is not None and pc.any(proven).as_py() else None
