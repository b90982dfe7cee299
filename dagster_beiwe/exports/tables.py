"""The files of an export that are tables: one per participant and stream, written window by window."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import BinaryIO, Final

from dagster_beiwe.exports.folder import Notes
from dagster_beiwe.exports.outputs import Output, Tick
from dagster_beiwe.exports.selection import Form
from dagster_beiwe.exports.sinks import SINKS, Sink
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
        # In Parquet, the path names the participant.
        folder, named = (person, ()) if form == "csv" else (f"{stream}/{PARTICIPANT}={person}", (PARTICIPANT,))
        sink = SINKS[form]
        write = partial(_write, view, stream, own, sink, named)
        yield Output(path=f"{folder}/{stream}{sink.suffix}", files=own, write=write)


def _write(
    view: RawFiles,
    stream: str,
    files: Sequence[RawFile],
    kind: type[Sink],
    named: Sequence[str],
    file: BinaryIO,
    tick: Tick,
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
                    sink.add(frame[[name for name in found if name not in named]])
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
