"""What a visitor of the control page makes happen: each event is some actions of ``control`` and a sentence."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from dagster_beiwe.simulator.growing import word
from dagster_beiwe.simulator.people import Participant
from dagster_beiwe.simulator.world import World

_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)
_LATEST, _EARLIEST = 1 * _DAY, 14 * _DAY
_STREAM = "gps"
_DOWN_SECONDS = 60
_FREQUENCIES = (10, 20, 50)


@dataclass(frozen=True, kw_only=True)
class Happening:
    """What happens in a certain world: the actions with their arguments as JSON, and what to say of them."""

    text: str
    actions: tuple[tuple[str, Mapping[str, Any]], ...]


@dataclass(frozen=True, kw_only=True)
class Event:
    """A button. ``what`` happens on the server, and what Dagster ``shows`` then.

    ``make`` gets the world and the id of what the button is beside: a participant, a study, or nothing. It raises
    ``LookupError`` if there is nothing to which it could happen.
    """

    title: str
    what: str
    shows: str
    make: Callable[[World, str], Happening]


def _late_hour(world: World, participant_id: str) -> Happening:
    hour = _missing_hour(world, participant_id)
    return Happening(
        text=f"GPS of {participant_id} for {_text(hour)} was uploaded late.",
        actions=(("add_hour", _place(participant_id, hour)),),
    )


def _restate_hour(world: World, participant_id: str) -> Happening:
    hour = _stored_hour(world, participant_id)
    return Happening(
        text=f"GPS of {participant_id} for {_text(hour)} was restated: it has 25 more rows and a different hash.",
        actions=(("add_rows", {**_place(participant_id, hour), "rows": 25}),),
    )


def _poison_hour(world: World, participant_id: str) -> Happening:
    hour = _missing_hour(world, participant_id)
    return Happening(
        text=f"GPS of {participant_id} for {_text(hour)} was uploaded late, and the server cannot read it.",
        actions=(("add_hour", _place(participant_id, hour)), ("misbehave", poisoned(participant_id, hour))),
    )


def _go_offline(world: World, participant_id: str) -> Happening:
    return Happening(
        text=f"The phone of {participant_id} has been offline since {_text(world.now)}.",
        actions=(("go_offline", {"participant_id": participant_id}),),
    )


def _go_online(world: World, participant_id: str) -> Happening:
    since = world.participant(participant_id).offline_since or world.now
    return Happening(
        text=f"The phone of {participant_id} uploaded what it recorded since {_text(since)}.",
        actions=(("go_online", {"participant_id": participant_id}),),
    )


def _register(world: World, participant_id: str) -> Happening:
    return Happening(
        text=f"{participant_id} registered a phone at {_text(world.now)}.",
        actions=(("register", {"participant_id": participant_id}),),
    )


def _enroll(world: World, study_id: str) -> Happening:
    study = world.study(study_id)
    participant_id = word(random.Random(f"{world.seed}/{study_id}/{len(study.participants)}"), "123456789abcdefghij", 8)
    start = world.now - _DAY
    return Happening(
        text=f"{participant_id} enrolled in {study.name}, with data since {_text(start)}.",
        actions=(("add_participant", {"study_id": study_id, "id": participant_id, "start": start.isoformat()}),),
    )


def _change_setting(world: World, study_id: str) -> Happening:
    study = world.study(study_id)
    before = study.device_settings["accelerometer_frequency"]
    after = next((each for each in _FREQUENCIES if each > before), _FREQUENCIES[0])
    return Happening(
        text=f"A researcher set the accelerometer frequency of {study.name} from {before} to {after} Hz.",
        actions=(("change_settings", {"study_id": study_id, "accelerometer_frequency": after}),),
    )


def _server_down(world: World, _target: str) -> Happening:  # noqa: ARG001 - events have one signature
    return Happening(
        text=f"The server is down for {_DOWN_SECONDS} seconds.",
        actions=(("misbehave", {"name": "maintenance", "lasts_seconds": _DOWN_SECONDS}),),
    )


def _repair(world: World, _target: str) -> Happening:  # noqa: ARG001 - events have one signature
    return Happening(text="The server was repaired: it is up and can read every hour.", actions=(("behave", {}),))


def poisoned(participant_id: str, hour: datetime) -> dict[str, Any]:
    """Arguments of the misbehavior that makes an hour of a participant unreadable."""
    scope = {"participant": participant_id, "stream": _STREAM}
    return {"name": "poisoned_hour", **scope, "start": hour.isoformat(), "end": (hour + _HOUR).isoformat()}


OF_PARTICIPANTS: Mapping[str, Event] = {
    "late_hour": Event(
        title="Late hour",
        what="An hour of GPS is uploaded days after it was recorded.",
        shows="The sensor …_changes sees that the counts changed, and runs raw_data for that week. The partition's "
        "changes say what was added.",
        make=_late_hour,
    ),
    "restate_hour": Event(
        title="Restate",
        what="The server processes an hour of GPS again, and its file changes.",
        shows="The sensor …_changes fetches it, and the partition's changes say that it changed. The table "
        "restatements lists the hour. The replaced version stays readable.",
        make=_restate_hour,
    ),
    "poison_hour": Event(
        title="Poison",
        what="An hour of GPS arrives that the server cannot read.",
        shows="The run fails and names the hour. The rest of the week is stored, and the partition stays incomplete "
        "until you repair the server and materialize it.",
        make=_poison_hour,
    ),
    "go_offline": Event(
        title="Go offline",
        what="The phone loses its WiFi: it records, but uploads nothing.",
        shows="After three whole days without data, the check silent names the participant.",
        make=_go_offline,
    ),
    "go_online": Event(
        title="Go online",
        what="The phone uploads everything that it recorded meanwhile.",
        shows="The sensor …_changes fetches the missing days. The check silent no longer names the participant.",
        make=_go_online,
    ),
    "register": Event(
        title="Register",
        what="A participant who was only enrolled registers a phone.",
        shows="The roster shows the phone, and data begins to arrive.",
        make=_register,
    ),
}
OF_STUDIES: Mapping[str, Event] = {
    "enroll": Event(
        title="Add a participant",
        what="Somebody enrolls and uploads a first day of data.",
        shows="The sensor …_participants makes the participant a partition and downloads the data.",
        make=_enroll,
    ),
    "change_setting": Event(
        title="Change a setting",
        what="A researcher changes how often the accelerometer measures.",
        shows="The next materialization of settings lists the change under changes.",
        make=_change_setting,
    ),
}
OF_SERVER: Mapping[str, Event] = {
    "server_down": Event(
        title="Take the server down for a minute",
        what="Every request gets the page of a server under maintenance.",
        shows="Runs repeat their requests until the server is back. Sensors skip and ask again.",
        make=_server_down,
    ),
    "repair": Event(
        title="Repair the server",
        what="The server is up, and poisoned hours are readable again.",
        shows="Materialize the partitions that the check complete lists. They are filled without another failure.",
        make=_repair,
    ),
}
EVENTS: Mapping[str, Event] = {**OF_PARTICIPANTS, **OF_STUDIES, **OF_SERVER}


def events_of(person: Participant) -> tuple[str, ...]:
    """Names of the events that can happen to a participant."""
    if person.retired or person.deleted:
        return ()
    if person.first_registration is None:
        return ("register",)
    if person.offline_since is not None:
        return ("go_online",)
    return ("late_hour", "restate_hour", "poison_hour", "go_offline")


def _missing_hour(world: World, participant_id: str) -> datetime:
    """The newest hour without GPS that is old enough to be late."""
    person = world.participant(participant_id)
    present = {file.bin for file in person.files.values() if file.stream == _STREAM}
    hour = (world.now - _LATEST).replace(minute=0, second=0, microsecond=0)
    oldest = max(world.now - _EARLIEST, person.first_registration or world.now)
    while hour >= oldest:
        if hour not in present:
            return hour
        hour -= _HOUR
    raise LookupError(f"{participant_id} has no hour without GPS since {_text(oldest)}")


def _stored_hour(world: World, participant_id: str) -> datetime:
    """The newest hour of GPS that is old enough to be restated, and was restated least often."""
    files = [file for file in world.participant(participant_id).files.values() if file.stream == _STREAM]
    old = [file for file in files if file.bin <= world.now - _LATEST]
    if not old:
        raise LookupError(f"{participant_id} has no hour of GPS that is a day old")
    return min(old, key=lambda file: (len(file.extra), -file.bin_ms)).bin


def _place(participant_id: str, hour: datetime) -> dict[str, Any]:
    return {"participant_id": participant_id, "stream": _STREAM, "hour": hour.isoformat()}


def _text(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
