"""Who is silent, in plain text that can be pasted into an email. Times are those of the study's zone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from zoneinfo import ZoneInfo

from dagster_beiwe.coverage.silence import SilentParticipant
from dagster_beiwe.text import counted

UNKNOWN = "unknown"


def silence_lines(silent: Iterable[SilentParticipant], time_zone: str) -> Iterator[str]:
    """One line per participant, the longest silent first."""
    for each in silent:
        last = each.last_data.isoformat() if each.last_data else "never"
        waiting = f" {counted(each.waiting, 'uploaded file')} not yet processed by the server." if each.waiting else ""
        yield (
            f"{each.participant}: {each.what} silent for {counted(each.days_silent, 'day')}. Last data {last}, last "
            f"upload {local_time(each.last_upload, time_zone)}, last heartbeat "
            f"{local_time(each.last_heartbeat, time_zone)}.{waiting}"
        )


def local_time(moment: datetime | None, time_zone: str) -> str:
    """A moment to the minute; ``UNKNOWN`` if the server does not report it."""
    return moment.astimezone(ZoneInfo(time_zone)).strftime("%Y-%m-%d %H:%M") if moment else UNKNOWN
