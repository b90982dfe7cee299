"""Cover scattered cells exactly with few rectangles, each of which becomes one run."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from dagster_beiwe.cells import CellKey
from dagster_beiwe.partitions.run_keys import readable_tags, rectangle_tags


@dataclass(frozen=True)
class Rectangle:
    """Adjacent participants by consecutive windows, in the order of the partitions."""

    participants: tuple[str, ...]
    windows: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.participants) * len(self.windows)

    @property
    def first(self) -> CellKey:
        return CellKey(self.participants[0], self.windows[0])

    @property
    def last(self) -> CellKey:
        return CellKey(self.participants[-1], self.windows[-1])

    @property
    def tags(self) -> dict[str, str]:
        """Tags of a run over this rectangle."""
        return {**rectangle_tags(self.participants, self.windows), **readable_tags(self.cells())}

    @property
    def range(self) -> str:
        """The value of ``dagster asset materialize --partition-range``."""
        return f"{self.first}...{self.last}"

    def cells(self) -> Iterator[CellKey]:
        return (CellKey(participant, window) for participant in self.participants for window in self.windows)

    def split(self, size: int) -> Iterator[Rectangle]:
        """Split into rectangles of at most ``size`` cells."""
        width = max(1, min(len(self.windows), size))
        height = max(1, size // width)
        for top in range(0, len(self.participants), height):
            for left in range(0, len(self.windows), width):
                yield Rectangle(self.participants[top : top + height], self.windows[left : left + width])


def cover(
    cells: Collection[CellKey], *, participants: Sequence[str], windows: Sequence[str], largest: int
) -> list[Rectangle]:
    """Rectangles of at most ``largest`` cells that hold each of the cells once, and no others.

    ``participants`` and ``windows`` are all partitions in order; cells that are not among them are left out. Cells are
    merged along both dimensions, and the way that gives fewer rectangles is taken. Sorted by first cell.
    """
    by_row: dict[str, set[str]] = {}
    by_column: dict[str, set[str]] = {}
    for participant, window in cells:
        by_row.setdefault(participant, set()).add(window)
        by_column.setdefault(window, set()).add(participant)
    wide = [Rectangle(rows, columns) for rows, columns in _blocks(by_row, participants, windows)]
    high = [Rectangle(rows, columns) for columns, rows in _blocks(by_column, windows, participants)]
    fewest = min(wide, high, key=len)
    rows, columns = _positions(participants), _positions(windows)
    return sorted(
        (part for rectangle in fewest for part in rectangle.split(largest)),
        key=lambda part: (rows[part.first.participant], columns[part.first.window]),
    )


def stretches(order: Sequence[str], wanted: Collection[str]) -> Iterator[tuple[str, ...]]:
    """The wanted names in order, split where others lie between them, which a range would include."""
    place = _positions(order)
    return _stretches(order, sorted(place[each] for each in set(wanted) if each in place))


def _blocks(
    lines: Mapping[str, Collection[str]], order: Sequence[str], across: Sequence[str]
) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Adjacent lines that share a stretch: (lines, stretch). ``lines`` maps each line to what is wanted of it."""
    place = _positions(across)
    open_blocks: dict[tuple[str, ...], list[str]] = {}
    for line in order:
        found = set(_stretches(across, sorted(place[each] for each in lines.get(line, ()) if each in place)))
        for stretch in [each for each in open_blocks if each not in found]:
            yield tuple(open_blocks.pop(stretch)), stretch
        for stretch in found:
            open_blocks.setdefault(stretch, []).append(line)
    for stretch, block in open_blocks.items():
        yield tuple(block), stretch


def _stretches(order: Sequence[str], numbers: Sequence[int]) -> Iterator[tuple[str, ...]]:
    """Parts of an order by ascending positions, split where these are not consecutive."""
    start = 0
    for index, number in enumerate(numbers):
        if index + 1 == len(numbers) or numbers[index + 1] != number + 1:
            yield tuple(order[numbers[start] : number + 1])
            start = index + 1


def _positions(order: Sequence[str]) -> dict[str, int]:
    return {each: number for number, each in enumerate(order)}
