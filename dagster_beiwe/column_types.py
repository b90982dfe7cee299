"""How to read the columns of streams: their types, fixed words, and kinds of questions."""

from __future__ import annotations

from typing import Literal

from dagster_beiwe.streams import STREAMS

ColumnType = Literal["integer", "number", "text", "time"]
"""``time`` is naive text in the file (``YYYY-MM-DDThh:mm:ss.mmm``) and an aware UTC timestamp once read."""

_CALIBRATION = "magnetic_field_calibration_accuracy"  # words: "high", "unknown"
_NUMBERS = frozenset(
    {
        "x",
        "y",
        "z",
        "latitude",
        "longitude",
        "altitude",
        "level",
        *(name for name in STREAMS["devicemotion"].columns if name not in ("timestamp", "UTC time", _CALIBRATION)),
    }
)
_INTEGERS = frozenset({"RSSI", "frequency", "duration in seconds", "message length", "time sent"})

_ACCURACIES = frozenset({"unknown", "unreliable", "low", "medium", "high", *(str(code) for code in range(-1, 4))})
_SURVEY_EVENTS = frozenset({"present", "unpresent", "changed", "dismissing question", "submitted", "expired"})
_CLOSED_QUESTIONS = frozenset({"slider", "radio_button", "checkbox", "info_text_box", "date", "time", "date_time"})
_FREE_QUESTION = "free_response"


def column_type(stream: str, column: str) -> ColumnType:
    """How to read a column's text.

    ``accuracy`` is meters in ``gps``, and a word or code elsewhere (iOS writes ``unknown``), so it is text there. Of a
    stream outside the catalog, only the two times are known; the rest is text.
    """
    if column == "timestamp":
        return "integer"
    if column == "UTC time":
        return "time"
    if stream not in STREAMS:
        return "text"
    if column == "accuracy":
        return "number" if stream == "gps" else "text"
    if column in _INTEGERS:
        return "integer"
    return "number" if column in _NUMBERS else "text"


def known_values(stream: str, column: str) -> frozenset[str] | None:
    """The words that apps are known to write into a column with a fixed vocabulary; None for other columns."""
    if column == "accuracy" and stream in ("accelerometer", "gyro"):
        return _ACCURACIES
    return _SURVEY_EVENTS if (stream, column) == ("survey_timings", "event") else None


def question_type(written: str) -> str:
    """A type of question as the server and iOS write it: ``radio_button`` for Android's ``Radio Button Question``."""
    name = "_".join(written.lower().split()).removesuffix("_question")
    return _FREE_QUESTION if name == "open_response" else name


def is_closed_question(written: str) -> bool | None:
    """Whether answers to a type of question are chosen and not typed, so that they have no comma; None if unknown."""
    kind = question_type(written)
    return True if kind in _CLOSED_QUESTIONS else False if kind == _FREE_QUESTION else None
