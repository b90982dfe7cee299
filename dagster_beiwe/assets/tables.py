"""The small assets: which studies there are, and per study its roster and its settings."""

# Without `from __future__ import annotations`: Dagster reads the types of contexts and outputs when it decorates.

from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd

from dagster_beiwe.assets.beta import beta_features
from dagster_beiwe.assets.run_log import in_run_log, log_capabilities
from dagster_beiwe.client import BeiweClient
from dagster_beiwe.errors import RouteMissingError, ServerFailedError
from dagster_beiwe.io_managers.pickles import NO_PARTICIPANTS_METADATA_KEY
from dagster_beiwe.partitions.definitions import (
    PARTICIPANTS_METADATA,
    participants_name,
    recorded_participants,
    too_many_partitions,
    window_keys,
)
from dagster_beiwe.resource import BeiweResource
from dagster_beiwe.runs.failures import RETRY_POLICY, never_seen_advice, with_retries
from dagster_beiwe.runs.pools import limit_pool
from dagster_beiwe.studies.config import table_io_manager_key
from dagster_beiwe.studies.discovery import StudyMemory, learn_starts, refresh_studies
from dagster_beiwe.studies.roster import PARTICIPANT_COLUMN, content_hash, ids_in_table, roster_rows, roster_version
from dagster_beiwe.studies.server_counts import (
    FORMER_ZONES_METADATA,
    ZONE_METADATA,
    ZONE_SOURCE_METADATA,
    told_by_settings,
)
from dagster_beiwe.studies.settings import SettingsSnapshot, changed_settings, describe_changes, read_settings
from dagster_beiwe.studies.study import Study
from dagster_beiwe.studies.time_zones import StudyZone, zone_of_phones
from dagster_beiwe.text import as_code

STUDIES_KEY = dg.AssetKey(["beiwe", "studies"])

CHANGES_METADATA = "changes"
"""Metadata of settings: what changed since they were last materialised. The events are the history."""

FINGERPRINTS_METADATA = "fingerprints"
SHOWN_METADATA = "switches and numbers"
"""Metadata of settings: what they are compared with the next time."""


def build_studies_asset(
    deployments: Sequence[str],
    *,
    retry_policy: dg.RetryPolicy = RETRY_POLICY,
    state_folder: str | Path | None = None,
) -> dg.AssetsDefinition:
    """``beiwe/studies``: what the keys of every deployment can see. New studies get assets at the next reload."""

    @dg.asset(
        key=STUDIES_KEY,
        group_name="beiwe",
        kinds={"beiwe"},
        required_resource_keys=set(deployments),
        io_manager_key=table_io_manager_key(deployments[0]),
        description="Studies that the configured keys can see. Reload the code location to get assets for new ones.",
        metadata={
            NO_PARTICIPANTS_METADATA_KEY: True,
            **_schema(deployment="Which server", study_id="24 letters and digits", name="Name", key="In asset keys"),
        },
    )
    def studies(context: dg.AssetExecutionContext) -> dg.Output[Any]:
        def ask() -> list[dict[str, str]]:
            return [
                {"deployment": deployment, "study_id": each.id, "name": each.name, "key": each.key}
                for deployment in deployments
                for each in _seen_studies(getattr(context.resources, deployment), deployment, state_folder)
            ]

        with in_run_log(context.log):
            rows = with_retries(ask, policy=retry_policy, log=context.log)
        frame = pd.DataFrame(rows, columns=["deployment", "study_id", "name", "key"], dtype="string")
        metadata = {"studies": dg.MetadataValue.md(_study_list(rows))}
        return _output(frame, metadata, version=content_hash(rows))

    return studies


