"""``settings``: how a study is set up on the server, and what changed about it."""

# Without `from __future__ import annotations`: Dagster reads the types of contexts and outputs when it decorates.

import json
from collections.abc import Iterator
from datetime import datetime, timezone, tzinfo
from typing import Any

import dagster as dg
import pandas as pd

from dagster_beiwe.assets.studies import studies_key
from dagster_beiwe.assets.study_asset import DEFAULT_OPTIONS, AssetOptions, study_asset, table_output
from dagster_beiwe.assets.table_schemas import COLUMNS
from dagster_beiwe.client import BeiweClient
from dagster_beiwe.coverage.changes import SettingChange
from dagster_beiwe.coverage.expected import SettingsRecord
from dagster_beiwe.errors import RouteMissingError, ServerFailedError
from dagster_beiwe.resource import BeiweResource, resource_of
from dagster_beiwe.studies.server_counts import (
    FORMER_ZONES_METADATA,
    ZONE_METADATA,
    ZONE_SOURCE_METADATA,
    zone_of_settings,
)
from dagster_beiwe.studies.settings import (
    INTERVENTION_DATES,
    SettingsSnapshot,
    changed_settings,
    describe_changes,
    device_settings_shown,
    read_settings,
    switches_and_numbers,
)
from dagster_beiwe.studies.study import Study
from dagster_beiwe.studies.time_zones import StudyZone, zone_of_phones
from dagster_beiwe.tables.store import TableStore

CHANGES_METADATA = "changes"
"""Metadata: what changed since the settings were last materialized. The events are the history."""

FINGERPRINTS_METADATA = "fingerprints"
SHOWN_METADATA = "switches and numbers"
"""Metadata: what the settings are compared with the next time."""


_PAGE = 500


def build_settings_asset(study: Study, options: AssetOptions = DEFAULT_OPTIONS) -> dg.AssetsDefinition:
    """``beiwe/<key>/settings``. Its data version changes only when a setting changes."""

    @study_asset(
        study,
        "settings",
        options,
        deps=[studies_key(options.translator)],
    )
    def settings(context: dg.AssetExecutionContext) -> dg.Output[Any]:
        snapshot, zone = options.retried(lambda: _ask(context, study), context.log)
        if last := zone_of_settings(study, context.instance):
            zone = zone.after(last.zone.known)
        if snapshot.missing:
            context.log.warning(
                "The server has no endpoint for: %s. What it returned before is kept.", ", ".join(snapshot.missing)
            )
        frame = pd.DataFrame(snapshot.rows(), columns=list(COLUMNS["settings"]), dtype="string")
        return table_output(frame, _metadata(context, study, snapshot, zone), version=snapshot.version)

    return settings


def current_settings(client: BeiweClient, resource: BeiweResource, study: Study) -> SettingsSnapshot:
    """The settings as the server has them; where it lacks an endpoint, as the stored ones have them."""
    snapshot = read_settings(client, study.id, study_pk=study.config.study_pk)
    if not snapshot.missing:
        return snapshot
    before = TableStore.of_study(resource.study_lake(study)).find(study.asset_key("settings").path)
    return snapshot if before is None else snapshot.completed(before.to_dict("records"))


def settings_until_now(
    context: dg.AssetExecutionContext, client: BeiweClient, study: Study, *, now: datetime
) -> list[SettingsRecord]:
    """The switches and numbers of a study over time, and as the server has them now."""
    history = settings_history(context.instance, study)
    try:
        settings = client.settings(study.id, study_pk=study.config.study_pk)
    except (RouteMissingError, ServerFailedError) as error:
        context.log.warning(
            "The server did not return the settings of %s. What is expected comes from its earlier settings. %s",
            study.title,
            error,
        )
        return history
    return [*history, SettingsRecord(seen=now, values=switches_and_numbers(settings))]


