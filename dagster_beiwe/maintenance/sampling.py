"""Choose the part of a lake that is read on a day."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import datetime, timezone


def sample_of_today(share: float) -> Callable[[str], bool]:
    """Whether a path is in today's sample, which has this share of all paths.

    Each day has a different sample, so that a small share covers everything over time.
    """
    if share >= 1:
        return lambda _: True
    day = datetime.now(timezone.utc).strftime("%Y-%m-%d")

    def is_chosen(path: str) -> bool:
        number = int.from_bytes(hashlib.sha256(f"{day} {path}".encode()).digest()[:4], "big")
        return number < share * 2**32

    return is_chosen
