"""The time zone of a study: the server counts bytes per calendar day of it.

Servers since September 2025 tell it with the settings. Before, the phones' zones are the best that can be known; a
wrong guess moves the borders of days by some hours, so that `complete` sees differences where there are none.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import tzinfo
from typing import Literal, cast, get_args
from zoneinfo import ZoneInfo

from dagster_beiwe.client import BeiweClient
from dagster_beiwe.errors import ConfigurationError, RouteMissingError, ServerFailedError

Source = Literal["configuration", "server", "phones", "unknown"]
_SOURCES: tuple[str, ...] = get_args(Source)

PHONES_COLUMN = "Last Timezone"


@dataclass(frozen=True, kw_only=True)
class StudyZone:
    """The zone's IANA name, and who said so. ``unknown`` is UTC for want of anything better."""

    name: str
    source: Source

    @classmethod
    def from_texts(cls, name: str, source: str) -> StudyZone | None:
        """What was once stored as text, if it is a zone."""
        return cls(name=name, source=cast("Source", source)) if source in _SOURCES and _is_zone(name) else None

    @property
    def zone(self) -> tzinfo:
        return ZoneInfo(self.name)

    @property
    def certain(self) -> bool:
        return self.source in ("configuration", "server")


def check_time_zone(name: str) -> str:
    """``name`` if it is a time zone; raises ``ConfigurationError`` otherwise."""
    if not _is_zone(name):
        raise ConfigurationError(
            f"Expected `time_zone` like America/New_York or Asia/Kolkata, got {name[:40]!r}; nothing was built. "
            "Correct it in the study's configuration, or leave it out: the server tells it."
        )
    return name


def ask_time_zone(client: BeiweClient, study_id: str) -> StudyZone:
    """What the server tells: one request, two where it is older than September 2025. Raises ``ServerError``."""
    try:
        told = client.settings(study_id).get("study_time_zone")
    except RouteMissingError:
        told = None
    if isinstance(told, str) and _is_zone(told):
        return StudyZone(name=told, source="server")
    return zone_of_phones(client, study_id)


def zone_of_phones(client: BeiweClient, study_id: str) -> StudyZone:
    """The zone that most phones were last in; UTC where nothing tells."""
    try:
        names = [row.get(PHONES_COLUMN) for row in client.participant_table(study_id)]
    except (RouteMissingError, ServerFailedError):
        names = []
    counts = Counter(name for name in names if isinstance(name, str) and _is_zone(name))
    if not counts:
        return StudyZone(name="UTC", source="unknown")
    most = max(counts.values())
    return StudyZone(name=min(name for name, count in counts.items() if count == most), source="phones")


def _is_zone(name: str) -> bool:
    if not name:
        return False
    try:
        ZoneInfo(name)
    except (ValueError, OSError, KeyError):  # ZoneInfoNotFoundError is a KeyError
        return False
    return True