def settings_history(instance: dg.DagsterInstance, study: Study) -> list[SettingsRecord]:
    """The switches and numbers of a study at each materialization of its settings, newest first."""
    return [
        SettingsRecord(seen=seen, values=device_settings_shown(shown))
        for seen, shown in _metadata_over_time(instance, study, SHOWN_METADATA)
        if isinstance(shown, dict)
    ]


def settings_changes(instance: dg.DagsterInstance, study: Study, zone: tzinfo) -> list[SettingChange]:
    """What changed about a study, on the days in its zone on which a materialization found it; newest first."""
    return [
        SettingChange(
            day=seen.astimezone(zone).date(),
            setting=str(change["setting"]),
            before=json.dumps(change["from"]) if "from" in change else "",
            after=json.dumps(change["to"]) if "to" in change else "",
        )
        for seen, changes in _metadata_over_time(instance, study, CHANGES_METADATA)
        for change in changes or ()
        if change["setting"] != INTERVENTION_DATES
    ]


def _metadata_over_time(instance: dg.DagsterInstance, study: Study, name: str) -> Iterator[tuple[datetime, Any]]:
    """When each materialization of the settings was recorded, and its metadata under a name; newest first."""
    cursor, more = None, True
    while more:
        page = instance.fetch_materializations(study.asset_key("settings"), limit=_PAGE, cursor=cursor)
        for record in page.records:
            metadata = record.asset_materialization.metadata if record.asset_materialization else {}
            yield datetime.fromtimestamp(record.timestamp, timezone.utc), getattr(metadata.get(name), "value", None)
        cursor, more = page.cursor, page.has_more


def json_before(instance: dg.DagsterInstance, key: dg.AssetKey, name: str) -> dict[str, Any]:
    """What the last materialization has in its metadata under a name."""
    event = instance.get_latest_materialization_event(key)
    materialization = event.asset_materialization if event else None
    value = materialization.metadata.get(name) if materialization else None
    found = getattr(value, "value", None)
    return found if isinstance(found, dict) else {}


def _ask(context: dg.AssetExecutionContext, study: Study) -> tuple[SettingsSnapshot, StudyZone]:
    resource = resource_of(context, study)
    resource.check_passphrase(study)  # or the answer could not be stored
    with resource.get_client() as client:
        snapshot = current_settings(client, resource, study)
        return snapshot, _zone(snapshot, study, client)


def _zone(snapshot: SettingsSnapshot, study: Study, client: BeiweClient) -> StudyZone:
    """The time zone as configured, as set on the server, or where the phones are."""
    configured = StudyZone.from_texts(study.config.time_zone or "", "configuration")
    reported = StudyZone.from_texts(str(snapshot.values.get(("study", "study_time_zone"), "")), "server")
    return configured or reported or zone_of_phones(client, study.id)


def _metadata(
    context: dg.AssetExecutionContext, study: Study, snapshot: SettingsSnapshot, zone: StudyZone
) -> dict[str, Any]:
    key = study.asset_key("settings")
    now, before = snapshot.fingerprints(), json_before(context.instance, key, FINGERPRINTS_METADATA)
    changed = changed_settings(before, now) if before else []
    shown, shown_before = snapshot.shown(), json_before(context.instance, key, SHOWN_METADATA)
    return {
        **{f"{section}s".replace("studys", "study values"): n for section, n in snapshot.counts().items()},
        "changed since last time": len(changed),
        CHANGES_METADATA: dg.MetadataValue.json(describe_changes(changed[:50], shown_before, shown)),
        "not returned by this server": dg.MetadataValue.json(list(snapshot.missing)),
        ZONE_METADATA: zone.name,
        ZONE_SOURCE_METADATA: zone.source,
        **({FORMER_ZONES_METADATA: " ".join(zone.former)} if zone.former else {}),
        FINGERPRINTS_METADATA: dg.MetadataValue.json(now),
        SHOWN_METADATA: dg.MetadataValue.json(shown),
    }
