"""How far work is, how fast it goes, and how long the rest takes. It is passed on every now and then, to be shown."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from dagster_beiwe.text import human_size

_RECENT_SECONDS: Final = 60.0


class Progress:
    """What work calls while it goes on. This one tells nobody."""

    def expect(self, total: int, size_bytes: int | None = None) -> None:
        """So much is to be done; ``size_bytes`` is None if that is not known."""

    def within(self, size_bytes: int) -> None:
        """So many bytes of the current item are done."""

    def advance(self, number: int = 1, size_bytes: int = 0) -> None:
        """So many more items and bytes are done."""


@dataclass(frozen=True, kw_only=True)
class Reached:
    """Where work has got to. Bytes are 0 for work that reads and writes none worth counting.

    ``seconds_left`` is None while nobody can tell.
    """

    units: str
    done: int
    total: int
    bytes_done: int
    bytes_total: int | None
    bytes_per_second: float = 0
    seconds_left: float | None = None

    @property
    def share(self) -> float:
        """The part that is done, by bytes if their total is known."""
        if self.bytes_total:
            return min(1.0, self.bytes_done / self.bytes_total)
        return min(1.0, self.done / self.total) if self.total else 0.0

    @property
    def count(self) -> str:
        return f"{self.done:,} of {self.total:,} {self.units}"

    @property
    def short(self) -> str:
        """Without the total of bytes, for a line that shows the share."""
        return self._text(human_size(self.bytes_done) if self.bytes_done else "")

    def __str__(self) -> str:
        if not self.bytes_total:
            return self.short
        return self._text(f"{human_size(self.bytes_done)} of {human_size(self.bytes_total)}")

    def _text(self, size: str) -> str:
        rate = f"{human_size(self.bytes_per_second)}/s" if self.bytes_per_second else ""
        left = "" if self.seconds_left is None else f"{_in_words(self.seconds_left)} left"
        return ", ".join(filter(None, (self.count, size, rate, left)))


class MeasuredProgress(Progress):
    """Measures, and tells where the work has got to every so many seconds. It begins when it is made.

    Rate and time left are those of the last minute: what was done by an earlier call goes by faster than the rest.
    """

    def __init__(
        self,
        units: str,
        tell: Callable[[Reached], None],
        *,
        every_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._units, self._tell, self._every_seconds, self._clock = units, tell, every_seconds, clock
        self._done = self._bytes = self._total = 0
        self._size_bytes: int | None = None
        self._shown_at = clock()
        self._recent = deque([(self._shown_at, 0.0, 0)])
        """(time, share, bytes) of the last minute."""

    def expect(self, total: int, size_bytes: int | None = None) -> None:
        self._total, self._size_bytes = total, size_bytes
        self.within(0)

    def within(self, size_bytes: int) -> None:
        now = self._clock()
        if now - self._shown_at >= self._every_seconds:
            self._shown_at = now
            self._tell(self._measured(now, self._bytes + size_bytes))

    def advance(self, number: int = 1, size_bytes: int = 0) -> None:
        self._done += number
        self._bytes += size_bytes
        self.within(0)

    def reached(self, size_bytes: int | None = None) -> Reached:
        """Where the work has got to, without rate and time left."""
        return Reached(
            units=self._units,
            done=self._done,
            total=max(self._total, self._done),
            bytes_done=self._bytes if size_bytes is None else size_bytes,
            bytes_total=self._size_bytes,
        )

    def _measured(self, now: float, size_bytes: int) -> Reached:
        facts = self.reached(size_bytes)
        while len(self._recent) > 1 and now - self._recent[0][0] > _RECENT_SECONDS:
            self._recent.popleft()
        began, share, before = self._recent[0]
        self._recent.append((now, facts.share, size_bytes))
        seconds, gained = now - began, facts.share - share
        left = (1 - facts.share) * seconds / gained if gained > 0 else None
        return replace(facts, bytes_per_second=(size_bytes - before) / seconds, seconds_left=left)


def _in_words(seconds: float) -> str:
    """A duration to the second, or above an hour to the minute: "2 min 5 s"."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
