"""Which cell of a row belongs to which column. Decisions about one line of text, without I/O.

Beiwe writes no quotes, so a row can be longer or shorter than its header: a comma in a text, a time that a server wrote
twice, the header of the other system above it, a line that was cut. ``fit_row`` finds the one assignment of cells to
columns that fits what the cells are. If several fit and differ, or none does, the row is set aside: no value is ever
put into a column by guessing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from enum import IntEnum
from typing import Final, Literal

from dagster_beiwe.column_types import column_type, is_closed_question, known_values
from dagster_beiwe.streams import Stream

TIMESTAMP: Final = "timestamp"
UTC_TIME: Final = "UTC time"
_TIMES: Final = (TIMESTAMP, UTC_TIME)
_QUESTION_TYPE: Final = "question type"
_OLD_NAMES: Final = {"date": TIMESTAMP}  # old apps called the time of a call so

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)
_INTEGER: Final = re.compile(r"\s*([+-]?[0-9]{1,19})(?:\.0*)?\s*")
_TIME: Final = re.compile(
    r"\s*(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(?:Z|\+00:?00)?\s*",
    re.ASCII,
)
_LONGEST_HEADER_BYTES: Final = 65536
_WORD: Final = re.compile(r"[A-Za-z][A-Za-z_ ]*|-?[0-9]{1,2}", re.ASCII)
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", re.ASCII)

Reason = Literal["ambiguous", "no fit"]
"""Why a row is set aside: several assignments of its cells fit and differ, or none fits."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """A row whose cells belong to ``columns``, one each.

    ``repaired``: it did not fit its header as it stood. ``untrusted``: how many cells were emptied because the row
    ends in the middle of them.
    """

    columns: tuple[str, ...]
    cells: Sequence[str]
    repaired: bool = True
    untrusted: int = 0


@dataclass(frozen=True, slots=True)
class SetAside:
    """A row that could not be fitted, and why."""

    reason: Reason


class _Standing(IntEnum):
    """How well a cell suits a column."""

    IMPOSSIBLE = 0
    STRANGE = 1  # a word where the catalog knows other words
    BEGUN = 2  # at the end of the row, the beginning of one of them
    POSSIBLE = 3
    KNOWN = 4  # a word that the catalog knows


@dataclass(frozen=True, slots=True)
class _Candidate:
    columns: tuple[str, ...]
    cells: tuple[str, ...]
    worst: _Standing
    proven: bool
    whole: bool
    joined: bool = False
    weak: bool = False

    @property
    def values(self) -> dict[str, str]:
        return {name: cell for name, cell in zip(self.columns, self.cells, strict=False) if cell}


def read_integer(text: str) -> int | None:
    """An integer of 64 bits, also written as ``5.0``."""
    match = _INTEGER.fullmatch(text)
    value = int(match[1]) if match else None
    return value if value is not None and -(2**63) <= value < 2**63 else None


def read_number(text: str) -> float | None:
    """A number with a decimal point."""
    with suppress(ValueError):
        return None if "_" in text else float(text)
    return None


def read_time(text: str) -> int | None:
    """Unix milliseconds of a time in UTC as Beiwe writes it; digits beyond milliseconds are cut off."""
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    with suppress(ValueError):
        moment = datetime.fromisoformat(f"{match[1]}T{match[2]}+00:00")
        return (moment - _EPOCH) // timedelta(milliseconds=1) + int(f"{match[3] or '':0<3}"[:3])
    return None


def column_names(line: str) -> tuple[str, ...]:
    """The names in a header's line, without the spaces of old apps, each made unique; none in an empty line."""
    text = line.lstrip("\ufeff").rstrip("\r")
    found = [name.strip() for name in text.split(",")] if text.strip() else []
    if found[1:2] == [UTC_TIME]:
        found[0] = _OLD_NAMES.get(found[0], found[0])
    names: list[str] = []
    for name in found:
        while name in names:
            name += "'"  # noqa: PLW2901  (a primed name is the next candidate)
        names.append(name)
    return tuple(names)


def is_header(names: Sequence[str], stream: Stream) -> bool:
    """Whether these names, of any line of a file, are those of columns."""
    return tuple(names) in stream.known_headers or tuple(names[:2]) == _TIMES


def is_data(names: Sequence[str], stream: Stream) -> bool:
    """Whether the first line of a file is a row already, so that the file has no header: it names no known column."""
    known = {name for header in stream.known_headers for name in header}
    if known:
        return known.isdisjoint(names)
    return len(names) > 1 and read_integer(names[0]) is not None and read_time(names[1]) is not None


