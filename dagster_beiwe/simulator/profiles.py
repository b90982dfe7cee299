"""Generations of the server. A profile is a date: what was committed by then is what the server can do."""

from __future__ import annotations

import calendar
from dataclasses import dataclass
from datetime import date
from typing import Literal

CURRENT = "2026-03"
PROFILE_NAMES = ("2023-11", "2024-07", "2025-03", "2025-06", "2025-12", "2026-01-08", CURRENT)

RegistryRule = Literal["full-path-md5", "full-path-sha1", "short-path-sha1", "any-value-by-full-path"]


@dataclass(frozen=True)
class Profile:
    """A server as it was on a day. Dates are commit dates of the server's repository."""

    day: date

    @classmethod
    def named(cls, name: str) -> Profile:
        """``YYYY-MM`` is the end of that month, ``YYYY-MM-DD`` that day; any date will do."""
        parts = [int(part) for part in name.split("-")]
        if len(parts) == 2:
            parts.append(calendar.monthrange(parts[0], parts[1])[1])
        return cls(date(*parts))

    @property
    def registry_rule(self) -> RegistryRule:
        if self.day < date(2025, 12, 1):
            return "full-path-md5"
        if self.day < date(2026, 1, 8):
            return "full-path-sha1"
        return "short-path-sha1" if self.day < date(2026, 1, 16) else "any-value-by-full-path"

    @property
    def knows_participant_ids(self) -> bool:
        return self.day >= date(2025, 12, 16)

    @property
    def drops_colliding_names(self) -> bool:
        """The second file of a name was left out of the zip, though listed in its registry."""
        return self.day < date(2025, 4, 4)

    @property
    def stray_parenthesis(self) -> bool:
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
        """A request with a registry broke where a file had no SHA-1."""
        return date(2026, 1, 16) <= self.day <= date(2026, 1, 20)

    @property
    def settings_have_time_zone(self) -> bool:
        return self.day >= date(2025, 9, 18)

    @property
    def wide_participant_table(self) -> bool:
        return self.day >= date(2025, 1, 1)
