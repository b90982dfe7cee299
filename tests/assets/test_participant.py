"""``participant``: who each participant is and what their phone reported, one partition each."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import dagster as dg
import pandas as pd
import pytest
from labs import END_TAG, PARTICIPANTS, START, START_TAG, Lab, day_of_week, moment

from dagster_beiwe.assets.table_schemas import COLUMNS
from dagster_beiwe.partitions.fetched import fetched_participants
from dagster_beiwe.studies.participant_history import TYPES
from dagster_beiwe.tables.store import TableStore

ANNA, BERT, CLEO = PARTICIPANTS


def table_of(lab: Lab, participant: str) -> pd.DataFrame:
    return TableStore.of_study(lab.lake).read(lab.key("participant").path, partition=participant)


def events_of(lab: Lab) -> dict[str, dg.AssetMaterialization]:
    """{participant: the newest materialization}"""
    records = lab.instance.fetch_materializations(lab.key("participant"), limit=100).records
    found = [record.asset_materialization for record in reversed(records)]
    return {str(event.partition): event for event in found if event is not None}


def version_of(lab: Lab, participant: str) -> str:
    return (events_of(lab)[participant].tags or {})["dagster/data_version"]


def fetch_everybody(lab: Lab) -> dg.ExecuteInProcessResult:
    return lab.run("participant", tags={START_TAG: lab.partitions[0], END_TAG: lab.partitions[-1]})


@pytest.fixture
def enrolled(lab: Lab) -> Lab:
    """The participants are partitions."""
    lab.enrol()
    return lab


def test_a_table_holds_what_the_server_says_of_somebody(enrolled: Lab) -> None:
    """The roster's row, and every history, each row with its kind; times are in UTC."""
    enrolled.world.participant(ANNA).experiment = True
    assert enrolled.run("participant", partition=ANNA).success
    frame = table_of(enrolled, ANNA)
    assert list(frame.columns) == list(TYPES) == list(COLUMNS["participant"])
    assert {name: str(dtype) for name, dtype in frame.dtypes.items()} == dict(TYPES)
    by_kind = {str(kind): rows for kind, rows in frame.groupby("kind")}
    assert set(by_kind) == {"roster", "upload", "heartbeat", "app_version", "device_status", "notification"}
    roster = by_kind["roster"].set_index("name")["value"]
    assert (roster["participant"], roster["OS Type"]) == (ANNA, "ANDROID")
    files = enrolled.world.files(enrolled.study.id, participants=[ANNA])
    uploads = by_kind["upload"]
    assert sorted(zip(uploads["stream"], uploads["size_bytes"], strict=True)) == sorted(
        (file.stream, file.size_bytes) for file in files if file.stream != "identifiers"
    )
    assert set(uploads["opened"].dt.floor("h")) == {pd.Timestamp(file.bin) for file in files}
    assert uploads["time"].max() == pd.Timestamp(max(file.arrived for file in files)).floor("s")
    assert by_kind["notification"]["confirmed"].isna().sum() == 1
    assert list(by_kind["app_version"]["os_version"]) == ["14", "15"]


def test_one_run_fetches_several_one_by_one(enrolled: Lab) -> None:
    """One request for the participant table, and five for each; each is recorded with numbers of its own."""
    enrolled.server.forget_requests()
    assert fetch_everybody(enrolled).success
    routes = enrolled.routes()
    assert routes.count("/get-participant-table-data/v1") == 1
    assert len(routes) == 1 + 5 * len(PARTICIPANTS)
    events = events_of(enrolled)
    assert sorted(events) == sorted(PARTICIPANTS)
    for participant, event in events.items():
        assert event.metadata["dagster/partition_row_count"].value == len(table_of(enrolled, participant))
        assert {"last upload", "last heartbeat"} <= event.metadata.keys()


def test_a_phone_that_reports_is_no_new_version_but_a_changed_person_is(enrolled: Lab) -> None:
    """The data version is that of lasting facts: a date that was set, a phone that was registered, a retirement."""
    fetch_everybody(enrolled)
    before = {participant: version_of(enrolled, participant) for participant in PARTICIPANTS}
    enrolled.world.advance(timedelta(days=1))
    enrolled.world.add_rows(ANNA, "gps", moment(START))
    enrolled.world.set_intervention(BERT, "Surgery", day_of_week(1))
    enrolled.world.retire(CLEO)
    fetch_everybody(enrolled)
    assert {who for who in PARTICIPANTS if version_of(enrolled, who) != before[who]} == {BERT, CLEO}