def is_table(data: bytes) -> bool:
    """Whether the first line of a file can be one of a table: text, and not the beginning of JSON or a page."""
    line = data.lstrip(b"\n")[:_LONGEST_HEADER_BYTES].partition(b"\n")[0]
    try:
        text = line.decode("utf-8").lstrip("\ufeff").rstrip("\r").replace("\t", " ")
    except UnicodeDecodeError:
        return False
    return text.isprintable() and not text.startswith(("{", "[", "<"))


def fit_row(cells: Sequence[str], header: tuple[str, ...] | None, stream: Stream) -> Fitted | SetAside:
    """Assign the cells of a row to columns; ``header`` is the one above it, None where the file has none.

    The header above a row is right unless the cells contradict it. Other shapes that the stream is known to have are
    tried if the number of cells differs, or if the catalog knows a stream of two shapes.
    """
    kept = _without_repeated_time(cells, header, stream)
    known = stream.known_headers
    if header is not None and len(kept) == len(header) and (len(known) < 2 or header not in known):
        fits = _is_anchored(kept, header)
        return Fitted(header, kept, repaired=len(kept) != len(cells)) if fits else SetAside("no fit")
    own = list(_candidates(kept, header, stream, own=True)) if header else []
    others = [
        candidate
        for shape in known
        if shape and shape != header
        for candidate in _candidates(kept, shape, stream, own=False)
    ]
    chosen = _choose(own, others)
    if isinstance(chosen, _Candidate):
        as_it_stood = chosen.whole and len(chosen.cells) == len(cells) and chosen.columns == (header or chosen.columns)
        return _fitted(chosen, stream, repaired=not as_it_stood)
    if chosen == "no fit" and header is not None and len(kept) == len(header) and _is_anchored(kept, header):
        return Fitted(header, kept, repaired=len(kept) != len(cells))
    return SetAside(chosen)


def may_stand_in(stream: Stream, column: str, cell: str) -> bool:
    """Whether a cell does not contradict its column."""
    return _standing(stream, column, cell) is not _Standing.IMPOSSIBLE


def _without_repeated_time(cells: Sequence[str], header: tuple[str, ...] | None, stream: Stream) -> Sequence[str]:
    """The cells without further copies of ``UTC time`` behind it, which servers of March 2024 wrote.

    No known column behind it holds a time. Behind it may be a column that nobody knows: then a copy is only taken out
    where the row is too long by just that much. A row that ends where a copy may have begun ends there.
    """
    names = header or stream.columns
    if len(cells) < 3 or names[:2] != _TIMES or not cells[2] or cells[2][0] != cells[1][:1]:
        return cells
    moments = {read_time(cells[1]), read_integer(cells[0])} - {None}
    end = 2
    while end < len(cells) and read_time(cells[end]) in moments:
        end += 1
    if names[2:3] and not any(names[2] in shape for shape in stream.known_headers):
        return [*cells[:2], *cells[end:]] if end > 2 and len(cells) - (end - 2) == len(names) else cells
    if end == len(cells) - 1 and cells[end] and cells[1].startswith(cells[end]):
        end += 1
    return [*cells[:2], *cells[end:]] if end > 2 else cells


def _is_anchored(cells: Sequence[str], header: tuple[str, ...]) -> bool:
    """Whether a row of the right length begins like one: anything but an integer as ``timestamp`` is a torn line."""
    if TIMESTAMP not in header:
        return True
    stamp = cells[header.index(TIMESTAMP)]
    return not stamp or read_integer(stamp) is not None


def _candidates(cells: Sequence[str], shape: tuple[str, ...], stream: Stream, *, own: bool) -> Iterator[_Candidate]:
    """Every way in which the cells could be a row of this shape and no cell contradicts its column."""
    count, width = len(cells), len(shape)
    place = shape.index(stream.text_column) if stream.text_column in shape else None
    if place is None:
        if count > width and not any(cells[width:]):
            cells, count = cells[:width], width
        joins = [0] if count <= width else []
    elif count >= width:
        joins = [count - width]
    else:  # cut, and what follows the text may belong to it
        joins = [
            extra for extra in range(max(count - place, 1)) if not extra or any(cells[place + 1 : place + 1 + extra])
        ]
    for extra in joins:
        assigned = list(cells)
        if place is not None and extra:
            assigned[place : place + extra + 1] = [",".join(cells[place : place + extra + 1])]
        candidate = _assessed(shape, assigned, stream, own=own, joined=extra > 0)
        if candidate.worst >= (_Standing.STRANGE if own else _Standing.BEGUN) and (own or not candidate.weak):
            yield candidate


