"""What every view of raw data can do, wherever the files are: list them, open one, read a stream as a DataFrame."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import BinaryIO, Final

import pandas as pd

from dagster_beiwe.arguments import check_time
from dagster_beiwe.errors import TimeRangeError
from dagster_beiwe.meanwhile import read_ahead
from dagster_beiwe.reading.frames import FrameBuilder, check_columns, read_csv
from dagster_beiwe.reading.parsing import SetAsideRow
from dagster_beiwe.streams import STREAM_NAMES, check_streams, misspelled_streams, stream_named

_HOUR: Final = timedelta(hours=1)


@dataclass(frozen=True, kw_only=True)
class RawFile:
    """One file of raw data, without its content.

    ``name`` is its place in Beiwe's tree below the participant's folder, ``time`` its bin time (aware, UTC): the full
    hour of most streams, otherwise the second in which the phone opened the file. ``window`` is the key of the window
    it belongs to. ``size_bytes`` and ``sha256`` describe the plain content; they are None if nobody recorded them.
    ``present`` is False for a file that was deleted upstream.
    """

    participant: str
    window: str
    stream: str
    survey_id: str | None
    name: str
    time: datetime
    size_bytes: int | None
    sha256: str | None
    present: bool = True
    identity: str = field(repr=False, default="")


@dataclass(frozen=True)
class TimeRange:
    """A half-open range of aware times; None is open. Raises ``TimeRangeError`` for naive times and empty ranges."""

    start: datetime | None = None
    end: datetime | None = None

    def __post_init__(self) -> None:
        for name, value in (("start", self.start), ("end", self.end)):
            if value is not None:
                check_time(name, value)
        if self.start is not None and self.end is not None and self.start >= self.end:
            raise TimeRangeError(
                f"The range from {self.start.isoformat()} to {self.end.isoformat()} is empty. Nothing was read. Let it "
                "start before it ends."
            )

    def narrowed(self, start: datetime | None, end: datetime | None) -> TimeRange | None:
        """The part of this range in [start, end), or None if nothing is left."""
        other = TimeRange(start, end)
        starts = [value for value in (self.start, other.start) if value is not None]
        ends = [value for value in (self.end, other.end) if value is not None]
        latest, earliest = max(starts, default=None), min(ends, default=None)
        if latest is not None and earliest is not None and latest >= earliest:
            return None
        return TimeRange(latest, earliest)

    def overlaps(self, start: datetime, end: datetime) -> bool:
        """Whether a part of [start, end) is in this range."""
        return (self.end is None or start < self.end) and (self.start is None or end > self.start)

    def holds(self, stream: str, time: datetime) -> bool:
        """Whether a stream's file of a time may have rows in this range.

        Hourly files cover an hour, and so may those of a stream outside the catalog; others count by their time alone.
        """
        known = stream_named(stream)
        if known.chunked or not known.known:
            return self.overlaps(time, time + _HOUR)
        return (self.start is None or time >= self.start) and (self.end is None or time < self.end)


class RawFiles(ABC):
    """What every view of raw data can do: list files, open one, read a stream."""

    def __init__(self, span: TimeRange) -> None:
        self.span = span

    @property
    @abstractmethod
    def participants(self) -> list[str]:
        """Ids of the participants in the view."""

    @abstractmethod
    def by_window(self) -> Iterator[tuple[str, str, Iterable[RawFile]]]:
        """Participant, window key and all files of each window; the files are sorted by time."""

    @abstractmethod
    def open(self, file: RawFile) -> BinaryIO:
        """The plain content of a file as a stream that can't seek; close it after use.

        Reading raises ``IntegrityError`` if the content differs from what was committed.
        """

    @abstractmethod
    def content(self, file: RawFile) -> bytes:
        """The whole plain content of a file, checked."""

    def files(
        self,
        stream: str | None = None,
        *,
        start: datetime | None = None,
        end: datetime | None = None,
        include_deleted_upstream: bool = False,
    ) -> Iterator[RawFile]:
        """The files of one stream (or all) that may hold data in [start, end), window by window.

        Files that were deleted upstream are left out unless ``include_deleted_upstream``. Raises ``UnknownStreamError``
        and ``TimeRangeError`` at once.
        """
        return self._select(*self._wanted(stream, start, end), include_deleted_upstream=include_deleted_upstream)

    def read(
        self,
        stream: str,
        *,
        columns: Sequence[str] | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
    ) -> pd.DataFrame:
        """One DataFrame of all rows of a stream with start <= ``timestamp`` < end, with a column ``participant``.

        Types and columns are the same with and without rows; see ``reading.frames``. Files outside the time range are
        not opened. ``frame.attrs["beiwe"]`` counts files, rows, and repaired rows. If the data does not fit into
        memory, use ``iter_frames``. Raises ``UnknownStreamError``, ``NotATableError`` for recordings and the like,
        ``ConfigurationError`` for a column that neither the catalog nor any file has, ``TimeRangeError`` and
        ``IntegrityError``.
        """
        names, span = self._wanted(stream, start, end)
        builder = self._builder(stream, columns, span)
        self._fill(builder, self._select(names, span))
        check_columns(columns, stream, builder.names)
        return self._noted(builder.build(more=False), stream)

    def iter_frames(
        self,
        stream: str,
        *,
        columns: Sequence[str] | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
    ) -> Iterator[tuple[str, str, pd.DataFrame]]:
        """Participant, window key and DataFrame of one window after the other; see ``read``.

        Only one window is in memory. Windows without a file of the stream are skipped. A column that no file has raises
        at the end, when that is known.
        """
        names, span = self._wanted(stream, start, end)
        self._builder(stream, columns, span)  # wrong arguments are refused here, not at the first step
        return self._frames(stream, columns, names, span)

    def set_aside(
        self, stream: str, *, start: datetime | None = None, end: datetime | None = None
    ) -> Iterator[tuple[RawFile, SetAsideRow]]:
        """The rows that ``read`` sets aside because their cells can't be assigned to columns, each with its file.

        Their text is participants' data: it is read again here and shown nowhere else. ``start`` and ``end`` select
        files, because rows without columns have no time. Raises as ``read`` does.
        """
        names, span = self._wanted(stream, start, end)
        self._builder(stream, None, None)
        return self._set_aside(self._select(names, span), stream)

    def _set_aside(self, files: Iterable[RawFile], stream: str) -> Iterator[tuple[RawFile, SetAsideRow]]:
        for file, data in read_ahead(files, self.content):
            yield from ((file, row) for row in read_csv(data, stream).set_aside)

    def _frames(
        self, stream: str, columns: Sequence[str] | None, names: frozenset[str] | None, span: TimeRange | None
    ) -> Iterator[tuple[str, str, pd.DataFrame]]:
        found: set[str] = set()
        for participant, window, files in self.by_window():
            chosen = [file for file in files if file.present and _is_wanted(file, names, span)]
            if chosen:
                builder = self._builder(stream, columns, span)
                self._fill(builder, chosen)
                found.update(builder.names)
                yield participant, window, builder.build(more=False)
        check_columns(columns, stream, found)

    def _noted(self, frame: pd.DataFrame, stream: str) -> pd.DataFrame:  # noqa: ARG002
        """The frame, with more counts in its attributes."""
        return frame

    def _wanted(
        self, stream: str | None, start: datetime | None, end: datetime | None
    ) -> tuple[frozenset[str] | None, TimeRange | None]:
        names = None if stream is None else frozenset(check_streams([stream], available=self._held_if_close(stream)))
        return names, self.span.narrowed(start, end)

    def _held_if_close(self, stream: str) -> set[str] | None:
        """The streams with files in this view, if a name is close to a known one; else None.

        Other names outside the catalog may be streams without a file in this view.
        """
        if not misspelled_streams([stream]):
            return None
        return {*STREAM_NAMES, *(file.stream for _, _, files in self.by_window() for file in files)}

    def _select(
        self, names: frozenset[str] | None, span: TimeRange | None, *, include_deleted_upstream: bool = False
    ) -> Iterator[RawFile]:
        for _, _, files in self.by_window():
            for file in files:
                if (file.present or include_deleted_upstream) and _is_wanted(file, names, span):
                    yield file

    @staticmethod
    def _builder(stream: str, columns: Sequence[str] | None, span: TimeRange | None) -> FrameBuilder:
        start, end = (span.start, span.end) if span else (None, None)
        return FrameBuilder(stream, columns=columns, start=start, end=end)

    def _fill(self, builder: FrameBuilder, files: Iterable[RawFile]) -> None:
        for file, data in read_ahead(files, self.content):
            builder.add(data, participant=file.participant, time=file.time, survey_id=file.survey_id)


def _is_wanted(file: RawFile, names: frozenset[str] | None, span: TimeRange | None) -> bool:
    return (names is None or file.stream in names) and span is not None and span.holds(file.stream, file.time)
