"""Worlds that change while their server runs, and the byte counts that tell of it."""

from __future__ import annotations

from collections import defaultdict
from datetime import date, timedelta
from zoneinfo import ZoneInfo

import pytest
from simulator_helpers import ALPHA, BETA, NOW, Client, hour, window

from dagster_beiwe.simulator import ParticipantPlan, World

DailyBytes = dict[tuple[str, str, str], int]


def daily_bytes(client: Client, study_id: str, **query: str) -> DailyBytes:
    """(participant, day, stream) → bytes, from the server's statistics."""
    rows = client.post("get-summary-statistics/v1", study_id=study_id, query=query).json()
    return {
        (row["participant_id"], row["date"], name.removeprefix("beiwe_").removesuffix("_bytes")): value
        for row in rows
        for name, value in row.items()
        if name.startswith("beiwe_") and value is not None
    }


@pytest.mark.parametrize(("study_id", "zone"), [(ALPHA, "America/New_York"), (BETA, "Asia/Kolkata")])
def test_daily_bytes_are_the_sizes_of_the_files_of_the_local_day(client: Client, study_id: str, zone: str) -> None:
    """Counted where the bin starts, in the study's zone, also half an hour off."""
    sizes: DailyBytes = defaultdict(int)
    archive = client.archive(study_id=study_id)
    for member in archive.infolist()[:-1]:
        participant, stream, *_, name = member.filename.split("/")
        year, month, day, clock = int(name[:4]), int(name[5:7]), int(name[8:10]), int(name[11:13])
        start = hour(0).replace(year=year, month=month, day=day, hour=clock, minute=int(name[14:16]))
        sizes[participant, start.astimezone(ZoneInfo(zone)).date().isoformat(), stream] += member.file_size
    assert daily_bytes(client, study_id) == sizes


def test_half_hour_zones_put_the_hour_before_midnight_on_the_earlier_day(client: Client) -> None:
    """18:00 UTC is 23:30 in Kolkata, so that file belongs to the day that ends."""
    archive = client.archive(study_id=BETA, data_streams='["gps"]', **window(hour(18), hour(19)))
    size = archive.infolist()[0].file_size
    bins = client.archive(study_id=BETA, data_streams='["gps"]', **window(hour(0), hour(18)))
    rest = sum(member.file_size for member in bins.infolist()[:-1])
    assert daily_bytes(client, BETA)["andr1bbb", "2026-10-05", "gps"] == rest + size


def test_quantities_are_the_sums_of_the_days(client: Client) -> None:
    """All streams of all participants, zero where there is nothing."""
    quantities = client.post("get-participant-data-quantities/v1", study_id=ALPHA).json()
    sums: dict[str, int] = defaultdict(int)
    for (participant, _, stream), size in daily_bytes(client, ALPHA).items():
        sums[f"{participant}/{stream}_bytes"] += size
    flat = {f"{one}/{name}": size for one, streams in quantities.items() for name, size in streams.items()}
    assert len(flat) == 4 * 19
    assert {name: size for name, size in flat.items() if size} == dict(sums)


def test_statistics_read_their_options_from_the_query_only(client: Client) -> None:
    """Newest first; fields, dates and ids narrow the answer; the form is not read for options."""

    def rows(**query: str) -> list[dict[str, object]]:
        found: list[dict[str, object]] = client.post(
            "get-summary-statistics/v1", study_id=ALPHA, query=query, limit="1"
        ).json()
        return found

    assert len(rows()) > 1
    assert len(rows(limit="2")) == 2
    days = [str(row["date"]) for row in rows()]
    assert days == sorted(days, reverse=True)
    (row,) = rows(
        fields="date,participant_id,beiwe_gps_bytes",
        participant_ids="andr1aaa,zzzzzzzz",
        start_date="2026-10-06",
        end_date="2026-10-06",
    )
    assert set(row) == {"date", "participant_id", "beiwe_gps_bytes"}
    assert rows(participant_ids="zzzzzzzz") == []
    days = [str(row["date"]) for row in rows(order_direction="ascending", ordered_by="date")]
    assert days == sorted(days)