def _assessed(shape: tuple[str, ...], cells: list[str], stream: Stream, *, own: bool, joined: bool) -> _Candidate:
    standings = [_standing(stream, name, cell) for name, cell in zip(shape, cells, strict=False)]
    words = known_values(stream.name, shape[len(cells) - 1]) or ()
    if standings[-1] is _Standing.STRANGE and any(word.startswith(cells[-1]) for word in words):
        standings[-1] = _Standing.BEGUN
    whole = len(cells) == len(shape)
    worst = min(standings, default=_Standing.IMPOSSIBLE)
    if not _begins_like_a_row(shape, cells, sure=own and whole and not joined):
        worst = _Standing.IMPOSSIBLE
    types = [cell for name, cell in zip(shape, cells, strict=False) if name == _QUESTION_TYPE]
    return _Candidate(
        columns=shape[: len(cells)],
        cells=tuple(cells),
        worst=worst,
        proven=_Standing.KNOWN in standings,
        whole=whole,
        joined=joined,
        weak=joined and any(is_closed_question(each) for each in types),
    )


def _begins_like_a_row(shape: tuple[str, ...], cells: list[str], *, sure: bool) -> bool:
    """Whether the first cells are those of a row and not of the rest of a torn line."""
    if TIMESTAMP in shape:
        return len(cells) > 1 and bool(dict(zip(shape, cells, strict=False)).get(TIMESTAMP))
    if sure or shape[:2] != ("question id", _QUESTION_TYPE):
        return True
    return len(cells) > 1 and (_UUID.fullmatch(cells[0]) is not None or is_closed_question(cells[1]) is not None)


def _standing(stream: Stream, column: str, cell: str) -> _Standing:
    if not cell:
        return _Standing.POSSIBLE
    words = known_values(stream.name, column)
    if words is not None:
        if cell in words:
            return _Standing.KNOWN
        return _Standing.STRANGE if _WORD.fullmatch(cell) else _Standing.IMPOSSIBLE
    kind = column_type(stream.name, column)
    readable: object = True
    if kind == "integer":
        readable = read_integer(cell) is not None
    elif kind == "number":
        readable = read_number(cell) is not None
    elif kind == "time":
        readable = read_time(cell) is not None
    return _Standing.POSSIBLE if readable else _Standing.IMPOSSIBLE


def _choose(own: list[_Candidate], others: list[_Candidate]) -> _Candidate | Reason:
    """The candidate that all the others agree with, or why there is none."""
    if len(own) == 1 and not others:
        return own[0]
    sure = [each for each in own if each.whole and each.worst > _Standing.BEGUN and (not each.joined or each.proven)]
    if sure and not sure[0].weak:
        rivals = [each for each in others if each.proven and not _agree(each, sure[0])]
        return "ambiguous" if rivals else sure[0]
    candidates = [*own, *others]
    strong = [each for each in candidates if not each.weak]
    candidates = strong or candidates
    if not candidates:
        return "no fit"
    best = max(candidates, key=lambda each: (each.whole, len(each.values)))
    return best if all(_agree(each, best) for each in candidates) else "ambiguous"


def _agree(one: _Candidate, other: _Candidate) -> bool:
    """Whether two candidates differ at most in columns that one of them does not have."""
    first, second = sorted((one.values, other.values), key=len)
    ours, theirs = (dict(zip(each.columns, each.cells, strict=True)) for each in (one, other))
    return first.items() <= second.items() and all(theirs.get(name, cell) == cell for name, cell in ours.items())


def _fitted(candidate: _Candidate, stream: Stream, *, repaired: bool) -> Fitted:
    """The chosen row. The last cell of a row that was cut may be a part of a number: it is not trusted."""
    last = candidate.columns[-1]
    if candidate.whole or last in _TIMES or column_type(stream.name, last) not in ("integer", "number"):
        return Fitted(candidate.columns, candidate.cells, repaired=repaired)
    untrusted = 1 if candidate.cells[-1] else 0
    return Fitted(candidate.columns, (*candidate.cells[:-1], ""), repaired=repaired, untrusted=untrusted)
