"""The files of an export that are made of one raw file each: as Beiwe has them, or as Forest expects them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO, Final

from dagster_beiwe.exports.folder import Notes
from dagster_beiwe.exports.plain_copies import StoredAs
from dagster_beiwe.forest.plain_files import free_path, readable_content
from dagster_beiwe.reading import BeiwePartitions, RawFile, RawFiles
from dagster_beiwe.streams import stream_named

_CHUNK_BYTES: Final = 256 * 1024

Tick = Callable[[int], None]
"""Called with the plain bytes of raw files that a file has taken in so far."""


@dataclass(frozen=True, kw_only=True)
class Output:
    """A file to be written, and the raw files that it is made of.

    ``sha256`` is the hash of its content, if ``write`` proves that it writes nothing else. A file that has the content
    of one raw file is ``stored`` so in the lake.
    """

    path: str
    files: Sequence[RawFile]
    write: Callable[[BinaryIO, Tick], Notes]
    sha256: str | None = None
    stored: StoredAs | None = None

    @property
    def is_small_copy(self) -> bool:
        """Whether it has the content of one small raw file."""
        return self.stored is not None and self.stored.is_small

    @property
    def size_bytes(self) -> int:
        """Plain bytes of the raw files."""
        return sum(file.size_bytes or 0 for file in self.files)


def as_beiwe_has_them(view: BeiwePartitions, files: Iterable[RawFile]) -> Iterator[Output]:
    """Beiwe's own names and bytes: the tree that mano writes."""
    for file in files:
        yield Output(
            path=f"{file.participant}/{file.name}",
            files=[file],
            write=partial(_copy, view, file),
            sha256=file.sha256,
            stored=StoredAs(*view.stored(file)),
        )


def as_forest_expects_them(view: RawFiles, files: Iterable[RawFile]) -> Iterator[Output]:
    """``<participant>/<stream>/[<survey>/]<time>.csv``: what Forest cannot read is written again, or left out."""
    names: set[str] = set()
    for file in files:
        write = _copy if stream_named(file.stream).audio else _write_readable
        yield Output(path=free_path(names, file), files=[file], write=partial(write, view, file))


def _copy(view: RawFiles, file: RawFile, sink: BinaryIO, tick: Tick) -> Notes:
    if file.size_bytes is not None and file.size_bytes <= _CHUNK_BYTES:
        sink.write(view.content(file))
        return Notes()
    with view.open(file) as source:
        while chunk := source.read(_CHUNK_BYTES):
            sink.write(chunk)
            tick(sink.tell())
    return Notes()


def _write_readable(view: RawFiles, file: RawFile, sink: BinaryIO, _: Tick) -> Notes:
    data, changed = readable_content(view.content(file), file)
    sink.write(data)
    if changed:
        return Notes(outcome="rewritten" if data else "left out")
    return Notes(outcome="written" if data else "empty")
