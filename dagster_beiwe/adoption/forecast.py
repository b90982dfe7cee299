"""What an adoption will find, by the sizes of files: nothing is decrypted or downloaded for it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date

from dagster_beiwe.adoption.old_files import UNREADABLE, OldFiles, why_unreadable
from dagster_beiwe.adoption.old_tree import OldFile
from dagster_beiwe.cells import Cell
from dagster_beiwe.errors import PassphraseMissingError, WrongPassphraseError
from dagster_beiwe.sync import DailyIndex

_Place = tuple[date, str]


@dataclass
class Forecast:
    """Days of streams, each compared with the server's count of its bytes.

    ``same`` of the ``days`` have the server's size; ``unknown`` have files that are encrypted and compressed, whose
    size only decryption tells. Of the others, the server has ``lacking_bytes`` more, or the folder ``surplus_bytes``.
    ``sent_again`` files are of kinds that servers do not compare. ``unreadable`` files were tried for all of their
    participant and stream: {path: why}.
    """

    days: int = 0
    same: int = 0
    unknown: int = 0
    lacking_bytes: int = 0
    surplus_bytes: int = 0
    sent_again: int = 0
    sent_again_bytes: int = 0
    unreadable: dict[str, str] = field(default_factory=dict)

    def add(
        self,
        files: Iterable[OldFile],
        opener: OldFiles,
        cells: Sequence[Cell],
        daily: DailyIndex,
        streams: Sequence[str],
    ) -> Iterator[OldFile]:
        """Compare the files of one participant in some windows, and yield each once its size is known."""
        sizes: dict[_Place, int] = {}
        unknown: set[_Place] = set()
        tried: set[str] = set()
        for file in files:
            if file.encrypted and file.member.stream not in tried and self._try(file, opener):
                tried.add(file.member.stream)
            places = {(day.day, file.member.stream) for day in daily.days_of(cells[0].participant, file.member.time)}
            size_bytes = _size(file, opener)
            if not file.is_comparable:
                self.sent_again += 1
                self.sent_again_bytes += size_bytes or 0
            unknown |= places if size_bytes is None else set()
            for place in places:
                sizes[place] = sizes.get(place, 0) + (size_bytes or 0)
            yield file
        counted = {
            (day.day, stream): size_bytes
            for cell in cells
            for day in daily.counted_days(cell.participant, cell.window)
            if day.hours_in(cell.window)
            for stream, size_bytes in day.sizes.items()
            if size_bytes and stream in streams
        }
        for place in sizes.keys() | counted.keys():
            self._count(sizes.get(place, 0), counted.get(place, 0), known=place not in unknown)

    def _count(self, here: int, there: int, *, known: bool) -> None:
        self.days += 1
        if not known:
            self.unknown += 1
            return
        self.same += here == there
        self.lacking_bytes += max(0, there - here)
        self.surplus_bytes += max(0, here - there)

    def _try(self, file: OldFile, opener: OldFiles) -> bool:
        """Returns whether that tells of the others of its participant and stream."""
        try:
            opened = opener.open(file)
            opened.rest.close()
        except UNREADABLE as error:
            self.unreadable[file.path] = why_unreadable(error)
            return isinstance(error, (PassphraseMissingError, WrongPassphraseError))
        if not opened.recognized:
            self.unreadable[file.path] = "not recognized: the passphrase may be wrong, or the file is damaged"
        return opened.recognized or file.is_recording


def _size(file: OldFile, opener: OldFiles) -> int | None:
    if file.encrypted and file.compressed:
        return None
    try:
        return opener.size(file)
    except UNREADABLE:
        return None
