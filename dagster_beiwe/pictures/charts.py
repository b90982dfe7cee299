"""A chart: a matrix of levels, what each level means, and the labels of both axes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Levels: TypeAlias = npt.NDArray[np.uint8]
"""Rows from the top by columns from the left; each number is a place in the chart's scale."""

_MOST_TICKS = 13
_MONTHS_APART = (1, 2, 3, 6, 12)
_DAYS_APART = (1, 2, 7, 14, 28, 56, 91, 182, 364)


@dataclass(frozen=True)
class Shade:
    """How a level looks, and what it means. Without a color it is transparent."""

    color: tuple[int, int, int] | None
    meaning: str
    name: str = "blank"


# The vermilion and the blues of Okabe and Ito: everybody tells them apart, on white and on black.
_VERMILION = (213, 94, 0)
_LIGHT_BLUE, _SKY_BLUE, _BLUE = (158, 210, 243), (86, 180, 233), (0, 114, 178)

MOST_SHARE = 0.8
"""From this share of the expected hours on, a day looks complete."""

DATA = (
    Shade(None, "nothing expected"),
    Shade(_VERMILION, "nothing received", "orange"),
    Shade(_SKY_BLUE, f"less than {MOST_SHARE:.0%} of the expected hours", "light blue"),
    Shade(_BLUE, f"{MOST_SHARE:.0%} or more, or data with no expected amount", "blue"),
)
"""What was received of a day: four levels, so that a cell takes two bits."""
BLANK, NOTHING, PART, MOST = range(len(DATA))

EVENTS = (*(Shade(None, ""),) * MOST, Shade(_BLUE, "something received", "blue"))
"""The same of streams of which nothing is expected, such as surveys, calls, and recordings."""

HOURS = (
    Shade(None, "nothing expected"),
    Shade(_VERMILION, "none", "orange"),
    Shade(_LIGHT_BLUE, "up to 8 hours", "pale blue"),
    Shade(_SKY_BLUE, "up to 16 hours", "light blue"),
    Shade(_BLUE, "up to 24 hours", "blue"),
)
"""How much of a day: a third of it from one level to the next."""

VALID_HOURS = (Shade(None, "nothing expected, or not measured yet"), *HOURS[1:])

BARS = (Shade(None, ""), Shade(_BLUE, "", "blue"))


@dataclass(frozen=True)
class Tick:
    """A label at a row or column, counted from 0."""

    at: int
    text: str


@dataclass(frozen=True)
class Key:
    """An entry of a legend: a shade, and its share of the cells with a color; None if there is no other color."""

    shade: Shade
    share: float | None

    @property
    def meaning(self) -> str:
        return self.shade.meaning

    @property
    def percent(self) -> str:
        """The share as text: what is there at all is never 0%."""
        if self.share is None:
            return ""
        return f"{self.share:.0%}" if self.share >= 0.01 else "under 1%"


@dataclass(frozen=True, kw_only=True, eq=False)
class Chart:
    """A picture before it is drawn.

    ``text`` says what rows and columns are. ``marks`` are columns at which something happened.
    """

    title: str
    text: str
    levels: Levels
    scale: tuple[Shade, ...]
    row_ticks: tuple[Tick, ...]
    column_ticks: tuple[Tick, ...]
    marks: tuple[Tick, ...] = ()

    @property
    def rows(self) -> int:
        return int(self.levels.shape[0])

    @property
    def columns(self) -> int:
        return int(self.levels.shape[1])

    @property
    def legend(self) -> tuple[Key, ...]:
        """The shades with a meaning that occur."""
        cells = np.bincount(self.levels.ravel(), minlength=len(self.scale)).tolist()
        colored = [number for shade, number in zip(self.scale, cells, strict=True) if shade.color]
        return tuple(
            Key(shade, number / sum(colored) if shade.color and len(colored) > 1 else None)
            for shade, number in zip(self.scale, cells, strict=True)
            if number and shade.meaning
        )

    @property
    def description(self) -> str:
        """The picture in words, for those who cannot see it."""
        shares = "; ".join(f"{key.meaning}: {key.percent}" for key in self.legend if key.share is not None)
        return f"{self.title}: {self.text}" + (f". {shares}." if shares else ".")


def date_ticks(first: date, days: int) -> tuple[Tick, ...]:
    """Labels for columns that are calendar days: months if there are several, else Mondays."""
    dates = [first + timedelta(days=number) for number in range(days)]
    months = [(at, day) for at, day in enumerate(dates) if day.day == 1]
    if len(months) < 3:
        return tuple(Tick(at, f"{day:%m-%d}") for at, day in enumerate(dates) if day.weekday() == 0)
    apart = next((apart for apart in _MONTHS_APART if len(months) <= apart * _MOST_TICKS), _MONTHS_APART[-1])
    return tuple(Tick(at, f"{day:%Y-%m}") for at, day in months if (day.month - 1) % apart == 0)


def number_ticks(days: int) -> tuple[Tick, ...]:
    """Labels for columns that are days since enrollment, from 0 on."""
    apart = next((apart for apart in _DAYS_APART if days <= apart * _MOST_TICKS), _DAYS_APART[-1])
    return tuple(Tick(at, str(at)) for at in range(0, days, apart))


def spaced(ticks: Iterable[Tick], *, apart: float) -> tuple[Tick, ...]:
    """The ticks that are at least so many rows or columns from the one before."""
    chosen: list[Tick] = []
    for tick in ticks:
        if not chosen or tick.at - chosen[-1].at >= apart:
            chosen.append(tick)
    return tuple(chosen)
