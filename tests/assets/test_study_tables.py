"""Studies, rosters and settings as assets: what they hold, and what counts as a change."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import dagster as dg
import pandas as pd
import pytest
from worlds import WEEKS

from dagster_beiwe import BeiweResource, EnvCredentials
from dagster_beiwe.assets import AssetOptions
from dagster_beiwe.assets.coverage import build_coverage_asset
from dagster_beiwe.assets.roster import build_roster_asset
from dagster_beiwe.assets.server_tables import build_server_tables
from dagster_beiwe.assets.settings import build_settings_asset
from dagster_beiwe.assets.studies import build_studies_asset
from dagster_beiwe.io_managers import EncryptedTableIOManager
from dagster_beiwe.partitions.definitions import participants_name
from dagster_beiwe.simulator import ParticipantPlan, SimulatedServer
from dagster_beiwe.simulator.profiles import Profile
from dagster_beiwe.studies.roster import enrollment_order, roster_rows, roster_version
from dagster_beiwe.studies.study import Study

AT_ONCE = AssetOptions(retry_policy=dg.RetryPolicy(max_retries=0))


def changes_of(event: dg.AssetMaterialization) -> list[dict[str, Any]]:
    """The changes that a table of settings tells in its metadata."""
    changes = event.metadata["changes"].value
    assert isinstance(changes, list)
    return changes


class Tables:
    """Materialises a table in this process and returns it with its event."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.instance = instance

    def materialize(self, asset: dg.AssetsDefinition) -> tuple[pd.DataFrame, dg.AssetMaterialization]:
        beiwe = BeiweResource(credentials=EnvCredentials())
        resources = {"beiwe": beiwe, "beiwe_table_io_manager": EncryptedTableIOManager(beiwe=beiwe)}
        result = dg.materialize([asset], instance=self.instance, resources=resources)
        (event,) = result.asset_materializations_for_node(asset.op.name)
        frame: Any = result.asset_value(asset.key)
        return frame, event

    def version(self, asset: dg.AssetsDefinition) -> str:
        return (self.materialize(asset)[1].tags or {})["dagster/data_version"]


@pytest.fixture
def tables(server: SimulatedServer, instance: dg.DagsterInstance) -> Tables:
    return Tables(instance)


def test_studies_are_listed(tables: Tables, study: Study) -> None:
    """With id, name and the key that their assets have."""
    frame, event = tables.materialize(build_studies_asset(["beiwe"], AT_ONCE))
    assert frame.to_dict("records") == [
        {"deployment": "beiwe", "study_id": study.id, "name": study.name, "key": "sleep_and_mood"}
    ]
    assert event.metadata["dagster/row_count"].value == 1


def test_the_roster_makes_participants_partitions(
    tables: Tables, study: Study, server: SimulatedServer, instance: dg.DagsterInstance
) -> None:
    """Every id of the server, in the order of the roster; a second time adds only the new one, at the end."""
    asset = build_roster_asset(study, AT_ONCE)
    frame, _ = tables.materialize(asset)
    partitions = instance.get_dynamic_partitions(participants_name(study.id))
    assert list(frame["participant"]) == partitions
    assert set(partitions) == set(server.world.study(study.id).participants)
    assert {"Created On", "OS Type", "Status"} <= set(frame.columns)
    newcomer = server.world.add_participant(study.id)
    _, event = tables.materialize(asset)
    schema = event.metadata["dagster/column_schema"].value
    assert isinstance(schema, dg.TableSchema)
    texts = {column.name: column.description for column in schema.columns}
    assert list(texts) == list(frame.columns)
    assert texts["Last Upload"] == "When the phone last uploaded a file"
    assert all(texts.values())
    assert instance.get_dynamic_partitions(participants_name(study.id)) == [*partitions, newcomer]
    assert event.metadata["partitions added"].value == 1


def test_the_roster_keeps_its_version_while_phones_report(
    tables: Tables, study: Study, server: SimulatedServer
) -> None:
    """Status and last upload change every minute; a new participant is a change."""
    asset = build_roster_asset(study, AT_ONCE)
    before = tables.version(asset)
    server.world.advance(timedelta(days=3))
    assert tables.version(asset) == before
    server.world.add_participant(study.id, ParticipantPlan(os=""))
    assert tables.version(asset) != before


def test_the_roster_has_ids_where_the_table_fails(tables: Tables, study: Study, server: SimulatedServer) -> None:
    """Some servers answer 500 for the table; the ids are from another endpoint."""
    server.misbehave("status", route="/get-participant-table-data/*", status=500)
    frame, event = tables.materialize(build_roster_asset(study, AT_ONCE))
    assert list(frame.columns) == ["participant"]
    assert event.metadata["has participant table"].value is False
    assert len(frame) == 3


