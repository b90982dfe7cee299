"""A run's traffic, in tags that it sets on itself: one for people and two for the audit's budget."""

from __future__ import annotations

from collections.abc import Mapping

from dagster_beiwe.runs.dagster_private import HIDDEN_TAG_PREFIX
from dagster_beiwe.sync.audit import Taken
from dagster_beiwe.text import counted, human_size

_TRAFFIC = "traffic"
_REQUESTS, _BYTES = f"{HIDDEN_TAG_PREFIX}beiwe_requests", f"{HIDDEN_TAG_PREFIX}beiwe_bytes"


def traffic_tags(taken: Taken) -> Mapping[str, str]:
    """The tags of a run that took this."""
    return {
        _TRAFFIC: f"{counted(taken.requests, 'request')}, {human_size(taken.size_bytes)}",
        _REQUESTS: str(taken.requests),
        _BYTES: str(taken.size_bytes),
    }


def traffic_of(tags: Mapping[str, str]) -> Taken:
    """What the run with these tags took; nothing if it has said nothing."""
    return Taken(requests=int(tags.get(_REQUESTS, 0)), size_bytes=int(tags.get(_BYTES, 0)))
