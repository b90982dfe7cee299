"""Generations of the server. A profile is a date and a list of streams: what was committed by then is what the server
can do, and a branch or fork may have other streams than the main line."""

from __future__ import annotations

import calendar
from dataclasses import dataclass
from datetime import date
from typing import Literal

from dagster_beiwe.streams import STREAM_NAMES

CURRENT = "2026-03"
PROFILE_NAMES = (
    "2023-11",
    "2024-07",
    "2025-03",
    "2025-06",
    "2025-12",
    "2026-01-08",
    CURRENT,
    "ai_chat_logs",
    "2026-08",
    "image_survey",
)

RegistryRule = Literal["full-path-md5", "full-path-sha1", "short-path-sha1", "any-value-by-full-path"]

_STAGED_UPDATES = date(2026, 5, 5)
_AMBIENT_AUDIO_REMOVED = date(2026, 7, 31)


@dataclass(frozen=True)
class Profile:
    """A server as it was on a day. Dates are commit dates of the server's repository.

    A branch or fork has ``own_streams``, and ``lacks`` streams of the main line. ``still_counted`` streams are counted
    although get-data lacks them, because code and tables are not always updated together.
    """

    day: date
    own_streams: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()
    still_counted: tuple[str, ...] = ()

    @classmethod
    def named(cls, name: str) -> Profile:
        """The profile of a day (``YYYY-MM-DD``), of the end of a month (``YYYY-MM``), or of a branch, by its stream."""
        if name in _BRANCHES:
            return _BRANCHES[name]
        parts = [int(part) for part in name.split("-")]
        if len(parts) == 2:
            parts.append(calendar.monthrange(parts[0], parts[1])[1])
        return cls(date(*parts))

    @property
    def streams(self) -> tuple[str, ...]:
        """Every stream that get-data accepts, sorted."""
        removed = {*self.lacks, *(["ambient_audio"] if self.day >= _AMBIENT_AUDIO_REMOVED else [])}
        return tuple(sorted({*STREAM_NAMES, *self.own_streams} - removed))

    @property
    def registry_rule(self) -> RegistryRule:
        if self.day < date(2025, 12, 1):
            return "full-path-md5"
        if self.day < date(2026, 1, 8):
            return "full-path-sha1"
        return "short-path-sha1" if self.day < date(2026, 1, 16) else "any-value-by-full-path"

    @property
    def counted_streams(self) -> tuple[str, ...]:
        """Every stream that has totals and a field of the daily statistics, sorted."""
        return tuple(sorted({*self.streams, *self.still_counted}))

    @property
    def csv_for_all(self) -> bool:
        """Members of any stream but recordings and surveys end in ``.csv``, whatever they hold."""
        return self.day >= _STAGED_UPDATES

    def keeps_md5_of(self, arrived: date) -> bool:
        """Whether the server has the MD5 of an unchunked file that arrived then. Otherwise its hash is empty."""
        return self.day >= _STAGED_UPDATES and arrived >= _STAGED_UPDATES

    @property
    def former_analyses(self) -> bool:
        """The daily statistics had six columns of surveys, and lacked five of the others."""
        return self.day < _AMBIENT_AUDIO_REMOVED

    @property
    def knows_participant_ids(self) -> bool:
        return self.day >= date(2025, 12, 16)

    @property
    def drops_colliding_names(self) -> bool:
        """The registry listed the second file of a name, but the zip left it out."""
        return self.day < date(2025, 4, 4)

    @property
    def extra_parenthesis(self) -> bool:
        """Names of plain streams ended in ``.csv)`` for a month."""
        return date(2025, 1, 27) <= self.day <= date(2025, 2, 26)

    @property
    def missing_object_aborts(self) -> bool:
        return self.day < date(2025, 10, 1)

    @property
    def keeps_sha1(self) -> bool:
        return self.day >= date(2025, 3, 1)

    @property
    def registry_needs_sha1(self) -> bool:
        """A request with a registry failed if a file had no SHA-1."""
        return date(2026, 1, 16) <= self.day <= date(2026, 1, 20)

    @property
    def settings_have_time_zone(self) -> bool:
        return self.day >= date(2025, 9, 18)

    @property
    def wide_participant_table(self) -> bool:
        return self.day >= date(2025, 1, 1)


_BRANCHES = {
    "ai_chat_logs": Profile(date(2026, 4, 30), own_streams=("ai_chat_logs",), lacks=("ambient_audio",)),
    "image_survey": Profile(date(2026, 3, 31), own_streams=("image_survey", "omniring")),
}
"""Branches in use and forks of the official server."""
