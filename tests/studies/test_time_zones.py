"""Days are local to the study, windows are in UTC: which windows a changed day makes dirty, and who tells the zone."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from labs import PARTICIPANTS, WEEKS, Lab, day_of_week, moment, raw_data_requests, world_of

from dagster_beiwe import StudyConfig
from dagster_beiwe.automation.changes import ChangesCursor
from dagster_beiwe.errors import ConfigurationError
from dagster_beiwe.member_names import short_key
from dagster_beiwe.simulator import ContentPlan, ParticipantPlan, StudyPlan, World
from dagster_beiwe.studies.server_counts import ZONE_TAG, find_zone
from dagster_beiwe.studies.time_zones import StudyZone, ask_time_zone

ANNA = PARTICIPANTS[0]
HOUR = timedelta(hours=1)
CHANGED = [(10, 26, 0), (10, 26, 23), (11, 2, 5), (11, 2, 18)]


def autumn_world(zone: str) -> World:
    """A week around the end of summer time in both Europe and America in 2025, data at every hour."""
    plan = StudyPlan(
        name="Sleep and Mood",
        time_zone=zone,
        participants=(ParticipantPlan(id=ANNA),),
        start=datetime(2025, 10, 24, tzinfo=timezone.utc),
        end=datetime(2025, 11, 4, tzinfo=timezone.utc),
        hours=(0, 4, 5, 13, 14, 18, 19, 23),
        streams=("gps",),
        content=ContentPlan(rows_by_stream={"gps": 2}),
    )
    return World.build(plan)


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe"])
def test_changed_hours_make_the_windows_of_their_local_day_dirty(open_lab: Callable[..., Lab], zone: str) -> None:
    """Also on days of 24.5 or 25 hours, and where days begin at half past: nothing is missed, nothing stays open."""
    lab = open_lab(autumn_world(zone), start=datetime(2025, 10, 20).date(), window="daily", streams=("gps",))
    lab.enrol()
    lab.follow()
    assert lab.requested() == []
    hours = [datetime(2025, month, day, hour, tzinfo=timezone.utc) for month, day, hour in CHANGED]
    for hour in hours:
        lab.world.add_rows(ANNA, "gps", hour)
    requested = lab.follow()
    assert {f"{ANNA}|{hour:%Y-%m-%d}" for hour in hours} <= set(requested)
    assert set(requested) <= {f"{ANNA}|{day:%Y-%m-%d}" for hour in hours for day in local_days(hour, zone)}
    assert lab.requested() == []
    assert lab.check("complete").passed


def local_days(hour: datetime, zone: str) -> list[datetime]:
    """UTC days that the hour's local day touches."""
    day = hour.astimezone(ZoneInfo(zone)).date()
    start = datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(zone)).astimezone(timezone.utc)
    return [start + number * HOUR for number in range(26)]


def test_a_server_tells_the_zone_with_its_settings(lab: Lab) -> None:
    """Runs and sensors remember it from the settings' last materialisation, and ask nothing."""
    assert lab.run("settings").success
    lab.enrol()
    lab.server.forget_requests()
    lab.tick()
    assert lab.routes() == ["/get-participant-data-quantities/v1", "/get-summary-statistics/v1"]


def test_a_configured_zone_goes_first(open_lab: Callable[..., Lab]) -> None:
    """Nobody is asked."""
    lab = open_lab(time_zone="Europe/Berlin")
    lab.enrol()
    lab.tick()
    assert lab.routes() == ["/get-participant-data-quantities/v1", "/get-summary-statistics/v1"]
    assert '"zone":"Europe/Berlin"' in (lab.cursor or "")


def test_an_older_server_has_the_zone_of_most_phones(open_lab: Callable[..., Lab]) -> None:
    """The check says that it is a guess."""
    lab = open_lab(world_of(ANNA, zone="Asia/Kolkata"), profile="2025-06")
    lab.enrol()
    with lab.beiwe.get_client() as client:
        assert ask_time_zone(client, lab.study.id) == StudyZone(name="Asia/Kolkata", source="phones")
    lab.follow()
    evaluation = lab.check("complete")
    assert evaluation.passed
    assert "guess" in (evaluation.description or "")


