"""The rows of a long table, part by part: work on all of them at once would take as much memory as the table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

ROWS_AT_ONCE: Final = 1 << 18


def row_parts(length: int, *, at_once: int = ROWS_AT_ONCE) -> Iterator[slice]:
    """Consecutive slices that hold all ``length`` rows, at most ``at_once`` rows each."""
    return (slice(start, start + at_once) for start in range(0, length, at_once))
