"""What the columns of streams hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_ACCURACY: Final = "How far the phone trusts the sensor: a word or a code from 0 to 3; only Android reports it"
_AXES: Final[Mapping[str, str]] = {"x": "to the right of the screen", "y": "to the top of it", "z": "out of it"}


def _along(what: str, prefix: str = "") -> dict[str, str]:
    return {f"{prefix}{axis}": f"{what} along the axis {where}" for axis, where in _AXES.items()}


_TEXTS: Final[Mapping[str, Mapping[str, str]]] = {
    "accelerometer": {"accuracy": _ACCURACY, **_along("Acceleration in g")},
    "app_log": {"event": "Message of the app about itself"},
    "bluetooth": {"hashed MAC": "Hash of the other device's address", "RSSI": "Strength of its signal in dBm"},
    "calls": {
        "hashed phone number": "Hash of the other number",
        "call type": "Incoming, outgoing, or missed",
        "duration in seconds": "Duration in seconds",
    },
    "devicemotion": {
        "roll": "Attitude: roll in radians",
        "pitch": "Attitude: pitch in radians",
        "yaw": "Attitude: yaw in radians",
        **_along("Rotation in radians per second", "rotation_rate_"),
        **_along("Gravity in g", "gravity_"),
        **_along("Acceleration by the person in g", "user_accel_"),
        "magnetic_field_calibration_accuracy": "How far the phone trusts the magnetic field, in words",
        **_along("Calibrated magnetic field in microtesla", "magnetic_field_"),
    },
    "gps": {
        "latitude": "Degrees north of the equator",
        "longitude": "Degrees east of Greenwich",
        "altitude": "Meters above sea level",
        "accuracy": "Estimated error of the position in meters",
    },
    "gyro": {"accuracy": _ACCURACY, **_along("Rotation in radians per second")},
    "identifiers": {
        "patient_id": "Participant id, as the phone was registered",
        "MAC": "Hash of the Bluetooth address",
        "phone_number": "Hash of the phone's number",
        "device_id": "Hash of the device's id",
        "device_os": "Android or iOS",
        "os_version": "Version of the operating system",
        "product": "Product name of the phone",
        "brand": "Brand of the phone",
        "hardware_id": "Name of the hardware",
        "manufacturer": "Manufacturer of the phone",
        "model": "Model of the phone",
        "beiwe_version": "Version of the app",
    },
    "ios_log": {
        "launchId": "Which start of the app the message is of",
        "memory": "Memory in use",
        "battery": "Charge of the battery",
        "event": "Kind of message",
        "msg": "Message of the app about itself",
        **{f"d{number}": f"Detail {number} of the message" for number in range(1, 5)},
    },
    "magnetometer": _along("Magnetic field in microtesla"),
    "power_state": {
        "event": "What happened to screen, charger, or power",
        "level": "Charge of the battery; only iOS reports it",
    },
    "proximity": {"event": "Whether something came close to the screen"},
    "reachability": {"event": "The network from then on: WiFi, cellular, or none"},
    "texts": {
        "hashed phone number": "Hash of the other number",
        "sent vs received": "Whether it was sent or received",
        "message length": "Characters of the text; the text itself is never collected",
        "time sent": "When it was sent, in Unix milliseconds",
    },
    "wifi": {
        "hashed MAC": "Hash of the access point's address",
        "frequency": "Its frequency in MHz",
        "RSSI": "Strength of its signal in dBm",
    },
}

_SURVEYS: Final[Mapping[str, str]] = {
    "survey id": "Survey",
    "question id": "Question; empty for what concerns the whole survey",
    "question type": "Type of the question, as the phone's system calls it",
    "question text": "Text of the question",
    "question answer options": "The options to choose from, as the phone wrote them",
    "answer": "The answer, as the phone wrote it",
    "event": "What happened to the question or the survey; only iOS reports it",
}


def column_text(stream: str, column: str) -> str:
    """What a column of a stream in the catalog holds, with its unit."""
    return _TEXTS.get(stream, _SURVEYS)[column]
