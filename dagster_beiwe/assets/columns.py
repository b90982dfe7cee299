"""The columns of every table that this package makes."""

from __future__ import annotations

from collections.abc import Mapping

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
    "restatements": {
        "participant": "Participant id",
        "window": "Key of the window; before or after for out-of-range files",
        "stream": "Data stream",
        "survey_id": "Survey that answers, timings, and recordings belong to",
        "time": "Hour of the file, or moment of the recording (UTC)",
        "state": "present; deleted upstream, though kept in the lake; or removed, which is deleted from the lake too",
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
        "stream": "Data stream",
        "files": "Files in the lake that the server still had when it was last asked",
        "size_bytes": "Their plain size",
        "stored_bytes": "Their size in the lake",
        "first": "Hour of the first file, or moment of the first recording (UTC)",
        "last": "Hour of the last file, or moment of the last recording (UTC)",
    },
}
"""{asset: {column: what it holds}}, in the order of the columns."""

INTEGERS = frozenset(
    ("files", "size_bytes", "stored_bytes", "size_bytes_before", "restatements", "times_deleted_upstream")
)
"""Columns of integers; all others hold text."""


def column_type(column: str) -> str:
    """The type of a column in a table of this package, as pandas calls it."""
    return "Int64" if column in INTEGERS else "string"