@pytest.mark.parametrize(
    "query", [{"start_date": "1/2/26"}, {"fields": "date,nope"}, {"limit": "ten"}, {"order_direction": "up"}]
)
def test_bad_statistics_options_are_explained(client: Client, query: dict[str, str]) -> None:
    """400 with a JSON list of errors."""
    answer = client.post("get-summary-statistics/v1", study_id=ALPHA, query=query)
    assert answer.status_code == 400
    assert len(answer.json()["errors"]) == 1


def test_late_rows_grow_the_file_and_the_day(world: World, client: Client) -> None:
    """Same name, another hash, more bytes on that day, and an upload that arrived now."""
    form = {"user_ids": '["andr1aaa"]', "data_streams": '["gps"]', **window(hour(8), hour(9))}
    before, days = client.registry(**form), daily_bytes(client, ALPHA)
    old = world.file("andr1aaa", "gps", hour(8))
    new = world.add_rows("andr1aaa", "gps", hour(8), rows=5)
    after = client.registry(**form)
    assert before.keys() == after.keys()
    assert before != after
    lines = new.read().split(b"\n")
    assert set(old.read().split(b"\n")) < set(lines)
    assert lines[1:] == sorted(lines[1:])
    changed = {cell for cell, size in daily_bytes(client, ALPHA).items() if size != days[cell]}
    assert changed == {("andr1aaa", "2026-10-05", "gps")}
    uploads = client.post("get-participant-upload-history/v1", participant_id="andr1aaa").json()
    assert uploads[-1]["timestamp"] == NOW.strftime("%Y-%m-%dT%H:%M:%SZ")


def test_new_hours_appear(world: World, client: Client) -> None:
    """A file where there was none."""
    form = {"data_streams": '["gps"]', **window(hour(5), hour(6))}
    assert client.registry(**form) == {}
    file = world.add_hour("andr1aaa", "gps", hour(5), rows=3)
    assert client.registry(**form) == {file.key: file.md5}
    assert len(file.read().split(b"\n")) == 4


def test_deleted_data_is_not_sent_and_the_id_stays(world: World, client: Client) -> None:
    """One hour, one stream, everything."""
    assert world.delete_files("andr1aaa", stream="gps", hour=hour(8)) == 1
    world.delete_files("andr1aaa", stream="gyro")
    names = client.archive(user_ids='["andr1aaa"]').namelist()
    assert not any("/gyro/" in name or "/gps/2026-10-05 08" in name for name in names)
    world.delete_files("andr1aaa")
    assert client.registry(user_ids='["andr1aaa"]') == {}
    assert "andr1aaa" in client.post("get-users/v1", study_id=ALPHA).json()


def test_the_count_of_the_last_file_of_a_day_stays(world: World, client: Client) -> None:
    """A day's remaining files are counted again; a stream that has none is not written, so its count is left over."""
    before = daily_bytes(client, ALPHA)
    cell = ("andr1aaa", "2026-10-05", "gps")
    lost = world.file("andr1aaa", "gps", hour(8)).size_bytes
    world.delete_files("andr1aaa", stream="gps", hour=hour(8))
    assert daily_bytes(client, ALPHA) == {**before, cell: before[cell] - lost}
    world.delete_files("andr1aaa")
    assert daily_bytes(client, ALPHA) == {**before, cell: before[cell] - lost}


def test_counts_can_wait(world: World, client: Client) -> None:
    """They reach the table some time after the files."""
    world.counts_wait = True
    before = daily_bytes(client, ALPHA)
    world.add_rows("andr1aaa", "gps", hour(8))
    assert daily_bytes(client, ALPHA) == before
    world.count()
    assert daily_bytes(client, ALPHA) != before


