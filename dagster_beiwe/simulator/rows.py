"""The rows of each stream: the text after the two time columns, as phones send it.

Everything is synthetic. Texts keep the habits of the real ones that matter to a reader: no quoting, commas inside
log messages and typed answers, hashes that look like base64.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from dagster_beiwe.simulator.survey_phones import Given, Phone
from dagster_beiwe.simulator.surveys import QUESTIONS, Question

_HASHES = (
    "kUh3Zr0c1v9yB2xQ7m5nWA==",
    "b1c2d3e4f5g6h7i8j9k0lA==",
    "Zz9pP1aQ8rT6uV4wX2yY0g==",
    "oO0lI1bB8gG9qQ5sS2zZ7w==",
)
_APP_LOG = (
    "New app log file created",
    "Accelerometer OFF",
    "Accelerometer ON",
    "GPS ON",
    "Upload started, 3 files, connection wifi",
    "Upload finished, status 200",
)
_ANDROID_POWER = (
    "Screen turned on",
    "Screen turned off",
    "Power connected",
    "Device Idle (Doze) state change signal received; device in idle state.",
)
_IOS_POWER = ("Charging", "Unplugged", "Locked", "Unlocked", "PowerUnknown")
_IOS_LOG = ("became active", "became inactive", "upload queue: 4 files, 12 kB", "terminating, state saved")
_ANSWERS = ("fine", "a bit tired, but fine", "slept badly, woke at 4, then again at 6", "gut, danke, nur etwas müde")

Tail = Callable[[random.Random], str]


def _numbers(rng: random.Random, count: int, digits: int, spread: float) -> str:
    return ",".join(f"{rng.gauss(0, spread):.{digits}f}" for _ in range(count))


def _gps(rng: random.Random) -> str:
    latitude, longitude = 42.3 + rng.gauss(0, 0.01), -71.1 + rng.gauss(0, 0.01)
    return f"{latitude:.8f},{longitude:.8f},{rng.uniform(10, 30):.4f},{rng.uniform(3, 30):.3f}"


def _devicemotion(rng: random.Random) -> str:
    return f"{_numbers(rng, 12, 8, 0.4)},high,{_numbers(rng, 3, 8, 0.4)}"


def _ios_log(rng: random.Random) -> str:
    return f"L1790856000000,{rng.randint(20, 80)},{rng.random():.2f},upload,{rng.choice(_IOS_LOG)},,,,"


_ANDROID: dict[str, Tail] = {
    "accelerometer": lambda rng: f"unknown,{_numbers(rng, 3, 10, 0.5)}",
    "gps": _gps,
    "gyro": lambda rng: f"3,{_numbers(rng, 3, 6, 0.1)}",
    "magnetometer": lambda rng: _numbers(rng, 3, 6, 0.1),
    "omniring": lambda rng: f"{rng.randrange(10**5)},{rng.randrange(10**5)}",
    "power_state": lambda rng: rng.choice(_ANDROID_POWER),
    "app_log": lambda rng: rng.choice(_APP_LOG),
    "bluetooth": lambda rng: f"{rng.choice(_HASHES)},{-rng.randint(40, 95)}",
    "wifi": lambda rng: f"{rng.choice(_HASHES)},{rng.choice((2412, 5180))},{-rng.randint(40, 95)}",
    "calls": lambda rng: (
        f"{rng.choice(_HASHES)},{rng.choice(('Missed Call', 'Incoming Call', 'Outgoing Call'))},{rng.randint(0, 900)}"
    ),
    "texts": lambda rng: f"{rng.choice(_HASHES)},{rng.choice(('received SMS', 'sent SMS'))},{rng.randint(1, 300)}",
}
_IOS: dict[str, Tail] = {
    **{name: _ANDROID[name] for name in ("accelerometer", "gps", "magnetometer")},
    "gyro": lambda rng: _numbers(rng, 3, 6, 0.1),
    "devicemotion": _devicemotion,
    "ios_log": _ios_log,
    "power_state": lambda rng: f"{rng.choice(_IOS_POWER)},{rng.random():.2f}",
    "proximity": lambda rng: rng.choice(("NearUser", "NotNearUser")),
    "reachability": lambda rng: rng.choice(("wifi", "cellular", "unreachable")),
}


def tail_of(stream: str, os: str) -> Tail:
    """A function that makes a row's text after the time columns, for streams that are a plain series of rows."""
    return (_IOS if os == "IOS" else _ANDROID).get(stream) or _ANDROID.get(stream) or _IOS[stream]


def identifiers_tail(participant_id: str, os: str) -> str:
    phone = (
        "iOS,18.0,iPhone,Apple,iPhone15.2,Apple,iPhone,2024.28"
        if os == "IOS"
        else "Android,15,synthetic,generic,ranchu,Loopback,Model One,3.5.0"
    )
    return f"{participant_id},{_HASHES[0]},{_HASHES[1]},{_HASHES[2]},{phone}"


def _given(question: Question, rng: random.Random) -> Given:
    """What a participant answers."""
    if question.kind == "checkbox":
        return tuple(place for place in range(len(question.options)) if rng.random() < 0.5) or (0,)
    if question.options:
        return rng.randrange(len(question.options))
    return rng.randint(*question.limits) if question.limits else rng.choice(_ANSWERS)


def _phone(os: str) -> Phone:
    return Phone(os=os, numbered=os != "IOS")


def survey_answers(os: str, rng: random.Random) -> list[str]:
    """The rows of one submitted survey; only what a participant types may contain commas."""
    return _phone(os).answers(QUESTIONS, [_given(question, rng) for question in QUESTIONS])


def ai_chat(rng: random.Random) -> list[str]:
    """A short conversation."""
    return [f"{speaker},{rng.choice(_ANSWERS)}" for speaker in ("assistant", "participant", "assistant")]


SUBMITTED: dict[str, Callable[[str, random.Random], list[str]]] = {
    "survey_answers": survey_answers,
    "ai_chat_logs": lambda _, rng: ai_chat(rng),
}
"""The rows of files that a phone sends as a whole, without times."""


def survey_timings(survey_id: str, os: str, rng: random.Random) -> list[tuple[int, str]]:
    """One session with a survey, as (milliseconds since its start, text after the time columns)."""
    given = [_given(question, rng) for question in QUESTIONS]
    return _phone(os).timings(survey_id, QUESTIONS, given, rng)
