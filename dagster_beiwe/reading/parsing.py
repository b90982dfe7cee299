"""The content of one CSV file as an Arrow table: pure functions on bytes.

Files that fit their header, which are nearly all, are parsed by Arrow. Any doubt about a single row sends the whole
file to ``rows.fit_row``, row by row. Both ways give the same values, whichever columns are selected.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import accumulate
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from dagster_beiwe.column_types import ColumnType, column_type, known_values
from dagster_beiwe.reading.rows import (
    TIMESTAMP,
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
from dagster_beiwe.reading.times import UTC_MILLISECONDS, with_right_times
from dagster_beiwe.streams import Stream

_ARROW_TYPES: Final[dict[ColumnType, Any]] = {
    "integer": pa.int64(),
    "number": pa.float64(),
    "text": pa.string(),
    "time": UTC_MILLISECONDS,
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


def arrow_type(stream: str, column: str) -> Any:
    """The Arrow type of a column of a stream."""
    return _ARROW_TYPES[column_type(stream, column)]


def parse(data: bytes, stream: Stream, *, columns: Sequence[str] | None, hour: int | None = None) -> Parsed:
    """The columns of a file that are selected (None: all), with ``timestamp`` where it has one.

    ``hour`` is the start of the hour, in Unix milliseconds, that the file's name says its rows are of.
    """
    line, body = _split(data)
    head = _head(line, stream)
    may_fit = head.tells_rows_apart and b"\r" not in data
    tables = _by_arrow([body], head, columns, stream) if may_fit else None
    return _right(Parsed(table=tables[0], names=head.names) if tables else _by_rows(data, stream, columns), hour)


def parse_all(
    files: Sequence[tuple[bytes, int | None]], stream: Stream, *, columns: Sequence[str] | None
) -> Iterator[Parsed]:
    """What ``parse`` gives of each file and hour, in one go if all have the same header, which is faster."""
    parts = [_split(data) for data, _ in files]
    lines = {line for line, _ in parts}
    if len(files) > 1 and len(lines) == 1:
        head = _head(lines.pop(), stream)
        if head.tells_rows_apart and not any(b"\r" in data for data, _ in files):
            found = _by_arrow([body for _, body in parts], head, columns, stream)
            if found is not None:
                yield from (
                    _right(Parsed(table=table, names=head.names), hour)
                    for table, (_, hour) in zip(found, files, strict=True)
                )
                return
    yield from (parse(data, stream, columns=columns, hour=hour) for data, hour in files)


def _right(found: Parsed, hour: int | None) -> Parsed:
    table, corrected = with_right_times(found.table, hour)
    return replace(found, table=table, corrected_times=corrected) if table is not found.table else found


def _split(data: bytes) -> tuple[bytes, bytes]:
    """The first line of a file, and the others."""
    line, _, body = data.lstrip(b"\n").partition(b"\n")
    return line, body


def _head(line: bytes, stream: Stream) -> _Head:
    # What is as long is no header, and would lie in the cache for nothing.
    return (_read_head if len(line) <= _LONGEST_HEADER_BYTES else _read_head.__wrapped__)(line, stream)


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


def _by_arrow(
    bodies: Sequence[bytes], head: _Head, columns: Sequence[str] | None, stream: Stream
) -> list[pa.Table] | None:
    """The rows of files with the same header by Arrow's parser; None unless every row surely fits it."""
    wanted = _selected(head.names, columns)
    parsed = {*wanted, *head.witnesses, *(head.names[2:] if len(head.names) == 3 else ())}
    types = {name: arrow_type(stream.name, name) for name in head.names if name in parsed}
    table = _parsed(_joined(bodies), head.names, types)
    if table is None:
        return None
    rows = [_lines(body) for body in bodies] if len(bodies) > 1 else [table.num_rows]
    if table.num_rows != sum(rows):  # an empty line is no row: then nobody knows whose rows are whose
        return None
    if any(_has_repeated_times(body, number) for body, number in zip(bodies, rows, strict=True)):
        return None
    if len(head.names) == 3 and _may_end_in_a_time(table, head.names[2]):
        return None
    if any(_speaks_for_another_shape(table[name], stream, name, words) for name, words in head.witnesses.items()):
        return None
    table = table.select(wanted) if len(parsed) > len(wanted) else table
    ends = list(accumulate(rows))
    return [table.slice(end - number, number) for end, number in zip(ends, rows, strict=True)]


def _joined(bodies: Sequence[bytes]) -> bytes:
    if len(bodies) == 1:
        return bodies[0]
    return b"".join(body if body.endswith(b"\n") or not body else body + b"\n" for body in bodies)


def _lines(body: bytes) -> int:
    return _count(body, b"\n") + (not body.endswith(b"\n") and body != b"")


def _has_repeated_times(body: bytes, rows: int) -> bool:
    """Whether there are more or fewer times than rows. In most files a T stands nowhere else, and is fast to count."""
    if _count(body, b"T") == rows:
        return False
    characters = np.frombuffer(body, np.uint8)
    places = np.flatnonzero(characters[:-3] == ord("T"))
    return int(np.count_nonzero(characters[places + 3] == ord(":"))) != rows


def _count(body: bytes, character: bytes) -> int:
    """How often a character stands there. ``bytes.count`` is slow for one that is frequent."""
    characters = np.frombuffer(body, np.uint8)
    blocks = range(0, len(body), _BLOCK_BYTES)  # small ones, as fresh memory for large ones takes longer than counting
    return sum(int(np.count_nonzero(characters[at : at + _BLOCK_BYTES] == ord(character))) for at in blocks)


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
            memory_pool=pa.system_memory_pool(),  # Arrow's default pool keeps what is freed, several times a file
        )
        return table.cast(schema)
    return None


def _naive(kind: Any) -> Any:
    """Arrow wants a zone in the text of an aware time; Beiwe's has none, so it is parsed as naive, which means UTC."""
    return pa.timestamp("ms") if kind == UTC_MILLISECONDS else kind


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
    UTC_MILLISECONDS: read_time,
}