def test_a_change_of_zone_counts_no_day_again(world: World, client: Client) -> None:
    """Each row tells the zone that it was counted in, and only days that are processed later have the new one."""

    def zones() -> dict[str, set[str]]:
        found = defaultdict(set)
        for row in client.post("get-summary-statistics/v1", study_id=ALPHA).json():
            found[str(row["timezone"])].add(f"{row['participant_id']} {row['date']}")
        return found

    before, rows = daily_bytes(client, ALPHA), zones()
    assert set(rows) == {"EDT"}
    world.change_zone(ALPHA, "Asia/Tokyo")
    assert (daily_bytes(client, ALPHA), zones()) == (before, rows)
    world.lose_object("andr1aaa", "gps", hour(8))
    assert zones() == rows
    world.add_rows("andr1aaa", "gps", hour(8))
    assert zones()["JST"] == {"andr1aaa 2026-10-05"}


def test_participants_join_and_register(world: World, client: Client) -> None:
    """Without data at first; a plan with a start brings data along."""
    empty = world.add_participant(ALPHA)
    full = world.add_participant(ALPHA, ParticipantPlan(id="late1aaa", start=hour(0), streams=["gps"]))
    assert {empty, full} < set(client.post("get-participant-ids/v1", study_id=ALPHA).json())
    assert client.registry(user_ids=f'["{empty}"]') == {}
    assert client.registry(user_ids=f'["{full}"]')
    world.register("nodt4aaa", os="IOS")
    assert [file.stream for file in world.files(ALPHA, participants=["nodt4aaa"])] == ["identifiers"]
    rows = client.post("get-participant-table-data/v1", study_id=ALPHA, data_format="json").json()
    assert {row["Patient ID"]: row["OS Type"] for row in rows}["nodt4aaa"] == "IOS"


def test_settings_names_and_interventions_change(world: World, client: Client) -> None:
    """What researchers edit on the website."""
    world.change_settings(ALPHA, gps=False)
    world.rename_study(ALPHA, "Another Name")
    world.set_intervention("andr1aaa", "Discharge", date(2026, 10, 9))
    settings = client.post("get-study-settings/v1", study_id=ALPHA).json()
    assert settings["device_settings"]["gps"] is False
    assert client.post("get-study-settings/v1", study_id=BETA).json()["device_settings"]["gps"] is True
    assert client.post("get-studies/v1").json()[ALPHA] == "Another Name"
    rows = client.post("get-participant-table-data/v1", study_id=ALPHA, data_format="json").json()
    assert rows[1]["Discharge"] == "2026-10-09"


def test_reprocessing_grows_a_range_of_files(world: World) -> None:
    """A quarter more rows in each chunked file of the range, nothing outside it."""
    before = {file.key: file.size_bytes for file in world.files(ALPHA)}
    grown = {file.key for file in world.reprocess("andr1aaa", hour(0), hour(24), stream="accelerometer")}
    after = {file.key: file.size_bytes for file in world.files(ALPHA)}
    assert len(grown) == 3
    assert {key for key in after if after[key] != before[key]} == grown
    assert all(1.2 < after[key] / before[key] < 1.3 for key in grown)


def test_answers_that_arrive_alone_lag_in_the_counts(world: World, client: Client) -> None:
    """A real server counts them only when sensor data of their day is processed."""
    days = daily_bytes(client, ALPHA)
    world.add_answers("andr1aaa", hour(20))
    assert daily_bytes(client, ALPHA) == days
    world.add_rows("andr1aaa", "gps", hour(16))
    counted = daily_bytes(client, ALPHA)["andr1aaa", "2026-10-05", "survey_answers"]
    world.unchunked_lag = False
    world.add_answers("andr1aaa", hour(21))
    assert daily_bytes(client, ALPHA)["andr1aaa", "2026-10-05", "survey_answers"] > counted > 0


def test_clock_stands_still_until_moved(world: World, client: Client) -> None:
    """Activity in the table is measured against the world's clock."""

    def status() -> str:
        table = client.post("get-participant-table-data/v1", study_id=ALPHA, data_format="json").json()
        return str({row["Patient ID"]: row["Status"] for row in table}["andr1aaa"])

    assert status() == status() == "Active (past day)"
    world.advance(timedelta(days=30))
    assert status() == "Inactive"
    world.add_rows("andr1aaa", "gps", hour(8))
    assert status() == "Active (just now)"
