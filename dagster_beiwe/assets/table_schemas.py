"""The columns of every table that this package makes."""

from __future__ import annotations

from collections.abc import Mapping

from dagster_beiwe.coverage.frame import STATES, STATUSES
from dagster_beiwe.coverage.frame import TYPES as COVERAGE_TYPES
from dagster_beiwe.forest.analyses import FOREST_COLUMNS, FOREST_TYPES
from dagster_beiwe.quality import DAY_TYPES
from dagster_beiwe.stream_tables.catalog import TABLES
from dagster_beiwe.studies.participant_history import TYPES as PARTICIPANT_TYPES

COLUMNS: Mapping[str, Mapping[str, str]] = {
    "studies": {
        "deployment": "Name of the server in this project",
        "study_id": "The study's id: 24 letters and digits",
        "name": "The study's name",
        "key": "The study's part of asset keys",
    },
    "roster": {"participant": "Participant id. The other columns are those of the server's participant table."},
    "settings": {
        "section": "data_stream, device_setting, survey, survey_version, intervention, intervention_date, or study",
        "name": "Name of the setting or stream, id of the survey or participant, or a number",
        "value": "The value as JSON",
    },
    "participant": {
        "kind": "roster, upload, heartbeat, app_version, device_status, or notification",
        "time": (
            "When it happened (UTC): an upload reached the server, the app reported that it runs, a version was first "
            "seen, a status was reported, or a notification was sent; empty for rows of the roster"
        ),
        "stream": "Of an upload: data stream",
        "survey_id": "Of an upload or a notification: survey",
        "opened": "Of an upload: when the phone began the file (UTC), by the phone's clock",
        "size_bytes": "Of an upload: plain size of the file",
        "app_version_code": "Version code of the app from then on",
        "app_version_name": "Version of the app from then on",
        "os_version": "Version of the operating system from then on, or in a status report",
        "scheduled": "Of a notification: when the survey is scheduled (UTC)",
        "confirmed": "Of a notification: when the app confirmed it (UTC); empty if it did not",
        "name": "Column of the roster, or kind of a notification's schedule; file name of an upload in an unknown form",
        "value": "The value in the roster, or the other fields of a status report or notification, as JSON",
    },
    "data_volume": {
        "participant": "Participant id",
        "day": "Calendar day in the zone that the server counted it in",
        "stream": "Data stream",
        "size_bytes": "Plain bytes of the day's files, as the server counts them; days without any have no row",
        "time_zone": "Abbreviation of that zone, such as EDT: the study's zone when the day was counted",
    },
    "interventions": {
        "participant": "Participant id",
        "survey_id": "Survey whose schedule uses the intervention",
        "intervention": "Name of the intervention. The roster has a column for each, even if no survey uses it.",
        "date": "Day of the intervention (YYYY-MM-DD); empty if it is not set",
    },
    "survey_history": {
        "survey_id": "Survey id, as in the folders of answers and timings; deleted surveys are included",
        "survey": "Name of the survey; empty if it was deleted, or if several have the same questions",
        "version": "Number of the version, starting at 1; the highest is the current version",
        "since": "When this version was made (UTC)",
        "question": "Position of the question in the survey, starting at 1",
        "question_id": "Id of the question, as in answers and timings",
        "question_type": "Type of the question",
        "question_text": "Text of the question",
        "settings": "The question's other fields, as JSON: answers, limits, when it is displayed",
    },
    "forest_tasks": {
        "participant": "Participant id. The other columns are those of the server's list of analysis runs.",
    },
    "forest_statistics": {
        "participant": "Participant id",
        "day": "Calendar day of the study",
        "time_zone": "Abbreviation of the zone in the server's row. The other columns are the results of the analyses "
        "that ran, under the server's names, such as jasmine_home_duration.",
    },
    "restatements": {
        "participant": "Participant id",
        "window": "Key of the window; before or after for out-of-range files",
        "stream": "Data stream",
        "survey_id": "Survey that answers, timings, and recordings belong to",
        "time": "Hour of the file, or moment of the recording (UTC)",
        "state": "present; deleted upstream, but kept in the lake; or removed: deleted from the lake, too",
        "size_bytes_before": "Plain size before the last restatement",
        "size_bytes": "Plain size now, or when the file was deleted upstream",
        "sha256_before": "SHA-256 of the plain content before the last restatement",
        "sha256": "SHA-256 of the plain content now, or when the file was deleted upstream",
        "restatements": "How often the content changed after it was first fetched",
        "times_deleted_upstream": "How often the file was found to be deleted upstream; it may have come back",
        "first_seen": "When the file was first fetched (UTC)",
        "fetched_at": "When this content was fetched (UTC)",
        "last_seen": "When the file was last found on the server (UTC)",
        "deleted_upstream_at": "When the file was found to be deleted upstream (UTC); empty if the server has it",
    },
    "coverage": {
        "participant": "Participant id",
        "day": "Calendar day in the study's time zone",
        "stream": "Data stream",
        "status": f"What the participant was on that day: {', '.join(STATUSES)}",
        "files": "Files in the lake that the server still had when it was last asked. Out-of-range files never count",
        "hours": "How many hours of the day have a file in the lake",
        "lake_bytes": "Plain size of these files",
        "server_bytes": "What the server counts; empty if it does not count",
        "expected_hours": "Hours expected from the study's settings; empty if nothing is expected",
        "waiting": "Files that were uploaded but not yet processed by the server; empty if unknown",
        "state": f"What arrived, compared with what was expected: {', '.join(STATES)} (not yet: the day is not over)",
    },
    "quality": {
        "participant": "Participant id",
        "day": "Day in the study's time zone",
        "stream": "Data stream",
        "files": "Files of the day",
        "rows": "Rows of the day",
        "valid_minutes": "Minutes of the day with at least one row",
        "valid_hours": "Hours of the day with at least one row",
        "expected_minutes": "Minutes with rows expected in that many hours; empty if nothing is expected",
        "expected_rows": "Rows expected in that many hours; empty if the settings name no frequency",
        "repeated_timestamps": "Rows with the same timestamp as an earlier row of the file",
        "disordered_timestamps": "Rows earlier than the row before",
        "contradicting_times": "Rows whose UTC time contradicts their timestamp, or whose timestamp is in seconds",
        "outside_hour": "Rows outside the hour of their file, or without a readable time",
        "dated_ahead": "Files dated after they were uploaded, or after they were first fetched",
        "dated_behind": "Files uploaded on days on which everything that the phone uploaded was more than a day old",
        "coordinates_out_of_range": "Rows with a location that is not on Earth, exactly at 0/0, or impossibly accurate",
        "answers_without_timings": "Answers to questions that are not among the timings of the survey",
        "submissions_without_answers": "Times at which a survey was submitted, without answers or recordings of it",
        "set_aside_rows": "Rows that could not be assigned to columns",
        "unreadable_files": "Files that are damaged, so that nothing is counted in them",
    },
    **FOREST_COLUMNS,
    **{table.asset: {column: text for column, (_, text) in table.columns.items()} for table in TABLES.values()},
}
"""{asset: {column: what it holds}}, in the order of the columns."""

