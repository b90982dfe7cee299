"""Combine measurements into study-local days: one row per participant, day, and stream. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import tzinfo
from typing import Any, Final, cast

import numpy as np
import pandas as pd

from dagster_beiwe.quality.measuring import COUNTS, QUARTER_MINUTES
from dagster_beiwe.quality.participants import FILE_COUNTS, MEASURED_TYPES, Measured
from dagster_beiwe.quality.surveys import answers_without_timings, submissions_without_answers

ANSWERS, TIMINGS, RECORDINGS = "survey_answers", "survey_timings", "audio_recordings"

DAY_TYPES: Mapping[str, str] = {
    "participant": "category",
    "day": "datetime64[s]",
    "stream": "category",
    "files": "int32",
    "rows": "int64",
    "valid_minutes": "int16",
    "valid_hours": "int8",
    "expected_minutes": "float32",
    "expected_rows": "float32",
    "repeated_timestamps": "int32",
    "disordered_timestamps": "int32",
    "contradicting_times": "int32",
    "outside_hour": "int32",
    "dated_ahead": "int32",
    "dated_behind": "int32",
    "coordinates_out_of_range": "int32",
    "answers_without_timings": "int32",
    "submissions_without_answers": "int32",
    "set_aside_rows": "int32",
    "unreadable_files": "int32",
}
"""The columns in their order, and their types as pandas calls them."""

EXPECTED: Final = ("expected_minutes", "expected_rows")
"""The columns that are not counted: ``sampling`` derives them from the study's settings."""

_NO_ROWS: Final = pd.DataFrame(columns=list(MEASURED_TYPES)).astype(MEASURED_TYPES).assign(participant="")
_KEYS: Final = ["participant", "day", "stream"]


def days_of(measured: Sequence[Measured], zone: tzinfo, *, streams: Collection[str]) -> pd.DataFrame:
    """The days of some participants on which one of the streams has a file, with the columns of ``DAY_TYPES``.

    Surveys are paired if ``streams`` has both answers and timings.
    """
    named = [each.rows.assign(participant=each.participant) for each in measured]
    rows = pd.concat([_NO_ROWS, *(frame for frame in named if len(frame))], ignore_index=True)
    rows = rows.astype({"participant": "category", "stream": "category"})  # groups by numbers are found sooner
    files = rows.drop_duplicates("file").assign(files=1, quarter=lambda file: file["minute"] // QUARTER_MINUTES)
    parts = [
        _summed(files, ["files", *FILE_COUNTS], zone),
        _summed(rows, list(COUNTS), zone),
        _valid(rows, zone),
        *(_unpaired(rows, files, zone) if {ANSWERS, TIMINGS} <= set(streams) else ()),
    ]
    counted = [name for name in DAY_TYPES if name not in (*_KEYS, *EXPECTED)]
    days = pd.concat(parts, axis=1).reindex(columns=counted, fill_value=0).fillna(0).reset_index()
    days = days[days["stream"].isin(streams)].reindex(columns=list(DAY_TYPES))
    return cast("pd.DataFrame", days.astype({name: kind for name, kind in DAY_TYPES.items() if kind != "category"}))


def whole_table(days: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """The days of all participants as one table."""
    frames = [pd.DataFrame(columns=list(DAY_TYPES)).astype(DAY_TYPES), *days]
    joined = pd.concat([frame for frame in frames if len(frame)] or frames, ignore_index=True)
    table = joined[list(DAY_TYPES)].sort_values(_KEYS, ignore_index=True).astype(DAY_TYPES)
    return cast("pd.DataFrame", table)


def local_times(quarters: pd.Series[Any], zone: tzinfo) -> pd.DataFrame:
    """Of quarters since 1970 (UTC), the study-local ``day``, and the quarter in which their local ``hour`` began."""
    different, places = np.unique(quarters.to_numpy(), return_inverse=True)
    seconds = np.asarray(different, np.int64) * QUARTER_MINUTES * 60
    moments = pd.to_datetime(seconds, unit="s", utc=True).tz_convert(zone).tz_localize(None)
    hours = different - moments.minute.to_numpy() // QUARTER_MINUTES
    times = {"day": moments.normalize().to_numpy()[places], "hour": hours[places]}
    return cast("pd.DataFrame", pd.DataFrame(times, index=quarters.index))


def _summed(frame: pd.DataFrame, columns: list[str], zone: tzinfo) -> pd.DataFrame:
    day = local_times(frame["quarter"], zone)["day"]
    by = [frame["participant"], day, frame["stream"]]
    return cast("pd.DataFrame", frame[columns].groupby(by, observed=True).sum())


def _valid(rows: pd.DataFrame, zone: tzinfo) -> pd.DataFrame:
    """Minutes and hours with at least one row. Several files may have rows of the same minute."""
    same = ["participant", "stream", "quarter"]
    rows = rows[rows["minutes"] > 0].sort_values(same)
    starts = np.flatnonzero(~rows.duplicated(same))
    quarters = rows.iloc[starts]
    minutes = np.bitwise_or.reduceat(rows["minutes"].to_numpy(), starts) if len(starts) else np.zeros(0, np.uint16)
    times = local_times(quarters["quarter"], zone)
    by = [quarters["participant"], times["day"], quarters["stream"]]
    counted = times.assign(minutes=_bits(minutes).sum(axis=1)).groupby(by, observed=True)
    valid = counted.agg(valid_minutes=("minutes", "sum"), valid_hours=("hour", "nunique"))
    return cast("pd.DataFrame", valid)


def _unpaired(rows: pd.DataFrame, files: pd.DataFrame, zone: tzinfo) -> list[pd.DataFrame]:
    """Answers without timings, and submissions without answers."""
    if not rows["stream"].isin((ANSWERS, TIMINGS)).any():
        return []
    answers, timings = (_by_minute(rows[rows["stream"] == stream]) for stream in (ANSWERS, TIMINGS))
    submitted = pd.concat([answers, files[files["stream"] == RECORDINGS]])
    unpaired = {
        "answers_without_timings": (ANSWERS, answers_without_timings(answers, timings)),
        "submissions_without_answers": (TIMINGS, submissions_without_answers(timings, submitted)),
    }
    return [
        _summed(found.assign(quarter=found["minute"] // QUARTER_MINUTES, stream=stream, **{name: 1}), [name], zone)
        for name, (stream, found) in unpaired.items()
    ]


def _by_minute(rows: pd.DataFrame) -> pd.DataFrame:
    """Participant, survey, and question of each minute in which there is a row."""
    places, bits = np.nonzero(_bits(rows["minutes"].to_numpy()))
    minutes = rows["quarter"].to_numpy(np.int64)[places] * QUARTER_MINUTES + bits
    found = rows.iloc[places][["participant", "survey", "question"]].assign(minute=minutes)
    return cast("pd.DataFrame", found)


def _bits(minutes: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """A row of flags for each set of minutes, in their order."""
    octets = np.ascontiguousarray(minutes, dtype="<u2").view(np.uint8).reshape(-1, 2)
    return np.unpackbits(octets, axis=1, bitorder="little")
