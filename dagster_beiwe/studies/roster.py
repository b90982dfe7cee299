"""The roster of a study: who takes part, in order of enrollment, and which changes count."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]

PARTICIPANT_COLUMN = "Patient ID"
"""The server's word in its participant table. The roster's own column is ``participant``."""

STATUS_COLUMN, RETIRED = "Status", "Permanently Retired"
"""The one lasting value of a column that otherwise says how long ago a phone reported."""

FLEETING_COLUMNS = frozenset(
    {
        STATUS_COLUMN,
        "Last Registration",
        "Last Timezone",
        "Last Upload",
        "Last Survey Download",
        "Last Set Password",
        "Last Push Token Update",
        "Last Device Settings Update",
        "Last OS Version",
        "App Version Code",
        "App Version Name",
        "Last Heartbeat",
    }
)
"""Columns that change from minute to minute while a phone is in use; not part of the roster's data version."""


def roster_rows(participants: Iterable[str], table: Iterable[Row]) -> list[dict[str, str | None]]:
    """One row per participant id, sorted by enrollment, joined with the server's table where it has the id.

    Values are text as the server sent them. Ids without a row (flagged as deleted, or a server without the table) have
    nothing but their id, and come last. Interventions and custom fields are among the columns under their free names;
    one called ``participant`` becomes ``participant (server)``, so that it does not hide the ids.
    """
    rows = {str(row.get(PARTICIPANT_COLUMN)): row for row in table}
    columns = list(dict.fromkeys(name for row in rows.values() for name in row if name != PARTICIPANT_COLUMN))
    joined: list[dict[str, str | None]] = []
    for participant in enrollment_order(participants, rows.values()):
        row = rows.get(participant, {})
        joined.append({"participant": participant, **{_column(name): _text(row.get(name)) for name in columns}})
    return joined


def ids_in_table(table: Sequence[Row]) -> list[str] | None:
    """The ids in the server's table; None if it has rows but no column of ids."""
    if table and not any(PARTICIPANT_COLUMN in row for row in table):
        return None
    return [str(row.get(PARTICIPANT_COLUMN)) for row in table]


def table_in_roster(roster: Iterable[Mapping[Any, Any]]) -> list[dict[str, Any]]:
    """The server's table as a roster has it: the rows with more than an id."""
    rows = [{str(name): value if isinstance(value, str) else None for name, value in row.items()} for row in roster]
    filled = [row for row in rows if sum(value is not None for value in row.values()) > 1]
    return [{PARTICIPANT_COLUMN: row.pop("participant"), **row} for row in filled]


def _column(name: str) -> str:
    return "participant (server)" if name == "participant" else name


def enrollment_order(participants: Iterable[str], table: Iterable[Row]) -> list[str]:
    """The ids in the order in which they were created and registered, so that runs over neighbors are compact."""
    rows = {str(row.get(PARTICIPANT_COLUMN)): row for row in table}

    def moment(participant: str) -> tuple[str, str, str]:
        row = rows.get(participant, {})
        last = "9999"
        return (
            str(row.get("Created On") or last),
            str(row.get("First Registration Date") or last),
            participant,
        )

    return sorted(set(participants), key=moment)


def roster_version(rows: Sequence[Row]) -> str:
    """A hash that changes when somebody joins or leaves, or a lasting property changes."""
    lasting = [{name: value for name, value in row.items() if name not in FLEETING_COLUMNS} for row in rows]
    return content_hash(sorted(lasting, key=lambda row: str(row["participant"])))


def person_version(row: Row) -> str:
    """A hash of one person's lasting properties, among them that somebody was retired."""
    return roster_version([{**row, "Status (retired)": row.get(STATUS_COLUMN) == RETIRED}])


def content_hash(value: Any) -> str:
    """A short hash of a JSON value, the same for any order of its keys."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _text(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)
