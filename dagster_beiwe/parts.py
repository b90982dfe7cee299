"""Work part by part: all of it at once would take too much memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate, groupby
from typing import Final, TypeVar

_T = TypeVar("_T")

ROWS_AT_ONCE: Final = 1 << 18


def row_parts(length: int, *, at_once: int = ROWS_AT_ONCE) -> Iterator[slice]:
    """Consecutive slices that hold all ``length`` rows of a table, at most ``at_once`` rows each."""
    return (slice(start, start + at_once) for start in range(0, length, at_once))


def even_parts(items: Sequence[_T], sizes: Sequence[int], *, count: int) -> Iterator[list[_T]]:
    """Consecutive items in at most ``count`` parts of about the same size."""
    ends = [*accumulate(max(1, size) for size in sizes)]
    for _, part in groupby(zip(ends, items, strict=True), key=lambda each: (each[0] * count - 1) // ends[-1]):
        yield [item for _, item in part]
