"""The catalogue of Beiwe's 19 data streams: names, columns, types, and how they are stored.

Source: the CSV headers, file rules and names that a beiwe-backend of March 2026 produces.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from dagster_beiwe.errors import UnknownStreamError

ColumnType = Literal["integer", "number", "text", "time"]
"""``time`` is naive text in the file (``YYYY-MM-DDThh:mm:ss.mmm``) and an aware UTC timestamp once read."""


@dataclass(frozen=True, kw_only=True)
class Stream:
    """One data stream.

    ``chunked`` streams have one CSV file per UTC hour; the others are stored as the phone sent them, one file per
    recording or answered survey, and their time is in the name only. ``ios_columns`` is given where the header on
    iOS differs from Android's. ``text_column`` is the one that may itself contain commas: Beiwe does not quote, so
    what is too many in a row belongs to it.
    """

    name: str
    description: str
    columns: tuple[str, ...] = ()
    ios_columns: tuple[str, ...] | None = None
    text_column: str | None = None
    chunked: bool = True
    audio: bool = False
    survey_folder: bool = False
    platforms: frozenset[str] = frozenset({"android", "ios"})
    storage_folder: str | None = None
    """Folder in the server's storage path, for streams that are not chunked (``surveyAnswers``)."""

    @property
    def known_headers(self) -> tuple[tuple[str, ...], ...]:
        """Every header this stream is known to have, Android's first."""
        return (self.columns,) if self.ios_columns is None else (self.columns, self.ios_columns)


_TIME = ("timestamp", "UTC time")
_XYZ = ("x", "y", "z")
_ANDROID = frozenset({"android"})
_IOS = frozenset({"ios"})
_SURVEY_ANSWER = ("question id", "question type", "question text", "question answer options", "answer")
_SURVEY_TIMING = (
    *_TIME,
    "question id",
    "survey id",
    "question type",
    "question text",
    "question answer options",
    "answer",
)

_CATALOGUE = (
    Stream(
        name="accelerometer",
        description="Acceleration in units of g, several times per second.",
        columns=(*_TIME, "accuracy", *_XYZ),
    ),
    Stream(
        name="ambient_audio",
        description="Recordings of the surroundings.",
        chunked=False,
        audio=True,
        storage_folder="ambientAudio",
    ),
    Stream(
        name="app_log",
        description="Messages of the Android app about itself.",
        columns=(*_TIME, "event"),
        text_column="event",
        platforms=_ANDROID,
    ),
    Stream(
        name="audio_recordings",
        description="Voice answers to audio surveys.",
        chunked=False,
        audio=True,
        survey_folder=True,
        storage_folder="voiceRecording",
    ),
    Stream(
        name="bluetooth",
        description="Bluetooth devices seen nearby, addresses hashed.",
        columns=(*_TIME, "hashed MAC", "RSSI"),
        platforms=_ANDROID,
    ),
    Stream(
        name="calls",
        description="Call log, numbers hashed.",
        columns=(*_TIME, "hashed phone number", "call type", "duration in seconds"),
        platforms=_ANDROID,
    ),
    Stream(
        name="devicemotion",
        description="Attitude, rotation, gravity and magnetic field as iOS reports them.",
        columns=(
            *_TIME,
            "roll",
            "pitch",
            "yaw",
            "rotation_rate_x",
            "rotation_rate_y",
            "rotation_rate_z",
            "gravity_x",
            "gravity_y",
            "gravity_z",
            "user_accel_x",
            "user_accel_y",
            "user_accel_z",
            "magnetic_field_calibration_accuracy",
            "magnetic_field_x",
            "magnetic_field_y",
            "magnetic_field_z",
        ),
        platforms=_IOS,
    ),
    Stream(
        name="gps",
        description="Location: degrees, metres of altitude and of accuracy.",
        columns=(*_TIME, "latitude", "longitude", "altitude", "accuracy"),
    ),
    Stream(
        name="gyro",
        description="Rotation rate in radians per second.",
        columns=(*_TIME, "accuracy", *_XYZ),
        ios_columns=(*_TIME, *_XYZ),
    ),
    Stream(
        name="identifiers",
        description="One row per registration of a phone: hardware, system and app version.",
        columns=(
            *_TIME,
            "patient_id",
            "MAC",
            "phone_number",
            "device_id",
            "device_os",
            "os_version",
            "product",
            "brand",
            "hardware_id",
            "manufacturer",
            "model",
            "beiwe_version",
        ),
    ),
    Stream(
        name="ios_log",
        description="Messages of the iOS app about itself.",
        columns=(*_TIME, "launchId", "memory", "battery", "event", "msg", "d1", "d2", "d3", "d4"),
        text_column="msg",
        platforms=_IOS,
    ),
    Stream(
        name="magnetometer",
        description="Magnetic field in microtesla.",
        columns=(*_TIME, *_XYZ),
    ),
    Stream(
        name="power_state",
        description="Screen, charging and power events.",
        columns=(*_TIME, "event"),
        ios_columns=(*_TIME, "event", "level"),
    ),
    Stream(
        name="proximity",
        description="Whether something is close to the screen.",
        columns=(*_TIME, "event"),
        platforms=_IOS,
    ),
    Stream(
        name="reachability",
        description="Changes between WiFi, cellular and no network.",
        columns=(*_TIME, "event"),
        platforms=_IOS,
    ),
    Stream(
        name="survey_answers",
        description="Answers to one survey as submitted; the time is in the file's name.",
        columns=_SURVEY_ANSWER,
        text_column="answer",
        chunked=False,
        survey_folder=True,
        storage_folder="surveyAnswers",
    ),
    Stream(
        name="survey_timings",
        description="What was shown and tapped during surveys, and when.",
        columns=_SURVEY_TIMING,
        ios_columns=(*_SURVEY_TIMING, "event"),
        text_column="answer",
        survey_folder=True,
    ),
    Stream(
        name="texts",
        description="Text message log (never the text itself), numbers hashed.",
        columns=(*_TIME, "hashed phone number", "sent vs received", "message length", "time sent"),
        platforms=_ANDROID,
    ),
    Stream(
        name="wifi",
        description="WiFi access points seen nearby, addresses hashed.",
        columns=(*_TIME, "hashed MAC", "frequency", "RSSI"),
        platforms=_ANDROID,
    ),
)

