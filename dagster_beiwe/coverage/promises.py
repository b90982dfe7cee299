"""What the settings of a study promise: how many hours of a day a stream has data if the phone does as it is told."""

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


def promised_share(stream: str, settings: DeviceSettings) -> float:
    """The share of a day's hours in which a stream has data; NaN if nothing is promised.

    A sensor that is never off for an hour has data in each. One that is off for longer misses some: of many hours, that
    share in which it is on at any time. Surveys, recordings, calls and the like are events and promise nothing.
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


def promised_shares(history: Sequence[SettingsRecord], days: StudyDays, streams: Sequence[str]) -> np.ndarray:
    """The promised share by day and stream. Without any settings, nothing is promised."""
    count = len(days.lengths)
    if not history:
        return np.full((count, len(streams)), np.nan, dtype=np.float32)
    return promised_by_day(
        history,
        lambda settings: [promised_share(stream, settings) for stream in streams],
        days=np.arange(count),
        day_of=lambda moment: int(days.of(np.array([moment.timestamp()]))[0]),
    )


def promised_by_day(
    history: Sequence[SettingsRecord],
    promise: Callable[[DeviceSettings], Sequence[Any]],
    *,
    days: np.ndarray,
    day_of: Callable[[datetime], int],
) -> np.ndarray:
    """What settings promise on days, which are given by their numbers; ``day_of`` is the number of a moment's day.

    Settings hold from the day on which they were seen first. That day itself promises the lesser of both, because the
    phones learned of the change in its course. What was seen first holds for all days before.
    """
    records = sorted(history, key=lambda record: record.seen)
    promises = np.array([promise(record.values) for record in records], dtype=np.float32)
    seen = np.array([day_of(record.seen) for record in records])
    held = np.searchsorted(seen[1:], days, side="right")
    before = np.where(seen[held] == days, np.maximum(held - 1, 0), held)
    return np.minimum(promises[held], promises[before])


def _seconds(settings: DeviceSettings, name: str | None) -> float:
    return max(0.0, float(settings.get(name, 0))) if name else 0.0