def build_roster_asset(
    study: Study, *, pool: str | None = None, retry_policy: dg.RetryPolicy = RETRY_POLICY
) -> dg.AssetsDefinition:
    """``beiwe/<key>/roster``: participants in order of enrolment; each becomes a partition of ``raw_data``, which runs
    in the ``pool``."""

    @dg.asset(
        key=study.asset_key("roster"),
        deps=[STUDIES_KEY],
        group_name=study.key,
        kinds={"beiwe"},
        owners=list(study.config.owners),
        required_resource_keys={study.config.deployment},
        io_manager_key=table_io_manager_key(study.config.deployment),
        description=(
            f"Participants of the study {study.title}, in order of enrolment, with what the server's participant table "
            "says about them. New participants become partitions of raw_data."
        ),
        metadata={**study.to_metadata(), **_schema(participant="Participant id; the other columns are the server's")},
    )
    def roster(context: dg.AssetExecutionContext) -> dg.Output[Any]:
        def ask() -> tuple[Sequence[str], int, list[dict[str, Any]]]:
            with _client(context, study) as client:
                log_capabilities(client, context.log)
                ids, refused = client.participant_ids(study.id)
                return ids, refused, _participant_table(client, study, context.log)

        with in_run_log(context.log):
            ids, refused, table = with_retries(ask, policy=retry_policy, log=context.log)
        if refused:
            context.log.warning("The server names %d participants by no valid id; they are left out.", refused)
        rows = roster_rows(ids, table)
        participants = [str(row["participant"]) for row in rows]
        before = set(context.instance.get_dynamic_partitions(participants_name(study.id)))
        added = [each for each in participants if each not in before]
        if pool:
            limit_pool(context.instance, pool)
        if added:
            context.instance.add_dynamic_partitions(participants_name(study.id), added)
        windows = len(window_keys(study, now=datetime.now(timezone.utc)))
        if warning := too_many_partitions(study, participants=len(before) + len(added), windows=windows):
            context.log.warning(warning)
        absent = before - set(participants)
        never_seen = sorted(absent - recorded_participants(context.instance, study)) if absent else []
        if never_seen:
            context.log.warning(never_seen_advice(never_seen))
        metadata = {
            "partitions added": len(added),
            "no longer on the server": len(absent) - len(never_seen),
            "never seen": len(never_seen),
            PARTICIPANTS_METADATA: dg.MetadataValue.json(participants),
            "refused ids": refused,
            "has participant table": bool(table),
        }
        frame = pd.DataFrame(rows, columns=list(rows[0]) if rows else ["participant"], dtype="string")
        return _output(frame, metadata, version=roster_version(rows))

    return roster


def build_settings_asset(study: Study, *, retry_policy: dg.RetryPolicy = RETRY_POLICY) -> dg.AssetsDefinition:
    """``beiwe/<key>/settings``: how the study is set up. Its data version changes only when a setting changes."""
    key = study.asset_key("settings")

    @dg.asset(
        key=key,
        deps=[STUDIES_KEY],
        group_name=study.key,
        kinds={"beiwe"},
        owners=list(study.config.owners),
        required_resource_keys={study.config.deployment},
        io_manager_key=table_io_manager_key(study.config.deployment),
        description=f"Data streams, device settings, surveys with their history, and interventions of {study.title}.",
        metadata={
            **study.to_metadata(),
            **_schema(
                section="data_stream, device_setting, survey, survey_version, intervention, intervention_date or study",
                name="Name of the setting or stream, id of the survey or participant, or a number",
                value="JSON text",
            ),
        },
    )
    def settings(context: dg.AssetExecutionContext) -> dg.Output[Any]:
        def ask() -> tuple[SettingsSnapshot, StudyZone]:
            with _client(context, study) as client:
                snapshot = read_settings(client, study.id, study_pk=study.config.study_pk)
                return snapshot, _zone(snapshot, study, client)

        with in_run_log(context.log):
            snapshot, zone = with_retries(ask, policy=retry_policy, log=context.log)
        if last := told_by_settings(study, context.instance):
            zone = zone.after(last.zone.known)
        if snapshot.missing:
            context.log.warning("This server is too old to tell: %s.", ", ".join(snapshot.missing))
        now, before = snapshot.fingerprints(), json_before(context.instance, key, FINGERPRINTS_METADATA)
        changed = changed_settings(before, now) if before else []
        shown, shown_before = snapshot.shown(), json_before(context.instance, key, SHOWN_METADATA)
        rows = snapshot.rows()
        metadata: dict[str, Any] = {
            **{f"{section}s".replace("studys", "study values"): n for section, n in snapshot.counts().items()},
            "changed since last time": len(changed),
            CHANGES_METADATA: dg.MetadataValue.json(describe_changes(changed[:50], shown_before, shown)),
            "not told by this server": dg.MetadataValue.json(list(snapshot.missing)),
            ZONE_METADATA: zone.name,
            ZONE_SOURCE_METADATA: zone.source,
            **({FORMER_ZONES_METADATA: " ".join(zone.former)} if zone.former else {}),
            FINGERPRINTS_METADATA: dg.MetadataValue.json(now),
            SHOWN_METADATA: dg.MetadataValue.json(shown),
        }
        frame = pd.DataFrame(rows, columns=["section", "name", "value"], dtype="string")
        return _output(frame, metadata, version=snapshot.version)

    return settings


