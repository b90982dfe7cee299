"""The participant table: one row per participant, times in the study's zone, in three formats."""

from __future__ import annotations

import csv
import io
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from dagster_beiwe.simulator.answers import Answer, json_answer
from dagster_beiwe.simulator.people import Participant, Study
from dagster_beiwe.simulator.profiles import Profile
from dagster_beiwe.simulator.world import World

_BAD_FORMAT = b"Invalid required data_format parameter, only 'csv' and 'json' supported"
_NARROW = ("Last Upload", "Last Survey Download", "Last Registration", "Last Set Password", "App Version Code")
_ACTIVITY = (
    (timedelta(minutes=5), "Active (just now)"),
    (timedelta(hours=1), "Active (last hour)"),
    (timedelta(days=1), "Active (past day)"),
    (timedelta(weeks=1), "Active (past week)"),
)


def participant_table(world: World, profile: Profile, study: Study, data_format: str | None) -> Answer:
    if data_format not in ("json", "json_table", "csv"):
        return Answer(status=400, body=_BAD_FORMAT)
    people = [study.participants[one] for one in sorted(study.participants) if not study.participants[one].deleted]
    zone = ZoneInfo(study.time_zone)
    rows = [_row(world, profile, study, person, zone) for person in people]
    columns = [name for name, _ in _row(world, profile, study, _nobody(study), zone)]
    if data_format == "csv":
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(columns)
        writer.writerows([_csv_cell(value) for _, value in row] for row in rows)
        return Answer(body=text.getvalue().encode(), content_type="text/csv")
    cells = [[(name, _json_cell(value)) for name, value in row] for row in rows]
    if data_format == "json_table":
        return json_answer([columns, *([value for _, value in row] for row in cells)])
    return json_answer([dict(row) for row in cells])


def _nobody(study: Study) -> Participant:
    """A participant for cases in which only the columns matter."""
    return Participant(id="", study_id=study.id, os="", created=study.created)


def _row(world: World, profile: Profile, study: Study, person: Participant, zone: ZoneInfo) -> list[tuple[str, Any]]:
    """Name and value of each column. Times are not text yet, and in the study's zone."""

    def local(moment: datetime | None) -> datetime | None:
        return moment.astimezone(zone) if moment else None

    registered = local(person.first_registration)
    uploaded = person.last_upload
    ios = person.os == "IOS"
    last = [
        ("First Registration Date", registered),
        ("Last Registration", registered),
        ("Last Timezone", person.zone if registered else None),
        ("Last Upload", local(uploaded)),
        ("Last Survey Download", local(uploaded)),
        ("Last Set Password", None),
        ("Last Push Token Update", None),
        ("Last Device Settings Update", None),
        ("Last OS Version", ("18.0" if ios else "15") if registered else None),
        ("App Version Code", ("2.5.2" if ios else "69") if registered else None),
        ("App Version Name", ("2024.28" if ios else "3.5.0") if registered else None),
        ("Last Heartbeat", local(person.last_heartbeat)),
    ]
    dates = [(name, person.interventions.get(name)) for name in sorted(study.interventions)]
    return [
        ("Created On", person.created.astimezone(zone).date().isoformat()),
        ("Patient ID", person.id),
        ("Status", _status(world, person)),
        ("OS Type", person.os),
        *((name, day.isoformat() if day else "") for name, day in dates),
        *((name, person.fields.get(name, "")) for name in study.fields),
        *(pair for pair in last if profile.wide_participant_table or pair[0] in _NARROW),
    ]


def _status(world: World, person: Participant) -> str:
    if person.retired:
        return "Permanently Retired"
    if person.first_registration is None:
        return "Not Registered"
    idle = world.now - (person.last_upload or person.first_registration)
    return next((words for limit, words in _ACTIVITY if idle <= limit), "Inactive")


def _json_cell(value: Any) -> Any:
    return value.isoformat(timespec="microseconds") if isinstance(value, datetime) else value


def _csv_cell(value: Any) -> str:
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S (%Z)")
    return "None" if value is None else str(value)
