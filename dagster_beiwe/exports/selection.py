"""Which raw files are to be exported."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from dagster_beiwe.lake.study import StudyLake
from dagster_beiwe.reading import BeiwePartitions, RawFile

Form = Literal["forest", "tree", "csv", "parquet"]
TABLE_FORMS: tuple[Form, ...] = ("csv", "parquet")


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Raw data of a study in [``start``, ``end``), by participant and stream; empty for all of them."""

    form: Form
    participants: tuple[str, ...] = ()
    streams: tuple[str, ...] = ()
    start: datetime | None = None
    end: datetime | None = None

    def view(self, lake: StudyLake, participant: str) -> BeiwePartitions:
        """One participant's data, with what a wrong clock dated outside every window."""
        return BeiwePartitions.of(lake, participants=[participant], start=self.start, end=self.end, out_of_range=True)

    def files(self, view: BeiwePartitions) -> Iterator[RawFile]:
        """The selected files of a view."""
        return (file for file in view.files() if not self.streams or file.stream in self.streams)


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What a selection holds: the participants that have a file in it, and its files."""

    participants: tuple[str, ...]
    files: int
    size_bytes: int

    @classmethod
    def of(cls, lake: StudyLake, selection: Selection) -> Contents:
        """Reads from each manifest only what counts its files."""
        people, files, size_bytes = [], 0, 0
        for participant in dict.fromkeys(selection.participants) or lake.participants():
            sizes = list(selection.view(lake, participant).sizes(selection.streams))
            if sizes:
                people.append(participant)
                files, size_bytes = files + len(sizes), size_bytes + sum(sizes)
        return cls(participants=tuple(people), files=files, size_bytes=size_bytes)
