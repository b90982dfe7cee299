"""JSON that a server of Beiwe would never send, per endpoint: each body is refused as a whole.

All of it is well-formed enough to be parsed, and would have failed somewhere later: when it is written, counted, or
turned into a day.
"""

from __future__ import annotations

_HALF = r"\ud800"
_STUDY = "FaultFaultFaultFaultFaul"

HOSTILE_BODIES: tuple[tuple[str, str, str], ...] = (
    ("get-studies", "half a character in a name", f'{{"{_STUDY}": "Faults {_HALF}"}}'),
    ("get-studies", "half a character as an id", f'{{"{_HALF}": "Faults"}}'),
    ("get-users", "half a character in an id", f'["p1person{_HALF}"]'),
    ("get-participant-ids", "half a character in an id", f'["p1person{_HALF}"]'),
    ("get-study-settings", "an array as device settings", '{"device_settings": [1]}'),
    ("get-study-settings", "a number as surveys", '{"surveys": 5}'),
    ("get-study-settings", "a number as interventions", '{"interventions": 5}'),
    ("get-study-settings", "half a character in a text", f'{{"device_settings": {{"about": "{_HALF}"}}}}'),
    ("get-study-settings", "no number", '{"device_settings": {"gps_on_duration_seconds": NaN}}'),
    ("get-study-settings", "nested a hundred deep", '{"surveys": ' + "[" * 100 + "]" * 100 + "}"),
    ("get-interventions", "half a character in a name", f'{{"p1person": {{"s": {{"{_HALF}": null}}}}}}'),
    ("get-survey-history", "half a character in a question", f'{{"s": [{{"survey_json": ["{_HALF}"]}}]}}'),
    ("get-participant-data-quantities", "a count beyond all", '{"p1person": {"gps_bytes": 1%s}}' % ("0" * 30)),
    ("get-participant-table-data", "created in the year 1", '[{"Patient ID": "p1person", "Created On": "0001-01-01"}]'),
    ("get-participant-table-data", "created in 9999", '[{"Patient ID": "p1person", "Created On": "9999-12-31"}]'),
    ("get-participant-table-data", "half a character in a field", f'[{{"Patient ID": "p1person", "Note": "{_HALF}"}}]'),
    ("get-participant-table-data", "half a character as a column", f'[{{"Patient ID": "p1person", "{_HALF}": 1}}]'),
    ("get-summary-statistics", "the calendar's last day", '[{"participant_id": "p1person", "date": "9999-12-31"}]'),
    ("get-summary-statistics", "the calendar's first day", '[{"participant_id": "p1person", "date": "0001-01-01"}]'),
    (
        "get-summary-statistics",
        "a count beyond all",
        '[{"participant_id": "p1person", "date": "2026-03-05", "beiwe_gps_bytes": 1%s}]' % ("0" * 30),
    ),
    (
        "get-participant-upload-history",
        "half a character in a name",
        f'[{{"file_name": "{_HALF}", "file_size": 1, "timestamp": "2026-03-05T00:00:00Z"}}]',
    ),
    (
        "get-participant-upload-history",
        "a time at the end of the calendar",
        '[{"file_name": "gps/1.csv", "file_size": 1, "timestamp": "9999-12-31T23:59:59-12:00"}]',
    ),
    (
        "get-participant-heartbeat-history",
        "a time at the beginning of the calendar",
        '[{"timestamp": "0001-01-01T00:00:00+14:00"}]',
    ),
    (
        "get-participant-version-history",
        "a time at the end of the calendar",
        '[{"created_on": "9999-12-31T23:59:59-12:00"}]',
    ),
    (
        "get-participant-version-history",
        "half a character in a version",
        f'[{{"created_on": "2026-03-05T00:00:00Z", "os_version": "{_HALF}"}}]',
    ),
    ("get-participant-device-status-history", "half a character in a text", f'[{{"device_status": "{_HALF}"}}]'),
    ("get-participant-notification-history", "half a character in a text", f'{{"s": ["{_HALF}"]}}'),
    ("get-participant-file-hashes", "half a character in a name", f'{{"{_HALF}": ""}}'),
    ("website settings page", "an array as device settings", '{"device_settings": [1]}'),
)
"""Endpoint, what is wrong, and the body."""

EMPTY_OBJECTS = "[" + ",".join(["{}"] * 600_000) + "]"
"""It would take 24 times its size in memory."""
