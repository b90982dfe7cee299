"""The catalog of Beiwe's data streams: names, columns, and how they are stored.

The catalog describes streams, but does not decide which exist: a server may have fewer, and streams of its own.
``stream_named`` returns what is known of either kind.

Source: the CSV headers, file rules, and names of a beiwe-backend of March 2026.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from dagster_beiwe.errors import UnknownStreamError

StreamGroup = Literal["gps", "motion", "phone use", "nearby", "communication", "surveys", "audio", "other"]
_LONGEST_CSV_HEADER_BYTES = 4096
STREAM_GROUPS: tuple[StreamGroup, ...] = get_args(StreamGroup)
"""What people speak of together when they look at coverage, in the order in which it is shown."""


@dataclass(frozen=True, kw_only=True)
class DutyCycle:
    """Names of the device settings, in seconds, that decide when a sensor is on.

    It is ``on`` (at once, if that is None) and then ``off``, or on at the beginning of each ``period``. ``frequency``
    names the setting of how many rows per second it writes while it is on, if there is one.
    """

    on: str | None = None
    off: str | None = None
    period: str | None = None
    frequency: str | None = None


@dataclass(frozen=True, kw_only=True)
class Stream:
    """One data stream.

    ``chunked`` streams have one CSV file per UTC hour. The others are stored as the phone sent them, one file per
    recording or answered survey, and only the name contains their time. ``ios_columns`` is set if the header on iOS
    differs from Android's. ``text_column`` may contain commas: Beiwe does not quote, so extra fields in a row belong
    to it. Only streams with a ``duty`` are expected to have data in every hour; the others
    record what happens, when it happens.
    """

    name: str
    description: str
    group: StreamGroup = "other"
    columns: tuple[str, ...] = ()
    ios_columns: tuple[str, ...] | None = None
    text_column: str | None = None
    chunked: bool = True
    audio: bool = False
    survey_folder: bool = False
    platforms: frozenset[str] = frozenset({"android", "ios"})
    duty: DutyCycle | None = None
    storage_folder: str | None = None
    """Folder in the server's storage path, for streams that are not chunked (``surveyAnswers``)."""
    known: bool = True
    """Whether the catalog has it. Of other streams, only the name is known."""

    @property
    def known_headers(self) -> tuple[tuple[str, ...], ...]:
        """Every header this stream is known to have, Android's first."""
        return (self.columns,) if self.ios_columns is None else (self.columns, self.ios_columns)


def _sensor(name: str, *, frequency: str | None = None) -> DutyCycle:
    return DutyCycle(on=f"{name}_on_duration_seconds", off=f"{name}_off_duration_seconds", frequency=frequency)


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

_CATALOG = (
    Stream(
        name="accelerometer",
        description="Acceleration in units of g, several times per second.",
        group="motion",
        duty=_sensor("accelerometer", frequency="accelerometer_frequency"),
        columns=(*_TIME, "accuracy", *_XYZ),
    ),
    Stream(
        name="ambient_audio",
        description="Recordings of the surroundings.",
        group="audio",
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
        group="audio",
        chunked=False,
        audio=True,
        survey_folder=True,
        storage_folder="voiceRecording",
    ),
    Stream(
        name="bluetooth",
        description="Bluetooth devices seen nearby, addresses hashed.",
        group="nearby",
        duty=DutyCycle(on="bluetooth_on_duration_seconds", period="bluetooth_total_duration_seconds"),
        columns=(*_TIME, "hashed MAC", "RSSI"),
        platforms=_ANDROID,
    ),
    Stream(
        name="calls",
        description="Call log, numbers hashed.",
        group="communication",
        columns=(*_TIME, "hashed phone number", "call type", "duration in seconds"),
        platforms=_ANDROID,
    ),
    Stream(
        name="devicemotion",
        description="Attitude, rotation, gravity and magnetic field as iOS reports them.",
        group="motion",
        duty=_sensor("devicemotion"),
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
        description="Location: degrees, meters of altitude and of accuracy.",
        group="gps",
        duty=_sensor("gps"),
        columns=(*_TIME, "latitude", "longitude", "altitude", "accuracy"),
    ),
    Stream(
        name="gyro",
        description="Rotation rate in radians per second.",
        group="motion",
        duty=_sensor("gyro", frequency="gyro_frequency"),
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
        text_column="model",  # "iPhone14,7"
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
        group="motion",
        duty=_sensor("magnetometer"),
        columns=(*_TIME, *_XYZ),
    ),
    Stream(
        name="power_state",
        description="Screen, charging and power events.",
        group="phone use",
        columns=(*_TIME, "event"),
        ios_columns=(*_TIME, "event", "level"),
    ),
    Stream(
        name="proximity",
        description="Whether something is close to the screen.",
        group="phone use",
        columns=(*_TIME, "event"),
        platforms=_IOS,
    ),
    Stream(
        name="reachability",
        description="Changes between WiFi, cellular and no network.",
        group="phone use",
        columns=(*_TIME, "event"),
        platforms=_IOS,
    ),
    Stream(
        name="survey_answers",
        description="Answers to one survey as submitted; the time is in the file's name.",
        group="surveys",
        columns=_SURVEY_ANSWER,
        text_column="answer",
        chunked=False,
        survey_folder=True,
        storage_folder="surveyAnswers",
    ),
    Stream(
        name="survey_timings",
        description="What was shown and tapped during surveys, and when.",
        group="surveys",
        columns=_SURVEY_TIMING,
        ios_columns=(*_SURVEY_TIMING, "event"),
        text_column="answer",
        survey_folder=True,
    ),
    Stream(
        name="texts",
        description="Text message log (never the text itself), numbers hashed.",
        group="communication",
        columns=(*_TIME, "hashed phone number", "sent vs received", "message length", "time sent"),
        platforms=_ANDROID,
    ),
    Stream(
        name="wifi",
        description="WiFi access points seen nearby, addresses hashed.",
        group="nearby",
        duty=DutyCycle(period="wifi_log_frequency_seconds"),
        columns=(*_TIME, "hashed MAC", "frequency", "RSSI"),
        platforms=_ANDROID,
    ),
)

