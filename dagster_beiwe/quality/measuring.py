"""Measure one file of raw data: counts by quarter of an hour, and no value. Pure functions on bytes.

Quarters, because every time zone is offset by whole ones: whatever the study's zone is, and if it changes, days are put
together without reading a file again. In surveys there are also counts by question.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, Final, TypeAlias

import numpy as np
import pandas as pd

from dagster_beiwe.errors import NotATableError
from dagster_beiwe.reading.frames import ParsedFile, read_csv
from dagster_beiwe.reading.rows import TIMESTAMP, UTC_TIME
from dagster_beiwe.streams import stream_named
from dagster_beiwe.surveys.words import NO_ANSWERS, SUBMIT_ROWS

SUBMITTED: Final = "submitted"
"""In place of a question: the participant submitted the survey."""

QUARTER_MINUTES: Final = 15

COUNTS: Final = (
    "rows",
    "repeated_timestamps",
    "disordered_timestamps",
    "coordinates_out_of_range",
    "outside_hour",
    "contradicting_times",
    "set_aside_rows",
)
"""What is counted in a file, or in a quarter of an hour of it."""

TYPES: Final = {
    "file": "int64",
    "quarter": "int32",
    "survey": "string",
    "question": "string",
    "minutes": "uint16",
    **dict.fromkeys(COUNTS, "int32"),
}
"""Columns of measurements. ``quarter`` counts quarters of an hour since 1970 (UTC); ``minutes`` has a bit for each of
its minutes with a row."""

_Numbers: TypeAlias = "np.ndarray[Any, np.dtype[np.int64]]"
_Flags: TypeAlias = "np.ndarray[Any, np.dtype[np.bool_]]"

_MINUTE_MS: Final = 60_000
_HOUR_MS: Final = 60 * _MINUTE_MS
_QUARTERS: Final = 60 // QUARTER_MINUTES
_BITS: Final = 1 << np.arange(QUARTER_MINUTES)

_WORST_ACCURACY_METERS: Final = 100_000
_COLUMNS: Final = {
    "gps": ("latitude", "longitude", "accuracy"),
    "survey_answers": ("question id", "question type", "answer"),
    "survey_timings": ("question id", "survey id", "event"),
}


@dataclass(kw_only=True)
class Measurements:
    """What was measured of some files, gathered column by column."""

    _parts: dict[str, list[Any]] = field(default_factory=lambda: {name: [] for name in TYPES})

    def add(self, file: int, data: bytes, *, stream: str, time: datetime, survey: str = "") -> None:
        """Measure a file. ``file`` is its number, ``time`` the one in its name, and ``survey`` the id in its path."""
        for name, values in _measure(data, stream, time, survey).items():
            self._parts[name].append(values)
        self._parts["file"].append(np.full(len(self._parts["quarter"][-1]), file, np.int64))

    def frame(self) -> pd.DataFrame:
        """One row per file, quarter of an hour, survey, and question, in the order in which files were added."""
        columns: dict[str, Any] = {name: np.concatenate(parts or [[]]) for name, parts in self._parts.items()}
        frame: pd.DataFrame = pd.DataFrame(columns).astype(TYPES)
        return frame


def _measure(data: bytes, stream: str, time: datetime, survey: str) -> dict[str, Any]:
    hour_ms = int(time.astimezone(timezone.utc).timestamp()) * 1000 // _HOUR_MS * _HOUR_MS
    known = stream_named(stream)
    try:
        parsed = read_csv(
            data,
            stream,
            columns=(TIMESTAMP, UTC_TIME, *_COLUMNS.get(stream, ())),
            hour=time if known.chunked else None,
        )
    except NotATableError:  # of a stream that only this server has
        return _by_quarter(np.zeros(0, np.int64), [(survey, "")], np.zeros(0, np.int64), hour_ms, {})
    rows = parsed.table.num_rows
    stamps = _integers(parsed, TIMESTAMP)
    if stamps is None:  # the file's name has the only time
        stamps = np.full(rows, int(time.timestamp()) * 1000, np.int64)
        flags: dict[str, _Flags] = {}
    else:
        flags = _time_flags(stamps)
    if stream == "gps":
        flags["coordinates_out_of_range"] = _out_of_range(parsed)
    questions, codes = _questions(parsed, stream, survey)
    found = _by_quarter(stamps, questions, codes, hour_ms, flags)
    if not known.chunked:  # only chunked streams have files of one hour
        found["outside_hour"][:] = 0
    found["contradicting_times"][0] += parsed.corrected_times
    found["set_aside_rows"][0] += parsed.set_aside_rows
    return found


def _time_flags(stamps: _Numbers) -> dict[str, _Flags]:
    """Rows with the time of an earlier row of the file, and rows that are earlier than the row above."""
    steps = np.diff(stamps, prepend=stamps[:1])
    disordered = steps < 0
    repeated = np.zeros(len(stamps), bool)
    order = np.argsort(stamps, kind="stable") if disordered.any() else np.arange(len(stamps))
    repeated[order[1:]] = np.diff(stamps[order]) == 0
    return {"repeated_timestamps": repeated, "disordered_timestamps": disordered}


def _out_of_range(parsed: ParsedFile) -> _Flags:
    """Coordinates that are nowhere on Earth, or exactly where both axes are zero; and impossible accuracies."""
    latitude, longitude, accuracy = (_floats(parsed, name) for name in _COLUMNS["gps"])
    on_earth = (np.abs(latitude) <= 90) & (np.abs(longitude) <= 180)
    nowhere = ~on_earth | ((latitude == 0) & (longitude == 0))
    return np.asarray(nowhere | (accuracy < 0) | (accuracy > _WORST_ACCURACY_METERS), bool)


def _questions(parsed: ParsedFile, stream: str, survey: str) -> tuple[Sequence[tuple[str, str]], _Numbers]:
    """Surveys and questions of a file, the first of which stands for none, and the number of each row's among them."""
    rows = parsed.table.num_rows
    none = (survey, "")
    if stream == "survey_answers":
        texts = zip(*(_texts(parsed, name) for name in _COLUMNS[stream]), strict=True)
        asked = [(survey, question) if _is_answered(kind, answer) else none for question, kind, answer in texts]
    elif stream == "survey_timings":
        texts = zip(*(_texts(parsed, name) for name in _COLUMNS[stream]), strict=True)
        asked = [
            (own or survey, SUBMITTED if {question, event} & SUBMIT_ROWS else question)
            for question, own, event in texts
        ]
    else:
        return [none], np.zeros(rows, np.int64)
    places = {key: number for number, key in enumerate(dict.fromkeys([none, *asked]))}
    return list(places), np.array([places[key] for key in asked], np.int64)