def test_a_server_without_anybody_is_taken_as_utc(open_lab: Callable[..., Lab]) -> None:
    """Nothing better is known."""
    lab = open_lab(world_of(ParticipantPlan(id="nobody01", os="")), profile="2025-06")
    with lab.beiwe.get_client() as client:
        assert ask_time_zone(client, lab.study.id).source == "unknown"


def test_a_wrong_zone_is_refused_when_the_project_loads() -> None:
    """With the way out."""
    with pytest.raises(ConfigurationError, match="America/New_York"):
        StudyConfig("Sleep and Mood", time_zone="Berlin")


def test_an_hour_before_midnight_counts_to_its_local_day(open_lab: Callable[..., Lab]) -> None:
    """Sunday evening in New York is Monday in UTC: both windows are looked at."""
    lab = open_lab(world_of(ANNA, hours=(2,)))
    lab.enrol()
    lab.follow()
    monday = lab.study.start
    assert monday is not None
    lab.world.add_rows(ANNA, "gps", moment(monday + timedelta(weeks=1), 2))
    assert lab.follow() == [f"{ANNA}|{(monday + timedelta(weeks=n)).isoformat()}" for n in (0, 1)]
    assert lab.requested() == []


def learn_zone(lab: Lab) -> None:
    """The sensor asks for the zone once a day: that day is over."""
    lab.cursor = replace(ChangesCursor.from_text(lab.cursor), zone_at=0).to_text()


def test_a_change_of_zone_alone_requests_nothing(lab: Lab) -> None:
    """The server counts no day again: what was complete stays so, by the zone that each day names."""
    lab.enrol()
    lab.follow()
    lab.world.change_zone(lab.study.id, "Asia/Tokyo")
    learn_zone(lab)
    assert lab.follow() == []
    cursor = ChangesCursor.from_text(lab.cursor)
    assert (cursor.zone, cursor.former_zones, set(cursor.up_to_date)) == (
        "Asia/Tokyo", ("America/New_York",), set(PARTICIPANTS),
    )  # fmt: skip
    evaluation = lab.check("complete")
    assert evaluation.passed
    assert evaluation.metadata["time zone"].value == "Asia/Tokyo (server)"


def test_after_a_change_of_zone_new_data_is_followed_and_compared(open_lab: Callable[..., Lab]) -> None:
    """Days of both zones lie side by side, and share hours; runs go by the zones that the sensor knows."""
    lab = open_lab(world_of(ANNA, hours=(2, 14, 20)), streams=("gps", "power_state"))
    lab.enrol()
    lab.follow()
    lab.world.change_zone(lab.study.id, "Asia/Tokyo")
    learn_zone(lab)
    lab.world.add_rows(ANNA, "gps", moment(day_of_week(1), 20))
    lab.world.add_hour(ANNA, "gps", moment(day_of_week(2), 3))
    requests = raw_data_requests(lab.tick())
    assert {request.tags[ZONE_TAG] for request in requests} == {"Asia/Tokyo server America/New_York"}
    assert sorted(key for request in requests for key in lab.partitions_of(request)) == [
        f"{ANNA}|{WEEKS[1]}",
        f"{ANNA}|{WEEKS[2]}",
    ]
    for request in requests:
        assert lab.run("raw_data", tags=dict(request.tags)).success
    assert lab.follow() == []
    assert {row.zone for row in lab.world.counts(ANNA).values()} == {"Asia/Tokyo", "America/New_York"}
    assert lab.check("complete").passed


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "Asia/Kolkata"])
def test_a_study_that_moved_before_anybody_looked_is_complete(open_lab: Callable[..., Lab], zone: str) -> None:
    """Nobody remembers the former zone, which the days name by ``IST``: that of Israel, or of India."""
    lab = open_lab(world_of(ANNA, zone="Asia/Jerusalem", hours=(2, 14, 20)))
    lab.world.change_zone(lab.study.id, zone)
    lab.backfill()
    assert lab.check("complete").passed
    lab.world.add_rows(ANNA, "gps", moment(day_of_week(1), 20))
    assert lab.follow()
    assert lab.follow() == []


