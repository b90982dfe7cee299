"""When a participant took part, from the server's participant table: the roster's rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timezone
from typing import Any

from dagster_beiwe.coverage.frame import Status

_RETIRED, _NOT_REGISTERED = "Permanently Retired", "Not Registered"


@dataclass(frozen=True, kw_only=True)
class Enrollment:
    """What the roster says of a participant. Days are study-local, times are UTC; None if the server does not report
    them.

    ``status`` is that of now. Participants without a row on the server are ``withdrawn``. ``system`` is ``android`` or
    ``ios``, and empty before a phone is registered.
    """

    participant: str
    status: Status = "enrolled"
    created: date | None = None
    registered: date | None = None
    system: str = ""
    last_upload: datetime | None = None
    last_heartbeat: datetime | None = None

    @property
    def last_contact(self) -> datetime | None:
        """When the server last heard from the phone."""
        return max(filter(None, (self.last_upload, self.last_heartbeat)), default=None)


def enrollments(roster: Iterable[Mapping[Any, Any]]) -> dict[str, Enrollment]:
    """{participant: enrollment} from the rows of ``beiwe/<key>/roster``.

    Without the server's participant table, everybody counts as enrolled.
    """
    rows = [{str(name): value for name, value in row.items() if isinstance(value, str) and value} for row in roster]
    has_table = any(len(row) > 1 for row in rows)
    return {row["participant"]: _enrollment(row, has_table=has_table) for row in rows}


def _enrollment(row: Mapping[str, str], *, has_table: bool) -> Enrollment:
    return Enrollment(
        participant=row["participant"],
        status=_status(row, has_table=has_table),
        created=_day(row.get("Created On")),
        registered=_day(row.get("First Registration Date")),
        system=row.get("OS Type", "").lower(),
        last_upload=_moment(row.get("Last Upload")),
        last_heartbeat=_moment(row.get("Last Heartbeat")),
    )


def _status(row: Mapping[str, str], *, has_table: bool) -> Status:
    if has_table and len(row) == 1:
        return "withdrawn"
    if row.get("Status") == _RETIRED:
        return "retired"
    return "not enrolled yet" if row.get("Status") == _NOT_REGISTERED else "enrolled"


def _day(text: str | None) -> date | None:
    """A date, or that of a time, which is in the study's zone. A custom field of that name may hold anything."""
    try:
        return date.fromisoformat(text[:10]) if text else None
    except ValueError:
        return None


def _moment(text: str | None) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text) if text else None
    except ValueError:
        return None
    return moment.astimezone(timezone.utc) if moment and moment.tzinfo else None
