"""What is expected of hours with data, given a study's settings: minutes with rows, and rows. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import date, tzinfo
from typing import cast

import numpy as np
import pandas as pd

from dagster_beiwe.coverage.expected import DeviceSettings, SettingsRecord, duty_seconds, expected_by_day
from dagster_beiwe.quality.days import EXPECTED
from dagster_beiwe.streams import stream_named

_HOUR, _MINUTE = 3600.0, 60.0
_EPOCH = date(1970, 1, 1)


def expected_in_an_hour(stream: str, settings: DeviceSettings) -> tuple[float, float]:
    """Minutes with rows, and rows, that a stream has in an hour; NaN where the settings say nothing of them.

    Each time a sensor is on, it has rows in a minute at least. Only some sensors have a frequency in the settings.
    """
    duty = stream_named(stream).duty
    if duty is None or not settings.get(stream):
        return math.nan, math.nan
    on, period = duty_seconds(duty, settings)
    times, on = (_HOUR / period, on) if period else (1.0, _HOUR)
    frequency = settings.get(duty.frequency) if duty.frequency else None
    return min(_MINUTE, times * max(1.0, on / _MINUTE)), times * on * frequency if frequency else math.nan


def with_expected(days: pd.DataFrame, settings: Sequence[SettingsRecord], zone: tzinfo) -> pd.DataFrame:
    """The days with what is expected of as many hours as have data, NaN where nothing is."""
    if not settings:
        return days
    streams = days["stream"].cat.categories
    expected = expected_by_day(
        settings,
        lambda held: [expected_in_an_hour(stream, held) for stream in streams],
        days=days["day"].to_numpy().astype("datetime64[D]").astype(np.int64),
        day_of=lambda moment: (moment.astimezone(zone).date() - _EPOCH).days,
    )
    own = expected.reshape(len(days), len(streams), len(EXPECTED))[np.arange(len(days)), days["stream"].cat.codes]
    expected = own * days["valid_hours"].to_numpy(np.float32)[:, np.newaxis]
    return cast("pd.DataFrame", days.assign(**dict(zip(EXPECTED, expected.T, strict=True))))