def test_one_who_can_not_be_fetched_leaves_the_others_recorded(enrolled: Lab) -> None:
    """The failure names who is left; an id that the server does not have is one of them."""
    enrolled.instance.add_dynamic_partitions(f"beiwe/{enrolled.study.id}/participants", ["slip0000"])
    result = fetch_everybody(enrolled)
    assert not result.success
    assert sorted(events_of(enrolled)) == sorted(PARTICIPANTS)
    (failure,) = (event.step_failure_data.user_failure_data for event in result.all_events if event.is_step_failure)
    assert failure is not None
    assert str(failure.description).endswith("materialize again: slip0000")


def test_a_history_that_breaks_off_is_read_anew(enrolled: Lab) -> None:
    """Nothing of the first answer is counted twice."""
    with enrolled.server.misbehave("cut", route="/get-participant-upload-history/v1", times=1):
        assert enrolled.run("participant", partition=ANNA).success
    uploads = table_of(enrolled, ANNA).query("kind == 'upload'")
    assert not uploads.duplicated().any()
    assert len(uploads) == len(enrolled.world.files(enrolled.study.id, participants=[ANNA]))


def test_an_upload_in_an_unknown_form_keeps_its_name(enrolled: Lab) -> None:
    """And its time and size; a stream that only a server knows is called what the phone calls it."""
    body = (
        '[{"file_name": "odd name", "file_size": 7, "timestamp": "2026-01-01T00:00:00Z"},'
        ' {"file_name": "newStream/1790809200017.csv", "file_size": 8, "timestamp": "2026-01-01T00:00:00Z"}]'
    )
    with enrolled.server.misbehave("wrong_json", route="/get-participant-upload-history/v1", body=body):
        assert enrolled.run("participant", partition=ANNA).success
    odd, new = table_of(enrolled, ANNA).query("kind == 'upload'").to_dict("records")
    assert (odd["name"], odd["size_bytes"], pd.isna(odd["stream"])) == ("odd name", 7, True)
    assert (new["stream"], pd.isna(new["name"])) == ("newStream", True)


@pytest.mark.parametrize(("profile", "lacks"), [("2023-11", 5), ("2024-07", 1)])
def test_an_old_server_is_asked_once_for_what_it_lacks(open_lab: Callable[..., Lab], profile: str, lacks: int) -> None:
    """The run says so once; the table has what there is."""
    lab = open_lab(profile=profile)
    lab.enrol()
    lab.server.forget_requests()
    result = fetch_everybody(lab)
    assert result.success
    missing = [record for record in lab.server.requests if record.status == 404 and "history" in record.route]
    assert len(missing) == lacks
    logs = [log.user_message for log in lab.instance.all_logs(result.run_id)]
    assert sum("has no endpoint for" in text for text in logs) == 1
    told = events_of(lab)[ANNA].metadata["not returned by this server"].value
    assert isinstance(told, list)
    assert len(told) == lacks


def test_a_history_stays_while_its_endpoint_is_gone(enrolled: Lab) -> None:
    """And the run names it."""
    assert enrolled.run("participant", partition=ANNA).success
    before = table_of(enrolled, ANNA)
    with enrolled.server.misbehave("wrong_json", route="/get-participant-upload-*", status=404, body="<html>"):
        assert enrolled.run("participant", partition=ANNA).success
    pd.testing.assert_frame_equal(
        *(each.sort_values(list(TYPES), ignore_index=True) for each in (table_of(enrolled, ANNA), before))
    )
    assert events_of(enrolled)[ANNA].metadata["not returned by this server"].value == ["upload"]


def test_a_labs_asset_reads_participants_through_the_io_manager(enrolled: Lab) -> None:
    """One DataFrame of all of them, or of the same partition."""
    fetch_everybody(enrolled)
    key = enrolled.key("participant")

    @dg.asset(ins={"participant": dg.AssetIn(key)})
    def heartbeats(participant: pd.DataFrame) -> None:
        seen.append(int((participant["kind"] == "heartbeat").sum()))

    seen: list[int] = []
    result = dg.materialize(
        [heartbeats, enrolled.assets.participant],
        selection=[heartbeats],
        instance=enrolled.instance,
        resources=enrolled.resources,
    )
    assert result.success
    assert seen == [24 * len(PARTICIPANTS)]


def test_what_was_fetched_is_known_without_a_request(enrolled: Lab) -> None:
    """From tags of the newest materialization of each partition."""
    fetch_everybody(enrolled)
    enrolled.server.forget_requests()
    found = fetched_participants(enrolled.instance, enrolled.study)
    assert enrolled.routes() == []
    assert set(found) == set(PARTICIPANTS)
    uploaded = enrolled.world.participant(ANNA).last_upload
    assert uploaded is not None
    assert found[ANNA].last_upload == uploaded.replace(microsecond=0)
    assert found[ANNA].version == version_of(enrolled, ANNA)
