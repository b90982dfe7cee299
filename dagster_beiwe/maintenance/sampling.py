"""Choose the part of a lake that is read on a day."""

from __future__ import annotations

import hashlib
from datetime import datetime, timezone
from typing import NamedTuple


class Sample(NamedTuple):
    """A share of all paths. Each day has a different one, so that a small share covers everything over time."""

    share: float
    day: str

    @classmethod
    def of_today(cls, share: float) -> Sample:
        return cls(share, datetime.now(timezone.utc).strftime("%Y-%m-%d"))

    def has(self, path: str) -> bool:
        """Whether a path is in the sample."""
        if self.share >= 1:
            return True
        number = int.from_bytes(hashlib.sha256(f"{self.day} {path}".encode()).digest()[:4], "big")
        return number < self.share * 2**32
