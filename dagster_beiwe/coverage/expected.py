"""What is expected from a study's settings: in how many hours of a day a stream has data if the phone follows them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from dagster_beiwe.coverage.days import StudyDays
from dagster_beiwe.streams import DutyCycle, stream_named

_HOUR = 3600

DeviceSettings = Mapping[str, bool | int | float]
"""Switches and numbers: {name: value}."""


@dataclass(frozen=True, kw_only=True)
class SettingsRecord:
    """The device settings of a study as somebody has seen them at a time."""

    seen: datetime
    values: DeviceSettings


def expected_share(stream: str, settings: DeviceSettings) -> float:
    """The share of a day's hours in which a stream has data; NaN if nothing is expected.

    A sensor that is never off for an hour has data in each. One that is off for longer misses some: of many hours, that
    share in which it is on at any time. Surveys, recordings, calls and the like are events: of them, nothing is
    expected.
    """
    duty = stream_named(stream).duty
    if duty is None or not settings.get(stream):
        return math.nan
    on, period = duty_seconds(duty, settings)
    return min(1.0, (on + _HOUR) / period) if period else 1.0


def duty_seconds(duty: DutyCycle, settings: DeviceSettings) -> tuple[float, float]:
    """How long a sensor is on at a time, and how long it takes from then until the next time; 0 if it is never off."""
    on = _seconds(settings, duty.on)
    return on, _seconds(settings, duty.period) or on + _seconds(settings, duty.off)


def expected_shares(history: Sequence[SettingsRecord], days: StudyDays, streams: Sequence[str]) -> np.ndarray:
    """The expected share by day and stream. Without any settings, nothing is expected."""
    count = len(days.lengths)
    if not history:
        return np.full((count, len(streams)), np.nan, dtype=np.float32)
    return expected_by_day(
        history,
        lambda settings: [expected_share(stream, settings) for stream in streams],
        days=np.arange(count),
        day_of=lambda moment: int(days.of(np.array([moment.timestamp()]))[0]),
    )


def expected_by_day(
    history: Sequence[SettingsRecord],
    expect: Callable[[DeviceSettings], Sequence[Any]],
    *,
    days: np.ndarray,
    day_of: Callable[[datetime], int],
) -> np.ndarray:
    """What is expected from settings on days, which are given by their numbers; ``day_of`` returns that of a moment.

    Settings hold from the day on which they were seen first. On that day itself, the lesser of both is expected,
    because the phones learned of the change in its course. What was seen first holds for all days before.
    """
    records = sorted(history, key=lambda record: record.seen)
    expected = np.array([expect(record.values) for record in records], dtype=np.float32)
    seen = np.array([day_of(record.seen) for record in records])
    held = np.searchsorted(seen[1:], days, side="right")
    before = np.where(seen[held] == days, np.maximum(held - 1, 0), held)
    return np.minimum(expected[held], expected[before])


def _seconds(settings: DeviceSettings, name: str | None) -> float:
    return max(0.0, float(settings.get(name, 0))) if name else 0.0
