"""How far work on files is: one line that is rewritten on a terminal, a line now and then anywhere else."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TextIO

from dagster_beiwe.text import human_size

if TYPE_CHECKING:
    from typing_extensions import Self

_ON_TERMINAL_SECONDS: Final = 0.2
_ELSEWHERE_SECONDS: Final = 10.0
_CLEAR: Final = "\r\x1b[K"


class FileProgress:
    """Says on ``stream`` how much is done, how fast, and how long the rest takes.

    Use it as a context manager, or call ``end``. It begins when it is made.
    """

    def __init__(
        self, files: int, size_bytes: int, stream: TextIO, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._files, self._size_bytes, self._stream, self._clock = files, size_bytes, stream, clock
        self._done_files = self._done_bytes = 0
        self._rewrites = stream.isatty()
        self._began = self._said = clock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.end()

    def within(self, size_bytes: int) -> None:
        """So many bytes of the current file are done."""
        now = self._clock()
        if now - self._said >= (_ON_TERMINAL_SECONDS if self._rewrites else _ELSEWHERE_SECONDS):
            self._said = now
            self._say(self._text(self._done_bytes + size_bytes, now - self._began))

    def advance(self, files: int, size_bytes: int) -> None:
        """So many more files and bytes are done."""
        self._done_files += files
        self._done_bytes += size_bytes
        self.within(0)

    def end(self) -> None:
        """Clear the line on a terminal."""
        if self._rewrites:
            self._stream.write(_CLEAR)
            self._stream.flush()

    def _say(self, text: str) -> None:
        self._stream.write(f"{_CLEAR}{text}" if self._rewrites else f"{text}\n")
        self._stream.flush()

    def _text(self, done: int, seconds: float) -> str:
        rate = done / seconds
        left = f", {_duration((self._size_bytes - done) / rate)} left" if rate else ""
        return (
            f"{self._done_files:,} of {self._files:,} files, {human_size(done)} of {human_size(self._size_bytes)}, "
            f"{human_size(rate)}/s{left}"
        )


def _duration(seconds: float) -> str:
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
