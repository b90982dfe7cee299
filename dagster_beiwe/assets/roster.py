"""``roster``: the participants of a study. Each becomes a partition."""

# Without `from __future__ import annotations`: Dagster reads the types of contexts and outputs when it decorates.

import logging
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any

import dagster as dg
import pandas as pd

from dagster_beiwe.assets.run_log import log_capabilities
from dagster_beiwe.assets.studies import studies_key
from dagster_beiwe.assets.study_asset import DEFAULT_OPTIONS, AssetOptions, study_asset, table_output
from dagster_beiwe.assets.table_schemas import OTHER_ROSTER_COLUMNS, ROSTER_COLUMNS
from dagster_beiwe.client import BeiweClient
from dagster_beiwe.errors import RouteMissingError, ServerFailedError
from dagster_beiwe.partitions.definitions import participants_name, too_many_partitions, window_keys
from dagster_beiwe.partitions.events import PARTICIPANTS_METADATA, recorded_participants
from dagster_beiwe.resource import BeiweResource, resource_of
from dagster_beiwe.runs.failures import never_seen_advice
from dagster_beiwe.runs.pools import limit_pool
from dagster_beiwe.studies.roster import (
    PARTICIPANT_COLUMN,
    ids_in_table,
    roster_rows,
    roster_version,
    table_in_roster,
)
from dagster_beiwe.studies.study import Study
from dagster_beiwe.tables.store import TableStore

_Answer = tuple[Sequence[str], int, list[dict[str, Any]]]
"""Participant ids, how many others are no valid ids, and the participant table."""


def build_roster_asset(study: Study, options: AssetOptions = DEFAULT_OPTIONS) -> dg.AssetsDefinition:
    """``beiwe/<key>/roster``: participants in order of enrollment. ``raw_data``, of which they become partitions, runs
    in the ``pool``."""

    @study_asset(
        study,
        "roster",
        options,
        deps=[studies_key(options.translator)],
    )
    def roster(context: dg.AssetExecutionContext) -> dg.Output[Any]:
        ids, refused, table = options.retried(lambda: _ask(context, study), context.log)
        if refused:
            context.log.warning("The server lists %d participants without a valid id. They are left out.", refused)
        if options.pool:
            limit_pool(context.instance, options.pool)
        rows = roster_rows(ids, table)
        metadata = {
            **_add_partitions(context, study, [str(row["participant"]) for row in rows]),
            "refused ids": refused,
            "has participant table": bool(table),
        }
        frame = pd.DataFrame(rows, columns=list(rows[0]) if rows else ["participant"], dtype="string")
        columns = {str(name): ROSTER_COLUMNS.get(str(name), OTHER_ROSTER_COLUMNS) for name in frame.columns[1:]}
        return table_output(frame, metadata, version=roster_version(rows), columns=columns)

    return roster


def _ask(context: dg.AssetExecutionContext, study: Study) -> _Answer:
    resource = resource_of(context, study)
    resource.check_passphrase(study)  # or the answer could not be stored
    with resource.get_client() as client:
        log_capabilities(client, context.log)
        ids, refused = client.participant_ids(study.id)
        return ids, refused, participant_table(client, resource, study, context.log)


def _add_partitions(context: dg.AssetExecutionContext, study: Study, participants: Sequence[str]) -> dict[str, Any]:
    """Make new participants partitions; returns what changed, as metadata."""
    name = participants_name(study.id)
    before = set(context.instance.get_dynamic_partitions(name))
    added = [each for each in participants if each not in before]
    if added:
        context.instance.add_dynamic_partitions(name, added)
    windows = len(window_keys(study, now=datetime.now(timezone.utc)))
    if warning := too_many_partitions(study, participants=len(before) + len(added), windows=windows):
        context.log.warning(warning)
    absent = before - set(participants)
    never_seen = sorted(absent - recorded_participants(context.instance, study)) if absent else []
    if never_seen:
        context.log.warning(never_seen_advice(never_seen))
    return {
        "partitions added": len(added),
        "no longer on the server": len(absent) - len(never_seen),
        "never seen": len(never_seen),
        PARTICIPANTS_METADATA: dg.MetadataValue.json(participants),
    }


def participant_table(
    client: BeiweClient, resource: BeiweResource, study: Study, log: logging.Logger
) -> list[dict[str, Any]]:
    """The server's table. If the server lacks it or fails to make it, which is a known fault of some versions: what the
    stored roster has of an earlier one, or nothing."""
    try:
        table = client.participant_table(study.id)
        if ids_in_table(table) is not None:
            return table
        problem = f"It has no column {PARTICIPANT_COLUMN!r}."
    except (RouteMissingError, ServerFailedError) as error:
        problem = str(error)
    roster = TableStore.of_study(resource.study_lake(study)).find(study.asset_key("roster").path)
    earlier = [] if roster is None else table_in_roster(roster.to_dict("records"))
    log.warning(
        "The server returned no usable participant table, so the roster of %s %s. %s",
        study.title,
        "has what an earlier one said" if earlier else "has ids only",
        problem,
    )
    return earlier
