"""What Dagster remembers of the lake: heads of logs, in the metadata of materializations and of the check ``intact``.

If a lake's newest records are removed, or the whole lake is rolled back to an earlier backup, the lake alone cannot
tell. Dagster's history can: each run that uses a study, and ``intact``, checks that the log still has the heads that
Dagster has seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, TypeAlias

import dagster as dg

from dagster_beiwe.lake import StudyLake
from dagster_beiwe.lake.catalog.opening import Seen
from dagster_beiwe.runs.check_history import recorded_results
from dagster_beiwe.studies.study import Study

Metadata: TypeAlias = Mapping[str, dg.MetadataValue[Any]]

HEAD_METADATA = "log_head"
"""Metadata: number and hash of the newest record of a study's log, and which log that is (its folder and lineage)."""

INTACT = "intact"

_EVENTS = 20
_CHECKS = 50


def head_metadata(lake: StudyLake) -> Metadata:
    """The current head of a study's log as metadata; empty if the study has no log."""
    return seen_metadata(lake.log.seen())


def seen_metadata(seen: Seen | None) -> Metadata:
    """A head as metadata."""
    if seen is None:
        return {}
    return {HEAD_METADATA: dg.MetadataValue.text(f"{seen.number} {seen.digest} {seen.folder} {seen.lineage}")}


def seen_in(metadata: Metadata) -> Seen | None:
    """The head in metadata, if there is one."""
    value = metadata.get(HEAD_METADATA)
    parts = value.value.split(" ") if isinstance(value, dg.TextMetadataValue) and value.value else []
    if len(parts) != 4 or not parts[0].isdecimal():
        return None
    number, digest, folder, lineage = parts
    return Seen(folder, int(number), digest, lineage)


def remembered_heads(instance: dg.DagsterInstance, study: Study) -> list[Seen]:
    """The newest heads of a study's log that Dagster has seen, in materializations and in results of the check."""
    return _heads(
        _in_materializations(instance, study.asset_key("raw_data")), _in_checks(instance, study.asset_key("coverage"))
    )


def all_remembered_heads(instance: dg.DagsterInstance) -> list[Seen]:
    """The newest heads of every log that Dagster has seen, whatever key a translator gave the assets."""
    sources = (
        find(instance, key)
        for key in sorted(instance.all_asset_keys(), key=str)
        for find in (_in_materializations, _in_checks)
    )
    return _heads(*sources)


def _heads(*sources: Iterable[Seen | None]) -> list[Seen]:
    return [seen for source in sources if (seen := _newest(source)) is not None]


def _in_materializations(instance: dg.DagsterInstance, key: dg.AssetKey) -> Iterator[Seen | None]:
    for event in instance.fetch_materializations(key, limit=_EVENTS).records:
        yield seen_in(event.asset_materialization.metadata) if event.asset_materialization else None


def _in_checks(instance: dg.DagsterInstance, key: dg.AssetKey) -> Iterator[Seen | None]:
    results = recorded_results(instance, dg.AssetCheckKey(key, INTACT), page=_CHECKS)
    return (seen_in(result.evaluation.metadata) for result in islice(results, _CHECKS))


def _newest(heads: Iterable[Seen | None]) -> Seen | None:
    """The head with the highest number, of the log that was seen last: ``rekey`` may have replaced an earlier one."""
    seen = list(filter(None, heads))
    return max((each for each in seen if each.lineage == seen[0].lineage), key=lambda each: each.number, default=None)
