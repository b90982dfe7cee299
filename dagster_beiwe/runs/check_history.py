"""What checks found earlier: their results in Dagster's history."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import takewhile
from typing import Any, Final, NamedTuple

import dagster as dg

from dagster_beiwe.notices.problems import Found

FAILING_METADATA: Final = "failing participants"
"""Metadata of a failed check: the participants that it is about, {id: "WARN" or "ERROR"}. Notices report each of them
once."""

_PAGE = 10
_LATE_SECONDS = 3600
_MOMENT_SECONDS = 0.001


class Recorded(NamedTuple):
    """A result, and when it was recorded, as a Unix time in seconds."""

    at: float
    evaluation: dg.AssetCheckEvaluation


def recorded_results(instance: dg.DagsterInstance, check: dg.AssetCheckKey, *, page: int = _PAGE) -> Iterator[Recorded]:
    """The results of a check, by when their runs began, newest first; read in pages. Without those of single
    partitions."""
    cursor: int | None = None
    while True:
        records = instance.event_log_storage.get_asset_check_execution_history(check, limit=page, cursor=cursor)
        for record in records:
            # The newest record may be that of a run at work, which is only planned.
            evaluation = record.evaluation
            if record.event and isinstance(evaluation, dg.AssetCheckEvaluation) and evaluation.partition is None:
                yield Recorded(record.event.timestamp, evaluation)
        if len(records) < page:
            return
        cursor = records[-1].id


def results_since(instance: dg.DagsterInstance, check: dg.AssetCheckKey, at: float) -> list[Recorded]:
    """The results of a check that were recorded after a Unix time in seconds, oldest first.

    Of two runs, the one that began first may end last, so that results of the hour before are looked through, too.
    """
    recent = takewhile(lambda result: result.at > at - _LATE_SECONDS, recorded_results(instance, check))
    return sorted((result for result in recent if result.at > at), key=lambda result: result.at)


def before_newest(instance: dg.DagsterInstance, check: dg.AssetCheckKey) -> float:
    """A Unix time in seconds after which a check has one result, its newest; 0 if it has none yet."""
    newest = next(recorded_results(instance, check), None)
    return newest.at - _MOMENT_SECONDS if newest else 0.0


def failing_metadata(participants: Found) -> dict[str, Any]:
    """Whom a failed check is about, as its metadata; empty if it is about nobody."""
    return {FAILING_METADATA: dg.MetadataValue.json(dict(participants))} if participants else {}


def failing_participants(evaluation: dg.AssetCheckEvaluation) -> Found:
    """Whom a failed check is about. A list of ids has the check's severity."""
    value = getattr(evaluation.metadata.get(FAILING_METADATA), "value", None)
    if isinstance(value, list):
        value = dict.fromkeys(value, evaluation.severity.value)
    if not isinstance(value, dict):
        return {}
    return {str(who): "ERROR" if severity == "ERROR" else "WARN" for who, severity in value.items()}
