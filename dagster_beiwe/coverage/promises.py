"""What the settings of a study promise: how many hours of a day a stream has data if the phone does as it is told."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from dagster_beiwe.coverage.days import StudyDays
from dagster_beiwe.streams import stream_named

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
    on = _seconds(settings, duty.on)
    period = _seconds(settings, duty.period) or on + _seconds(settings, duty.off)
    return min(1.0, (on + _HOUR) / period) if period else 1.0


def promised_shares(history: Sequence[SettingsRecord], days: StudyDays, streams: Sequence[str]) -> np.ndarray:
    """The promised share by day and stream.

    Settings hold from the day on which they were seen first. That day itself promises the lesser of both, because the
    phones learned of the change in its course. What was seen first holds for all days before. Without any settings,
    nothing is promised.
    """
    shares = np.full((len(days.lengths), len(streams)), np.nan, dtype=np.float32)
    for number, record in enumerate(sorted(history, key=lambda record: record.seen)):
        promised = np.array([promised_share(stream, record.values) for stream in streams], dtype=np.float32)
        day = max(0, int(days.of(np.array([record.seen.timestamp()]))[0])) if number else 0
        before = shares[day : day + 1].copy()
        shares[day:] = promised
        if number:
            shares[day : day + 1] = np.minimum(before, promised)
    return shares


def _seconds(settings: DeviceSettings, name: str | None) -> float:
    return max(0.0, float(settings.get(name, 0))) if name else 0.0