def test_the_rosters_log_tells_what_the_server_can_do(
    tables: Tables, study: Study, server: SimulatedServer, instance: dg.DagsterInstance
) -> None:
    """Once in each run; an endpoint that fails to say so fails nothing."""
    build, heartbeats = build_roster_asset(study, AT_ONCE), "/get-participant-heartbeat-history/*"
    for profile, status, text in (
        ("2023-11", 400, "The Beiwe server lacks check_credentials, "),
        ("2026-08", 400, "The Beiwe server has every endpoint known to this client."),
        ("2026-08", 500, "Not everything that the server supports could be determined."),
    ):
        server.profile = Profile.named(profile)
        with server.misbehave("status", route=heartbeats if status == 500 else "/none", status=status):
            tables.materialize(build)
        logs = instance.all_logs(instance.get_runs(limit=1)[0].run_id)
        assert sum(text in log.user_message for log in logs) == 1


def test_a_malformed_id_does_not_hide_the_others(
    tables: Tables, study: Study, server: SimulatedServer, instance: dg.DagsterInstance
) -> None:
    """It is counted, and becomes neither row nor partition."""
    ids = sorted(server.world.study(study.id).participants)
    answer = json.dumps([*ids, "../../etc", "a|b"])
    server.profile = Profile.named("2023-11")
    with server.misbehave("wrong_json", route="/get-users/v1", body=answer):
        frame, event = tables.materialize(build_roster_asset(study, AT_ONCE))
    assert sorted(frame["participant"]) == ids
    assert event.metadata["refused ids"].value == 2
    assert sorted(instance.get_dynamic_partitions(participants_name(study.id))) == ids


def test_participants_that_are_deleted_keep_their_partitions(
    tables: Tables, study: Study, instance: dg.DagsterInstance
) -> None:
    """They are counted, never removed; a mistyped id, of which nothing was ever recorded, is counted apart."""
    instance.add_dynamic_partitions(participants_name(study.id), ["gone1234", "slip1234"])
    fetched = dg.AssetMaterialization(["beiwe", study.key, "raw_data"], partition=f"gone1234|{WEEKS[0]}")
    instance.report_runless_asset_event(fetched)
    _, event = tables.materialize(build_roster_asset(study, AT_ONCE))
    assert event.metadata["no longer on the server"].value == 1
    assert event.metadata["never seen"].value == 1
    assert {"gone1234", "slip1234"} <= {*instance.get_dynamic_partitions(participants_name(study.id))}


def test_settings_change_their_version_only_when_they_change(
    tables: Tables, study: Study, server: SimulatedServer
) -> None:
    """And the metadata tells what changed; of texts, only that they did."""
    asset = build_settings_asset(study, AT_ONCE)
    frame, event = tables.materialize(asset)
    assert {"device_setting", "survey", "survey_version", "intervention"} <= set(frame["section"])
    assert event.metadata["device_settings"].value == sum(frame["section"] == "device_setting")
    before = (event.tags or {})["dagster/data_version"]
    assert tables.version(asset) == before
    change_before = server.world.study(study.id).device_settings["gps_off_duration_seconds"]
    server.world.change_settings(study.id, gps_off_duration_seconds=1234)
    _, event = tables.materialize(asset)
    assert (event.tags or {})["dagster/data_version"] != before
    (change,) = changes_of(event)
    assert change == {"setting": "device_setting/gps_off_duration_seconds", "from": change_before, "to": 1234}
    server.world.change_settings(study.id, about_page_text="call Dr Roe")
    _, event = tables.materialize(asset)
    assert event.metadata["changes"].value == [{"setting": "device_setting/about_page_text"}]
    assert "Roe" not in str({name: value.value for name, value in event.metadata.items()})


def test_intervention_dates_change_the_settings_without_naming_anybody(
    tables: Tables, study: Study, server: SimulatedServer
) -> None:
    """Who has a date is in the encrypted table only."""
    asset = build_settings_asset(study, AT_ONCE)
    _, event = tables.materialize(asset)
    for participant in server.world.study(study.id).participants:
        assert participant not in str({name: value.value for name, value in event.metadata.items()})


def test_settings_name_the_servers_data_streams_and_tell_when_one_comes_or_goes(
    tables: Tables, study: Study, server: SimulatedServer
) -> None:
    """``new`` are those outside the catalog."""
    asset = build_settings_asset(study, AT_ONCE)
    tables.materialize(asset)
    server.profile = Profile.named("ai_chat_logs")
    frame, event = tables.materialize(asset)
    streams = frame[frame["section"] == "data_stream"].set_index("name")["value"].map(json.loads).to_dict()
    assert streams == {name: "new" if name == "ai_chat_logs" else "described" for name in server.profile.streams}
    changes = {str(change["setting"]) for change in changes_of(event)}
    assert {each for each in changes if each.startswith("data_stream/")} == {
        "data_stream/ai_chat_logs",
        "data_stream/ambient_audio",
    }