STREAMS: dict[str, Stream] = {stream.name: stream for stream in _CATALOG}
"""Every stream by name, in alphabetical order."""

STREAM_NAMES: tuple[str, ...] = tuple(STREAMS)

_LONGEST_NAME = 64
_STREAM_NAME = re.compile(rf"[a-z0-9][a-z0-9_-]{{0,{_LONGEST_NAME - 1}}}")
OUT_OF_RANGE = "out_of_range"
"""Folder of a participant's files dated outside every window. A file may come again, in its own window."""
RESERVED_NAMES = frozenset({OUT_OF_RANGE, "strays"})
"""Names that no stream may have: folders of out-of-range files, also in older lakes."""


def is_stream_name(text: str) -> bool:
    """Whether a server can have a stream of this name: it is safe as a folder and in a request."""
    return _STREAM_NAME.fullmatch(text) is not None and text not in RESERVED_NAMES


def stream_named(name: str) -> Stream:
    """The catalog's entry, or for a stream that only some server has, an entry with nothing but its name.

    Raises ``UnknownStreamError`` for a name that no stream can have.
    """
    if name in STREAMS:
        return STREAMS[name]
    _check_name(name)
    return Stream(name=name, description="A data stream of this server.", chunked=False, known=False)


def check_streams(names: Iterable[str], *, available: Collection[str] | None = None) -> tuple[str, ...]:
    """The names, sorted and without duplicates.

    Raises ``UnknownStreamError`` for a name that no stream can have, and if ``available`` is given, for one that is
    neither there nor in the catalog, because most likely it is misspelled.
    """
    found = tuple(sorted(set(names)))
    for name in found:
        if name in STREAMS:
            continue
        _check_name(name)
        if available is not None and name not in available:
            raise UnknownStreamError(
                f"There is no data stream {name!r}.{_hint(name, available)} "
                f"The streams are: {', '.join(sorted(available))}."
            )
    return found


def misspelled_streams(names: Iterable[str]) -> dict[str, str]:
    """{name: the catalog's name that was probably meant}, for names outside the catalog that are close to one."""
    strange = {name for name in names if name not in STREAMS}
    near = {name: _nearest(name, STREAM_NAMES, cutoff=0.65) for name in sorted(strange)}
    return {name: meant for name, meant in near.items() if meant}


def _check_name(name: str) -> None:
    if not is_stream_name(name):
        raise UnknownStreamError(
            f"{name[:60]!r} cannot be the name of a data stream, which has at most {_LONGEST_NAME} lowercase letters, "
            f"digits, '_', and '-'.{_hint(name, STREAM_NAMES)}"
        )


def _hint(name: str, among: Iterable[str]) -> str:
    meant = _nearest(name, among, cutoff=0.4)
    return f" Did you mean {meant!r}?" if meant else ""


def _nearest(name: str, among: Iterable[str], *, cutoff: float) -> str | None:
    close = difflib.get_close_matches(name.lower().replace("-", "_"), list(among), n=1, cutoff=cutoff)
    return close[0] if close else None


def has_header(data: bytes, stream: str) -> bool:
    """Whether a table begins with a header of its stream. Empty files, and streams without known columns, need none."""
    line = data[:_LONGEST_CSV_HEADER_BYTES].partition(b"\n")[0].decode("utf-8", errors="replace")
    known = {name for header in stream_named(stream).known_headers for name in header}
    return not data or not known or not known.isdisjoint(name.strip() for name in line.split(","))