ROSTER_COLUMNS: Mapping[str, str] = {
    "Created On": "Day on which the id was created, in the study's time zone",
    "Status": "How recently the server heard from the phone; whether there is none, or the participant is retired",
    "OS Type": "ANDROID or IOS; empty before a phone is registered",
    "First Registration Date": "When a phone was first registered",
    "Last Registration": "When a phone was last registered",
    "Last Timezone": "Time zone that the phone last reported",
    "Last Upload": "When the phone last uploaded a file",
    "Last Survey Download": "When the phone last downloaded the surveys",
    "Last Set Password": "When the participant's password was last set",
    "Last Push Token Update": "When the phone last registered for notifications",
    "Last Device Settings Update": "When the phone last downloaded the device settings",
    "Last OS Version": "Version of the phone's operating system",
    "App Version Code": "Version code of the Beiwe app",
    "App Version Name": "Version of the Beiwe app",
    "Last Heartbeat": "When the app last reported that it runs",
}
"""What the columns of the server's participant table hold. It also has one for each intervention and custom field."""

OTHER_ROSTER_COLUMNS = "Date of an intervention, or a custom field of the study"

_INTEGERS = frozenset(
    ("size_bytes", "size_bytes_before", "restatements", "times_deleted_upstream", "version", "question")
)
_MOMENT = "datetime64[ms, UTC]"
_MOMENTS = ("since", "time", "first_seen", "fetched_at", "last_seen", "deleted_upstream_at")
_TIMES: Mapping[str, str] = {"day": "datetime64[s]", **dict.fromkeys(_MOMENTS, _MOMENT)}
_OWN: Mapping[str, Mapping[str, str]] = {
    "coverage": COVERAGE_TYPES,
    "participant": PARTICIPANT_TYPES,
    "quality": DAY_TYPES,
    **FOREST_TYPES,
    **{table.asset: {column: kind for column, (kind, _) in table.columns.items()} for table in TABLES.values()},
}


def column_types(table: str) -> dict[str, str]:
    """The columns of a table of this package and their types, as pandas calls them: text unless something else."""
    own = _OWN.get(table, {})
    return {
        column: own.get(column, "Int64" if column in _INTEGERS else _TIMES.get(column, "string"))
        for column in COLUMNS[table]
    }