def _seen_studies(resource: BeiweResource, deployment: str, state_folder: str | Path | None) -> list[Study]:
    """The studies that the keys see now, all of them remembered."""
    memory = StudyMemory(deployment, folder=state_folder)
    with resource.get_client() as client:
        seen = client.studies()
        known = refresh_studies(memory, client)
        learn_starts(memory, client, seen)
    return [each for each in known.values() if each.id in seen]


def _client(context: dg.AssetExecutionContext, study: Study) -> BeiweClient:
    """After a look whether the answer can be stored."""
    resource: BeiweResource = getattr(context.resources, study.config.deployment)
    resource.check_passphrase(study)
    return resource.get_client()


def _output(frame: pd.DataFrame, metadata: dict[str, Any], *, version: str) -> dg.Output[Any]:
    with beta_features():
        return dg.Output(frame, metadata=metadata, data_version=dg.DataVersion(version))


def _participant_table(client: BeiweClient, study: Study, log: Any) -> list[dict[str, Any]]:
    """The table, or nothing where the server lacks it or fails to make it (a known fault of some versions)."""
    try:
        table = client.participant_table(study.id)
    except (RouteMissingError, ServerFailedError) as error:
        log.warning("The roster of %s has ids only: the server gives no participant table. %s", study.title, error)
        return []
    if ids_in_table(table) is None:
        log.warning(
            "The roster of %s has ids only: the server's table has no column %r.", study.title, PARTICIPANT_COLUMN
        )
        return []
    return table


def _zone(snapshot: SettingsSnapshot, study: Study, client: BeiweClient) -> StudyZone:
    """As configured, as told with the settings, or where the phones are."""
    configured = StudyZone.from_texts(study.config.time_zone or "", "configuration")
    told = StudyZone.from_texts(str(snapshot.values.get(("study", "study_time_zone"), "")), "server")
    return configured or told or zone_of_phones(client, study.id)


def json_before(instance: dg.DagsterInstance, key: dg.AssetKey, name: str) -> dict[str, Any]:
    """What the last materialisation has in its metadata under a name."""
    event = instance.get_latest_materialization_event(key)
    materialization = event.asset_materialization if event else None
    value = materialization.metadata.get(name) if materialization else None
    found = getattr(value, "value", None)
    return found if isinstance(found, dict) else {}


def _schema(**descriptions: str) -> dict[str, Any]:
    columns = [dg.TableColumn(name, "string", description=text) for name, text in descriptions.items()]
    return {"dagster/column_schema": dg.TableSchema(columns)}


def _study_list(rows: Sequence[dict[str, str]]) -> str:
    return "\n".join(f"- {as_code(row['name'])}" for row in rows[:200]) or "none"
