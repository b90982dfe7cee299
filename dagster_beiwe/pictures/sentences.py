"""What a coordinator wants to know first, in a sentence."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from dagster_beiwe.coverage import SilenceLimits, SilentParticipant
from dagster_beiwe.coverage.frame import enrolled_now
from dagster_beiwe.text import counted


def silence_in_words(coverage: pd.DataFrame, silent: Sequence[SilentParticipant], limits: SilenceLimits) -> str:
    """How many of those who are enrolled are silent, as in "12 of 211 silent for 3 days or more"."""
    how_many = f"{len(silent):,} of {len(enrolled_now(coverage)):,} silent for {counted(limits.days, 'day')} or more"
    quiet = sum(each.everything for each in silent)
    if quiet == len(silent):
        return f"{how_many}." if not silent else f"{how_many}, in all streams."
    return f"{how_many}, {quiet:,} of them in all streams." if quiet else f"{how_many}, in some streams only."
