"""Progress on standard error: a line that is rewritten on a terminal, now and then a new line elsewhere."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from typing_extensions import Self

_TERMINAL_SECONDS: Final = 0.2
_PIPE_SECONDS: Final = 30.0


class ProgressLine:
    """How much of ``total`` is done, how fast, and how much longer it takes. Use it as a context manager.

    ``unit`` is what is counted, in the plural. Nothing is printed before the first interval has passed, so a short
    command prints nothing.
    """

    def __init__(self, total: int, unit: str) -> None:
        self._total, self._unit = total, unit
        self._done = 0
        self._rewrites = sys.stderr is not None and sys.stderr.isatty()
        self._every = _TERMINAL_SECONDS if self._rewrites else _PIPE_SECONDS
        self._started = self._printed = time.monotonic()
        self._width = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._width:
            print(f"\r{' ' * self._width}\r", end="", file=sys.stderr, flush=True)

    def advance(self, number: int = 1) -> None:
        """Count what was done since."""
        self._done += number
        now = time.monotonic()
        if now - self._printed >= self._every:
            self._printed = now
            self._print(progress_text(self._done, self._total, self._unit, elapsed_seconds=now - self._started))

    def _print(self, text: str) -> None:
        if not self._rewrites:
            print(text, file=sys.stderr, flush=True)
            return
        print(f"\r{text:{self._width}}", end="", file=sys.stderr, flush=True)
        self._width = len(text)


def progress_text(done: int, total: int, unit: str, *, elapsed_seconds: float) -> str:
    """One line: share, rate, and the time left at that rate."""
    rate = done / elapsed_seconds
    left = (total - done) / rate if rate else 0.0
    share = 100 * done // total if total else 100
    return f"{done:,} of {total:,} {unit} ({share} %), {rate:,.0f}/s, {duration_text(left)} left"


def duration_text(seconds: float) -> str:
    """A duration as people say it, in its two largest units."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
