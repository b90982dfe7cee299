"""The files of an export that are tables: one per participant and stream, written window by window."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import BinaryIO, Final

import pandas as pd
import pyarrow as pa
from pyarrow import parquet

from dagster_beiwe.exports.folder import Notes
from dagster_beiwe.exports.outputs import Output, Tick
from dagster_beiwe.exports.selection import Form
from dagster_beiwe.lake.layout import TABLE_SUFFIX
from dagster_beiwe.reading import RawFile, RawFiles
from dagster_beiwe.reading.frames import PARTICIPANT

_COUNTS: Final = ("rows", "repaired_rows", "set_aside_rows")


def as_tables(view: RawFiles, files: Iterable[RawFile], form: Form) -> Iterator[Output]:
    """``<participant>/<stream>.csv``, or ``<stream>/participant=<participant>/<stream>.parquet``.

    The latter is how Arrow, Spark, DuckDB and Polars find the column ``participant`` of a data set. Writing raises
    ``NotATableError`` for a stream of other files.
    """
    by_stream = defaultdict[str, list[RawFile]](list)
    for file in files:
        by_stream[file.stream].append(file)
    for stream, own in sorted(by_stream.items()):
        person = own[0].participant
        folder, kind = (person, _CSV) if form == "csv" else (f"{stream}/{PARTICIPANT}={person}", _Parquet)
        yield Output(path=f"{folder}/{stream}{kind.suffix}", files=own, write=partial(_write, view, stream, own, kind))


class _Sink(ABC):
    """Takes the frames of one table."""

    suffix: str

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    @abstractmethod
    def add(self, frame: pd.DataFrame) -> None:
        """Append rows."""

    def complete(self) -> None:  # noqa: B027  # there may be nothing left to write
        """Write what comes after the rows."""


class _CSV(_Sink):
    suffix = ".csv"

    def add(self, frame: pd.DataFrame) -> None:
        frame.to_csv(self._file, index=False, header=self._file.tell() == 0)


class _Parquet(_Sink):
    """Plain Parquet, a group of rows for each window. The path names the participant."""

    suffix = TABLE_SUFFIX
    _writer: parquet.ParquetWriter | None = None

    def add(self, frame: pd.DataFrame) -> None:
        categorical = {name: kind for name, kind in frame.dtypes.items() if isinstance(kind, pd.CategoricalDtype)}
        plain = {name: kind.categories.dtype for name, kind in categorical.items()}
        table = pa.Table.from_pandas(frame.astype(plain).drop(columns=PARTICIPANT), preserve_index=False)
        if self._writer is None:
            self._writer = parquet.ParquetWriter(self._file, table.schema)
        self._writer.write_table(table)

    def complete(self) -> None:
        if self._writer is not None:
            self._writer.close()


def _write(
    view: RawFiles, stream: str, files: Sequence[RawFile], kind: type[_Sink], file: BinaryIO, tick: Tick
) -> Notes:
    sizes = Counter[str]()
    for each in files:
        sizes[each.window] += each.size_bytes or 0
    columns: list[str] | None = None
    while True:
        file.seek(0)
        file.truncate()
        sink, found, counts, done, fits = kind(file), dict[str, None](), Counter[str](), 0, True
        try:
            for _, window, frame in view.iter_frames(stream, columns=columns):
                fits = fits and (not found or found.keys() == set(frame.columns))
                found |= dict.fromkeys(frame.columns)
                if fits:
                    sink.add(frame[list(found)])
                counts.update({name: frame.attrs["beiwe"][name] for name in _COUNTS})
                done += sizes[window]
                tick(done)
        finally:
            sink.complete()
        if fits:
            return Notes(
                rows=counts["rows"],
                repaired_rows=counts["repaired_rows"],
                set_aside_rows=counts["set_aside_rows"],
            )
        # A window has columns that another lacks: begin again, with all of them in each.
        columns = list(found)
