"""The time zone of a study: the server counts bytes per calendar day of it.

Servers since September 2025 report it with the settings. For older ones, the zones of the phones are the best guess.
Each counted day names the abbreviation of the zone it was counted in; see ``dagster_beiwe.sync.day_zones``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import tzinfo
from typing import Literal, cast, get_args
from zoneinfo import ZoneInfo

from dagster_beiwe.client import BeiweClient
from dagster_beiwe.errors import ConfigurationError, RouteMissingError, ServerFailedError

Source = Literal["configuration", "server", "phones", "unknown"]
_SOURCES: tuple[str, ...] = get_args(Source)

PHONES_COLUMN = "Last Timezone"
_MOST_FORMER = 5


@dataclass(frozen=True, kw_only=True)
class StudyZone:
    """The zone's IANA name, and where it comes from. ``unknown`` is UTC, if nothing better is known.

    ``former`` are zones that the study had before, newest first: days that were counted in them stay as they are.
    """

    name: str
    source: Source
    former: tuple[str, ...] = ()

    @classmethod
    def from_texts(cls, name: str, source: str, former: Iterable[str] = ()) -> StudyZone | None:
        """A zone that was stored as text; None if it is no zone."""
        if source not in _SOURCES or not is_time_zone(name):
            return None
        return cls(name=name, source=cast("Source", source)).after(former)

    def after(self, former: Iterable[str]) -> StudyZone:
        """The same, with zones that the study had before. Only a few are kept: studies rarely move."""
        names = dict.fromkeys((*self.former, *former))
        kept = [name for name in names if name != self.name and is_time_zone(name)]
        return replace(self, former=tuple(kept[:_MOST_FORMER]))

    @property
    def known(self) -> tuple[str, ...]:
        """What to remember: zones that the study certainly had."""
        return ((self.name,) if self.certain else ()) + self.former

    @property
    def zone(self) -> tzinfo:
        return ZoneInfo(self.name)

    @property
    def former_zones(self) -> tuple[tzinfo, ...]:
        return tuple(ZoneInfo(name) for name in self.former)

    @property
    def certain(self) -> bool:
        return self.source in ("configuration", "server")


def check_time_zone(name: str) -> str:
    """``name`` if it is a time zone; raises ``ConfigurationError`` otherwise."""
    if not is_time_zone(name):
        raise ConfigurationError(
            f"`time_zone` is {name[:40]!r}, which is not a time zone. Nothing was built. Write one like "
            "America/New_York or Asia/Kolkata in the study's configuration, or leave it out: the server reports it."
        )
    return name


def ask_time_zone(client: BeiweClient, study_id: str) -> StudyZone:
    """Ask the server: one request, or two if it is older than September 2025. Raises ``ServerError``."""
    try:
        reported = client.settings(study_id).get("study_time_zone")
    except RouteMissingError:
        reported = None
    if isinstance(reported, str) and is_time_zone(reported):
        return StudyZone(name=reported, source="server")
    return zone_of_phones(client, study_id)


def zone_of_phones(client: BeiweClient, study_id: str) -> StudyZone:
    """The zone that most phones were last in; UTC if none is known."""
    try:
        names = [row.get(PHONES_COLUMN) for row in client.participant_table(study_id)]
    except (RouteMissingError, ServerFailedError):
        names = []
    counts = Counter(name for name in names if isinstance(name, str) and is_time_zone(name))
    if not counts:
        return StudyZone(name="UTC", source="unknown")
    most = max(counts.values())
    return StudyZone(name=min(name for name, count in counts.items() if count == most), source="phones")


def is_time_zone(name: str) -> bool:
    """Whether a text is the IANA name of a time zone that this machine knows."""
    if not name:
        return False
    try:
        ZoneInfo(name)
    except (ValueError, OSError, KeyError):  # ZoneInfoNotFoundError is a KeyError
        return False
    return True