STREAMS: dict[str, Stream] = {stream.name: stream for stream in _CATALOGUE}
"""Every stream by name, in alphabetical order."""

STREAM_NAMES: tuple[str, ...] = tuple(STREAMS)

_CALIBRATION = "magnetic_field_calibration_accuracy"  # words: "high", "unknown"
_NUMBERS = frozenset(
    {
        *_XYZ,
        "latitude",
        "longitude",
        "altitude",
        "level",
        *(name for name in STREAMS["devicemotion"].columns if name not in (*_TIME, _CALIBRATION)),
    }
)
_INTEGERS = frozenset({"RSSI", "frequency", "duration in seconds", "message length", "time sent"})


def column_type(stream: str, column: str) -> ColumnType:
    """How a column's text is to be read.

    ``accuracy`` is metres in ``gps`` and a word or code elsewhere (iOS writes ``unknown``), hence text there.
    """
    if column == "timestamp":
        return "integer"
    if column == "UTC time":
        return "time"
    if column == "accuracy":
        return "number" if stream == "gps" else "text"
    if column in _INTEGERS:
        return "integer"
    return "number" if column in _NUMBERS else "text"


def check_streams(names: Iterable[str]) -> tuple[str, ...]:
    """The given names without repetition, in the catalogue's order; nothing given means every stream.

    Raises ``UnknownStreamError`` for a name that Beiwe does not have, with the nearest right one: the server
    answers 404 to those, which must not be read as "no data".
    """
    wanted = set(names)
    for name in sorted(wanted - STREAMS.keys()):
        close = difflib.get_close_matches(name.lower().replace("-", "_"), STREAM_NAMES, n=1, cutoff=0.4)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise UnknownStreamError(
            f"Expected names of Beiwe data streams, got {name[:60]!r}; nothing was requested.{hint} "
            f"The streams are: {', '.join(STREAM_NAMES)}."
        )
    return tuple(name for name in STREAM_NAMES if not wanted or name in wanted)
