"""Whose ``participant`` partition is fetched again, and when. Pure.

It takes five requests, and a year of uploads is some 10 MB. So a phone that keeps sending is asked rarely. One that
falls silent is asked once more, because then somebody will want to know what it last reported.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from datetime import datetime, timedelta

from dagster_beiwe.partitions.fetched import Fetched
from dagster_beiwe.retries import PARTICIPANT_REQUESTED_AGAIN_SECONDS

_SILENT = timedelta(days=2)


def due_participants(
    known: Mapping[str, Fetched | None], fetched: Mapping[str, Fetched], requested: Container[str], *, days: float
) -> list[str]:
    """The participants to fetch, by what is ``known`` of them now and what was ``fetched``.

    Somebody who was never fetched is due. If nothing is known, because the server has no participant table, nobody else
    is. Those who were ``requested`` lately are left out. With ``days=0``, nobody is ever due.
    """
    period = timedelta(days=days)
    return [
        participant
        for participant, now in known.items()
        if days
        and participant not in requested
        and ((before := fetched.get(participant)) is None or (now is not None and is_due(now, before, period=period)))
    ]


def is_due(now: Fetched, before: Fetched, *, period: timedelta) -> bool:
    """Whether somebody is fetched again.

    Everybody whose lasting facts changed is due, for instance after a registration or a retirement. Whoever uploaded
    something since is due after a ``period``, or once there was no further upload for two days.
    """
    if before.version != now.version:
        return True
    if now.last_upload is None or now.last_upload == before.last_upload:
        return False
    return now.at - now.last_upload >= _SILENT or now.at - before.at >= period


def still_requested(
    requested: Mapping[str, float], fetched: Mapping[str, Fetched], *, now: datetime
) -> dict[str, float]:
    """Of the requested participants, with Unix times, those whose run may still record them.

    Those of the future, from before a clock was set back, are left out: otherwise nobody would be requested until then.
    """
    until = now.timestamp()
    since = until - PARTICIPANT_REQUESTED_AGAIN_SECONDS
    recorded = {participant: each.at.timestamp() for participant, each in fetched.items()}
    return {who: at for who, at in requested.items() if max(since, recorded.get(who, 0.0)) <= at <= until}