def test_a_participant_table_without_ids_leaves_the_roster_with_ids_only(
    tables: Tables, study: Study, server: SimulatedServer
) -> None:
    """A column that a server lacks is said, and fails nothing."""
    server.misbehave("wrong_json", route="/get-participant-table-data/*", body='[{"Participant": "a"}]')
    frame, event = tables.materialize(build_roster_asset(study, AT_ONCE))
    assert list(frame.columns) == ["participant"]
    assert event.metadata["has participant table"].value is False


def _table(name: str) -> Callable[[Study, AssetOptions], dg.AssetsDefinition]:
    return lambda study, options: {each.key.path[-1]: each for each in build_server_tables(study, options)}[name]


@pytest.mark.parametrize(
    ("build", "route", "status"),
    [
        (build_roster_asset, "participant-table-data", 500),
        (build_settings_asset, "study-settings", 404),
        (_table("interventions"), "interventions", 404),
        (_table("data_volume"), "summary-statistics", 404),
    ],
)
def test_what_the_server_said_stays_while_it_says_nothing(
    tables: Tables,
    study: Study,
    server: SimulatedServer,
    build: Callable[[Study, AssetOptions], dg.AssetsDefinition],
    route: str,
    status: int,
) -> None:
    """An endpoint may be gone for a while, behind a proxy or in an update: rows and data version are as before."""
    asset = build(study, AT_ONCE)
    before, first = tables.materialize(asset)
    assert before.shape > (1, 2)
    with server.misbehave("wrong_json", route=f"/get-{route}/v1", status=status, body="<html>"):
        after, second = tables.materialize(asset)
    pd.testing.assert_frame_equal(after, before, check_dtype=False)  # of days
    assert (second.tags or {})["dagster/data_version"] == (first.tags or {})["dagster/data_version"]


@pytest.mark.parametrize("build", [build_roster_asset, build_settings_asset, build_coverage_asset])
@pytest.mark.parametrize("passphrase", [None, "another one"])
def test_a_passphrase_that_can_not_do_fails_at_once(
    tables: Tables,
    study: Study,
    server: SimulatedServer,
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
    build: Callable[[Study], dg.AssetsDefinition],
    passphrase: str | None,
) -> None:
    """Before the server is asked, and without a retry: only a person can help. The message is all that is shown."""
    tables.materialize(build_settings_asset(study, AT_ONCE))
    server.forget_requests()
    monkeypatch.delenv("BEIWE_LAKE_PASSPHRASE")
    if passphrase:
        monkeypatch.setenv("BEIWE_LAKE_PASSPHRASE", passphrase)
    with pytest.raises(dg.Failure, match="WrongPassphraseError" if passphrase else "PassphraseMissingError") as failure:
        tables.materialize(build(study))
    assert failure.value.allow_retries is False
    assert server.requests == []
    runs = instance.get_runs(limit=1)
    kinds = {log.dagster_event.event_type for log in instance.all_logs(runs[0].run_id) if log.dagster_event}
    assert dg.DagsterEventType.STEP_UP_FOR_RETRY not in kinds


@pytest.mark.parametrize("server_profile", ["2024-07-01"])
def test_an_older_server_tells_what_it_can(
    study: Study, server: SimulatedServer, tables: Tables, server_profile: str
) -> None:
    """No settings route: surveys and interventions are there, and what is missing is named."""
    server.profile = Profile.named(server_profile)
    frame, event = tables.materialize(build_settings_asset(study, AT_ONCE))
    assert event.metadata["not returned by this server"].value == ["settings"]
    assert "survey_version" in set(frame["section"])


def test_enrollment_order_is_by_creation_then_registration() -> None:
    """Ties and unknown ones by id, at the end."""
    table: list[dict[str, str | None]] = [
        {"Patient ID": "late", "Created On": "2024-05-02", "First Registration Date": None},
        {"Patient ID": "early", "Created On": "2024-05-01", "First Registration Date": "2024-05-09T10:00:00"},
        {"Patient ID": "first", "Created On": "2024-05-01", "First Registration Date": "2024-05-08T10:00:00"},
    ]
    assert enrollment_order(["deleted", "late", "early", "first"], table) == ["first", "early", "late", "deleted"]


def test_the_version_does_not_depend_on_order() -> None:
    """Servers list participants in any order."""
    rows = roster_rows(["a", "b"], [{"Patient ID": "a", "Created On": "2024-01-01", "n": 3}])
    assert roster_version(rows) == roster_version(rows[::-1])
    assert rows[0] == {"participant": "a", "Created On": "2024-01-01", "n": "3"}
    assert rows[1] == {"participant": "b", "Created On": None, "n": None}


def test_a_column_of_the_server_does_not_hide_the_ids() -> None:
    """Interventions and custom fields may be called anything."""
    (row,) = roster_rows(["a"], [{"Patient ID": "a", "participant": "../b"}])
    assert row == {"participant": "a", "participant (server)": "../b"}
