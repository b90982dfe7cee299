"""What Dagster remembers of the lake: heads of logs, in the metadata of materializations and of the check ``intact``.

Nothing in a lake can show that its newest records were cut off, or that all of it was put back. Dagster's history can:
whoever writes to a study, and ``intact``, asks whether what Dagster has seen is still there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

import dagster as dg

from dagster_beiwe.lake import StudyLake
from dagster_beiwe.lake.catalog.opening import Seen
from dagster_beiwe.studies.study import Study

Metadata: TypeAlias = Mapping[str, dg.MetadataValue[Any]]

RECORD_METADATA, HASH_METADATA, LOG_METADATA = "log_record", "log_hash", "log"
"""The number of the newest record of a study's log, its hash, and which log it is: the study and its lineage."""

INTACT = "intact"

_EVENTS = 20
_CHECKS = 50


def head_metadata(lake: StudyLake) -> Metadata:
    """By which Dagster remembers what the lake holds now; nothing of a study that has no log."""
    return seen_metadata(lake.log.seen())


def seen_metadata(seen: Seen | None) -> Metadata:
    """A head as metadata."""
    if seen is None:
        return {}
    return {
        RECORD_METADATA: dg.MetadataValue.int(seen.number),
        HASH_METADATA: dg.MetadataValue.text(seen.digest),
        LOG_METADATA: dg.MetadataValue.text(f"{seen.folder} {seen.lineage}"),
    }


def seen_in(metadata: Metadata) -> Seen | None:
    """The head that metadata remembers."""
    number, digest, log = (
        getattr(metadata.get(name), "value", None) for name in (RECORD_METADATA, HASH_METADATA, LOG_METADATA)
    )
    if not (isinstance(number, int) and isinstance(digest, str) and isinstance(log, str)):
        return None
    folder, _, lineage = log.partition(" ")
    return Seen(folder, number, digest, lineage)


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
    check = dg.AssetCheckKey(key, INTACT)
    for record in instance.event_log_storage.get_asset_check_execution_history(check, limit=_CHECKS):
        # The newest record may be that of this very run, which is planned and has nothing to tell yet.
        if isinstance(evaluation := record.evaluation, dg.AssetCheckEvaluation):
            yield seen_in(evaluation.metadata)


def _newest(heads: Iterable[Seen | None]) -> Seen | None:
    """The head with the highest number, of the log that was seen last: `rekey` may have put it in another's place."""
    seen = list(filter(None, heads))
    return max((each for each in seen if each.lineage == seen[0].lineage), key=lambda each: each.number, default=None)