def test_settings_remember_former_zones(lab: Lab) -> None:
    """For runs and checks that nobody gives the zones to."""
    lab.run("settings")
    lab.world.change_zone(lab.study.id, "Asia/Tokyo")
    lab.run("settings")
    lab.world.change_zone(lab.study.id, "Europe/Berlin")
    lab.run("settings")
    with lab.beiwe.get_client() as client:
        zone = find_zone(lab.study, lab.instance, client).zone
    assert (zone.name, zone.former) == ("Europe/Berlin", ("Asia/Tokyo", "America/New_York"))


def test_sensor_and_run_agree_while_the_server_says_otherwise(lab: Lab) -> None:
    """For a day at most: what the sensor remembers is what its runs go by, so that nothing is requested for ever."""
    lab.enrol()
    lab.follow()
    lab.world.change_zone(lab.study.id, "Asia/Tokyo")
    lab.world.add_rows(ANNA, "gps", moment(lab.study.start or date.min))
    assert lab.follow()
    lab.tick()
    assert set(ChangesCursor.from_text(lab.cursor).up_to_date) == set(PARTICIPANTS)


def test_a_zone_of_the_same_name_that_is_not_known_yet_deletes_nothing(open_lab: Callable[..., Lab]) -> None:
    """Chicago and Shanghai both are CST. A day that is counted anew by the latter lacks what the former counted to it,
    and the sensor learns of the change a day later."""
    lab = open_lab(
        world_of(ANNA, zone="America/Chicago", hours=(12, 20)), streams=("gps",), remove_deleted_upstream=True
    )
    lab.enrol()
    lab.follow()
    evening = moment(day_of_week(1), 20)
    lab.world.change_zone(lab.study.id, "Asia/Shanghai")
    lab.world.delete_files(ANNA, stream="gps", hour=evening - timedelta(days=1))
    lost = lab.world.lose_object(ANNA, "gps", evening)
    assert lab.follow()
    held = {record.key for manifest in lab.lake.manifests(ANNA) for record in manifest.files}
    assert short_key(lost.key) in held


def test_an_unknown_zone_is_asked_for_until_it_is_known(open_lab: Callable[..., Lab]) -> None:
    """Before the first phone registers, nobody can tell."""
    lab = open_lab(world_of(ParticipantPlan(id="nobody01", os=""), zone="Asia/Tokyo"), profile="2025-06")
    lab.enrol()
    lab.tick()
    assert ChangesCursor.from_text(lab.cursor).zone_source == "unknown"
    lab.world.register("nobody01")
    lab.tick()
    assert ChangesCursor.from_text(lab.cursor).zone == "Asia/Tokyo"


def test_late_data_are_fetched_although_the_zone_was_guessed_wrong(open_lab: Callable[..., Lab]) -> None:
    """Phones in New York, a server that counts in Tokyo: an hour counts to a day beside the one that is thought."""
    lab = open_lab(world_of(ANNA, zone="Asia/Tokyo", hours=(18,)), profile="2025-06", window="daily", streams=("gps",))
    lab.enrol()
    guess = ChangesCursor(zone="America/New_York", zone_source="phones", zone_at=time.time())
    lab.cursor = guess.to_text()
    lab.follow()
    assert lab.requested() == []
    start = lab.study.start
    assert start is not None
    for number in (2, 9):
        day = start + timedelta(days=number)
        lab.world.add_rows(ANNA, "gps", moment(day, 18))
        assert f"{ANNA}|{day.isoformat()}" in lab.follow()
        assert lab.requested() == []