def _is_answered(kind: str, answer: str) -> bool:
    return answer not in NO_ANSWERS and "info" not in kind.lower()


def _by_quarter(
    stamps: _Numbers,
    questions: Sequence[tuple[str, str]],
    codes: _Numbers,
    hour_ms: int,
    flags: dict[str, _Flags],
) -> dict[str, Any]:
    """Counts by question and quarter of the file's hour; the first entry stands for the file as a whole.

    Rows outside the hour are counted in its first quarter, and in none of its minutes.
    """
    outside = (stamps < hour_ms) | (stamps >= hour_ms + _HOUR_MS)
    minutes = np.where(outside, 0, (stamps - hour_ms) // _MINUTE_MS)
    bins = len(questions) * _QUARTERS
    present = np.zeros(bins * QUARTER_MINUTES, bool)
    present[(codes * 60 + minutes)[~outside]] = True
    quarters = codes * _QUARTERS + minutes // QUARTER_MINUTES
    flags = {**flags, "outside_hour": outside}
    counts = {name: np.zeros(bins, np.int64) for name in COUNTS}
    counts["rows"] = np.bincount(quarters, minlength=bins)
    for name, flag in flags.items():
        counts[name] = np.bincount(quarters[flag], minlength=bins)
    kept = counts["rows"] > 0
    kept[0] = True
    surveys, names = (np.repeat(np.array(each, object), _QUARTERS) for each in zip(*questions, strict=True))
    first = hour_ms // (QUARTER_MINUTES * _MINUTE_MS)
    return {
        "quarter": (first + np.tile(np.arange(_QUARTERS), len(questions)))[kept],
        "survey": surveys[kept],
        "question": names[kept],
        "minutes": (present.reshape(bins, QUARTER_MINUTES) @ _BITS)[kept],
        **{name: values[kept] for name, values in counts.items()},
    }


def _integers(parsed: ParsedFile, name: str) -> _Numbers | None:
    """A column of integers, None if the file has none. What is missing in it is far from any time."""
    if name not in parsed.table.column_names:
        return None
    return np.asarray(parsed.table[name].fill_null(-1).to_numpy(), np.int64)


def _floats(parsed: ParsedFile, name: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    if name not in parsed.table.column_names:
        return np.full(parsed.table.num_rows, np.nan)
    return np.asarray(parsed.table[name].to_numpy(), np.float64)


def _texts(parsed: ParsedFile, name: str) -> Iterable[str]:
    if name not in parsed.table.column_names:
        return [""] * parsed.table.num_rows
    return [text or "" for text in parsed.table[name].to_pylist()]
