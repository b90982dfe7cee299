"""Coverage as one truth: what arrived of each participant, day and stream, beside what was promised."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, time, timezone

import pandas as pd
import pytest
from core_helpers import DAY, HOUR, NOW, PERSON, START, STUDY, cells_of, client_of, sync
from coverage_studies import (
    ALWAYS,
    ENROLLED,
    FIRST,
    GPS_ALWAYS,
    NOON,
    TODAY,
    UTC,
    WEEKS,
    basis,
    hours_of,
    measured,
    of,
    put,
)

from dagster_beiwe.client import DailyBytes
from dagster_beiwe.coverage import Enrollment, find_silent
from dagster_beiwe.coverage.expected import SettingsRecord
from dagster_beiwe.coverage.wording import silence_lines
from dagster_beiwe.lake import StudyLake
from dagster_beiwe.simulator import ContentPlan, ParticipantPlan, SimulatedServer, StudyPlan, World
from dagster_beiwe.studies.config import StudyConfig
from dagster_beiwe.studies.server_counts import counts_in_batches
from dagster_beiwe.studies.study import Study
from dagster_beiwe.studies.time_zones import StudyZone
from dagster_beiwe.sync import DailyIndex
from dagster_beiwe.windows import Window


def test_each_day_says_what_arrived_beside_what_was_promised(lake: StudyLake) -> None:
    """A whole day, half a day, and a day without anything; today still goes on."""
    put(lake, [*hours_of(START), *hours_of(START + DAY, 12)])
    rows = of(measured(lake, basis()))
    assert list(rows["state"].iloc[:3]) == ["complete", "partial", "missing"]
    assert rows["state"].iloc[-1] == "not yet"
    assert list(rows["hours"].iloc[:3]) == [24, 12, 0]
    assert list(rows["lake_bytes"].iloc[:3]) == [240, 120, 0]
    assert list(rows.index) == [FIRST + number * DAY for number in range(14)]
    assert set(rows["expected_hours"]) == {24.0}


def test_a_day_that_goes_on_can_be_complete_but_not_missing(lake: StudyLake) -> None:
    """A sensor that is on twice a day has done so by noon."""
    rare = {"gps": True, "gps_on_duration_seconds": 0, "gps_off_duration_seconds": 12 * 3600}
    study = basis(history=[SettingsRecord(seen=START, values=rare)])
    assert of(measured(lake, study))["state"].iloc[-1] == "not yet"
    put(lake, hours_of(NOON - 12 * HOUR, 2))
    rows = of(measured(lake, study))
    assert rows["expected_hours"].iloc[-1] == 2.0
    assert rows["state"].iloc[-1] == "complete"


@pytest.mark.parametrize(
    ("zone", "day", "hours", "promised"),
    [
        ("America/New_York", date(2026, 3, 8), 23, 23.0),  # clocks go forward
        ("America/New_York", date(2026, 11, 1), 25, 25.0),  # and back
        ("Australia/Lord_Howe", date(2026, 4, 5), 25, 24.5),  # back by half an hour
        ("Asia/Kolkata", date(2026, 3, 5), 24, 24.0),  # half an hour from the hour
    ],
)
def test_days_are_those_of_the_study(lake: StudyLake, zone: str, day: date, hours: int, promised: float) -> None:
    """Whenever they begin, and however long they are. The hour in which a day begins belongs to the day before."""
    begin = datetime.combine(day - 3 * DAY, time(), timezone.utc)
    windows = [Window(begin, begin + 6 * DAY)]
    put(lake, hours_of(begin, 6 * 24), windows=windows)
    study = basis(
        zone=StudyZone(name=zone, source="server"), windows=windows, now=windows[0].end - HOUR, roster={PERSON: ALWAYS}
    )
    rows = of(measured(lake, study))
    found = rows.loc[day, ["hours", "files", "expected_hours", "state"]].tolist()
    assert found == [hours, hours, promised, "complete"]
    assert rows["files"].sum() == 6 * 24
    assert set(rows["state"].iloc[:-1]) == {"complete"}


@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Kolkata", "Australia/Lord_Howe"])
def test_days_have_the_bytes_that_the_server_counts(lake: StudyLake, zone: str) -> None:
    """To the byte, on each day, of what was fetched from it."""
    person = ParticipantPlan(id=PERSON, hours=(1, 5, 13, 18, 22), streams=("gps", "survey_answers"))
    plan = StudyPlan(id=STUDY, time_zone=zone, start=START, participants=[person], content=ContentPlan(rows=3))
    world = World.build(plan, now=NOW)
    study = basis(zone=StudyZone(name=zone, source="server"), streams=("gps", "survey_answers"))
    with SimulatedServer(world) as server, client_of(server) as client:
        daily = DailyIndex.of(study.zone.zone, client.summary_statistics(STUDY))
        sync(client, lake, cells_of(PERSON), daily=daily)
    frame = measured(lake, replace(study, now=NOW + HOUR), daily)
    assert (frame["lake_bytes"] == frame["server_bytes"]).all()
    assert frame["files"].sum() == len(world.files(STUDY))


def test_only_what_the_server_has_is_requested() -> None:
    """Its totals tell who has bytes, and of which streams. Of the rest, it counts none."""
    people = [ParticipantPlan(id=PERSON, hours=(1,), streams=("gps",)), ParticipantPlan(id="mute0001", start=NOW)]
    world = World.build(StudyPlan(id=STUDY, start=START, participants=people, content=ContentPlan(rows=3)), now=NOW)
    study = Study(id=STUDY, name="Core", key="core", config=StudyConfig(STUDY))
    with SimulatedServer(world) as server, client_of(server) as client:
        ((participants, daily),) = counts_in_batches(client, study, UTC, WEEKS, [PERSON, "mute0001"])
        statistics = dict(server.requests[-1].query)
    assert daily
    assert (statistics["participant_ids"], statistics["fields"]) == (
        PERSON,
        "date,participant_id,timezone,beiwe_gps_bytes",
    )
    assert participants == [PERSON, "mute0001"]
    assert daily.counts_anything(PERSON)
    assert not daily.counts_anything("mute0001")


def test_every_file_counts_once_when_the_study_moves(lake: StudyLake) -> None:
    """Rows that name different zones lie side by side: their days overlap, or leave hours out."""
    moments = hours_of(START, 14 * 24)
    put(lake, moments)
    for first, second in (("America/New_York", "Asia/Tokyo"), ("Asia/Tokyo", "America/New_York")):
        abbreviation = {"America/New_York": "EST", "Asia/Tokyo": "JST"}
        zone = StudyZone(name=second, source="server", former=(first,))
        records = [
            DailyBytes(
                participant=PERSON,
                day=FIRST + number * DAY,
                bytes_by_stream={"gps": 240},
                zone=abbreviation[first if number < 5 else second],
            )
            for number in range(13)
        ]
        daily = DailyIndex.of(zone.zone, records, former=zone.former_zones)
        rows = of(measured(lake, basis(zone=zone, now=NOW + HOUR), daily))
        assert rows["files"].sum() == len(moments)
        assert rows["lake_bytes"].iloc[[1, 8]].tolist() == [240, 240]
        assert set(rows["state"].iloc[:-1]) == {"complete"}  # a day of the move has other than 24 hours
        assert set(rows["expected_hours"].iloc[1:12]) > {24.0}


def test_out_of_range_files_do_not_make_a_silent_phone_look_alive(lake: StudyLake) -> None:
    """Dated 1970 or 2027, or later today: a wrong clock. They are in no row, and end no silence."""
    put(lake, [*hours_of(START), datetime(1970, 1, 1, tzinfo=timezone.utc), NOW + 300 * DAY, NOON + 3 * HOUR])
    year = [DailyBytes(participant=PERSON, day=date(2027, 1, 1), bytes_by_stream={"gps": 10}, zone="UTC")]
    frame = measured(lake, basis(), DailyIndex.of(UTC.zone, year))
    assert frame["files"].sum() == 24
    assert frame["day"].max().date() == TODAY
    assert frame["server_bytes"].sum() == 0
    (silent,) = find_silent(frame, {PERSON: ENROLLED})
    assert (silent.last_data, silent.days_silent) == (FIRST, 12)


def test_what_the_server_counts_is_not_missing_though_it_was_not_fetched(lake: StudyLake) -> None:
    """The phone has done its part. What the server does not count is unknown, and so is what waits to be processed."""
    counted = [DailyBytes(participant=PERSON, day=TODAY - DAY, bytes_by_stream={"gps": 70}, zone="UTC")]
    daily = DailyIndex.of(UTC.zone, counted, uncounted=frozenset({"texts"}))
    put(lake, hours_of(START, 1), stream="bluetooth")
    frame = measured(lake, basis(streams=("gps", "texts")), daily)
    yesterday = of(frame).loc[TODAY - DAY]
    assert (yesterday["files"], yesterday["server_bytes"], yesterday["state"]) == (0, 70, "partial")
    assert of(frame)["server_bytes"].sum() == 70
    assert of(frame, "texts")["server_bytes"].isna().all()
    assert of(frame, "bluetooth")["server_bytes"].isna().all()
    assert of(frame, "bluetooth")["files"].tolist() == [1] + [0] * 13
    assert frame["waiting"].isna().all()
    assert not find_silent(frame, {PERSON: ENROLLED})


def test_uploads_that_the_server_has_not_processed_are_counted(lake: StudyLake) -> None:
    """Of who uploaded after the last data: files of days of which nothing is processed. Of others it is unknown."""
    put(lake, hours_of(START))
    opened = [START + HOUR, START + 11 * DAY, START + 12 * DAY + HOUR, START + 12 * DAY + 2 * HOUR, NOW + 300 * DAY]
    uploads = pd.DataFrame({"stream": ["gps"] * 4 + ["accel"], "opened": pd.to_datetime(opened).as_unit("ms")})
    sent = Enrollment(participant=PERSON, created=FIRST, registered=FIRST, last_upload=START + 12 * DAY)
    frame = measured(lake, basis(roster={PERSON: sent}, uploads=lambda participant: uploads))
    assert of(frame)["waiting"].tolist() == [0] * 11 + [1, 2, 0]
    (silent,) = find_silent(frame, {PERSON: sent})
    assert silent.waiting == 3
    (line,) = silence_lines([silent], "America/New_York")
    assert line.endswith("last heartbeat unknown. 3 uploaded files not yet processed by the server.")
    heard = Enrollment(participant=PERSON, created=FIRST, registered=FIRST, last_upload=START + 12 * HOUR)
    frame = measured(lake, basis(roster={PERSON: heard}, uploads=lambda participant: uploads))
    assert frame["waiting"].isna().all()


def test_a_server_without_counts_leaves_them_empty(lake: StudyLake) -> None:
    """Servers before June 2024: the lake alone says what arrived."""
    put(lake, hours_of(START))
    frame = measured(lake, basis(), None)
    assert frame["server_bytes"].isna().all()
    assert of(frame)["state"].iloc[0] == "complete"


def test_settings_hold_from_the_day_on_which_they_were_seen(lake: StudyLake) -> None:
    """A stream that was switched off is not missed from then on, nor on the day itself; before that it is."""
    off = {**GPS_ALWAYS, "gps": False}
    change = START + 5 * DAY + 9 * HOUR
    history = [SettingsRecord(seen=change, values=off), SettingsRecord(seen=START + 2 * DAY, values=GPS_ALWAYS)]
    states = of(measured(lake, basis(history=history)))["state"].tolist()
    assert states == ["missing"] * 5 + ["not expected"] * 9
    on_again = [*history, SettingsRecord(seen=START + 9 * DAY, values=GPS_ALWAYS)]
    states = of(measured(lake, basis(history=on_again)))["state"].tolist()
    assert states[5:11] == ["not expected"] * 5 + ["missing"]


@pytest.mark.parametrize(
    ("stream", "settings", "hours"),
    [
        ("gps", {"gps_on_duration_seconds": 60, "gps_off_duration_seconds": 3600}, 24),
        ("gps", {"gps_on_duration_seconds": 3600, "gps_off_duration_seconds": 3 * 3600}, 12),
        ("gps", {}, 24),
        ("bluetooth", {"bluetooth_on_duration_seconds": 60, "bluetooth_total_duration_seconds": 300}, 24),
        ("bluetooth", {"bluetooth_on_duration_seconds": 1800, "bluetooth_total_duration_seconds": 3 * 3600}, 12),
        ("wifi", {"wifi_log_frequency_seconds": 6 * 3600}, 4),
        ("devicemotion", {}, None),  # an iPhone's
        ("texts", {}, None),
        ("power_state", {}, None),
        ("survey_answers", {}, None),
    ],
)
def test_duty_cycles_promise_hours(
    lake: StudyLake, stream: str, settings: Mapping[str, int], hours: float | None
) -> None:
    """A sensor that is never off for an hour has data in each. Events promise nothing."""
    history = [SettingsRecord(seen=START, values={stream: True, **settings})]
    rows = of(measured(lake, basis(streams=(stream,), history=history)), stream)
    assert rows["expected_hours"].dropna().unique().tolist() == ([] if hours is None else [hours])


def test_everybody_on_the_roster_has_rows(lake: StudyLake) -> None:
    """Also who never sent a byte, or never registered a phone; and who is in the lake, but no longer on the server."""
    put(lake, hours_of(START + DAY, 2), participant="gone0001")
    put(lake, hours_of(START + DAY, 2), participant="left0001")
    created = FIRST + 3 * DAY
    roster = {
        "mute0001": Enrollment(participant="mute0001", created=created, registered=created + DAY),
        "idle0001": Enrollment(participant="idle0001", created=created, status="not enrolled yet"),
        "left0001": Enrollment(
            participant="left0001", created=FIRST, registered=FIRST, status="retired", last_heartbeat=START + 4 * DAY
        ),
    }
    frame = measured(lake, basis(roster=roster), participants=[*roster, "gone0001"])
    mute, idle, left, gone = (of(frame, participant=each) for each in (*roster, "gone0001"))
    assert mute["status"].tolist() == ["not enrolled yet"] + ["enrolled"] * 10
    assert mute["state"].tolist() == ["not expected"] + ["missing"] * 9 + ["not yet"]
    assert idle["status"].tolist() == ["not enrolled yet"]
    assert list(idle.index) == [TODAY]
    assert left["status"].tolist() == ["enrolled"] * 5 + ["retired"]
    assert gone["status"].tolist() == ["enrolled", "withdrawn"]
    assert [(each.participant, each.last_data, each.days_silent) for each in find_silent(frame, roster)] == [
        ("mute0001", None, 9)
    ]


def test_who_left_is_enrolled_no_more_though_the_phone_goes_on(lake: StudyLake) -> None:
    """A retired participant's phone may send heartbeats for weeks: nobody is told to ask after it."""
    left = Enrollment(participant=PERSON, created=FIRST, registered=FIRST, status="retired", last_heartbeat=NOW)
    frame = measured(lake, basis(roster={PERSON: left}))
    assert set(of(frame)["status"].iloc[:-1]) == {"enrolled"}
    assert of(frame)["status"].iloc[-1] == "retired"
    assert not find_silent(frame, {PERSON: left})


def test_who_was_created_tomorrow_has_a_row_today(lake: StudyLake) -> None:
    """The server's day may have begun while that of the configured zone still goes on."""
    tomorrow = Enrollment(participant=PERSON, created=TODAY + DAY, registered=TODAY + DAY)
    rows = of(measured(lake, basis(roster={PERSON: tomorrow})))
    assert rows["status"].to_dict() == {TODAY: "enrolled"}


def test_a_study_without_participants_has_a_table_without_rows(lake: StudyLake) -> None:
    """Nothing is asked of an empty lake, and nobody is silent."""
    frame = measured(lake, basis(roster={}), participants=[])
    assert frame.empty
    assert not find_silent(frame, {})


@pytest.mark.parametrize("windows", [[], [Window(NOW + DAY, NOW + 8 * DAY)]])
def test_a_study_that_has_not_begun_has_a_table_without_rows(lake: StudyLake, windows: Sequence[Window]) -> None:
    """Whoever is on its roster already: there is no day yet."""
    frame = measured(lake, basis(windows=windows))
    assert frame.empty
    assert not find_silent(frame, {PERSON: ENROLLED})


def test_windows_from_before_a_changed_start_are_outside_of_the_study(lake: StudyLake) -> None:
    """As are those of another length: their files are in no row."""
    put(lake, hours_of(START, 3))
    late = basis(windows=[Window(START + 7 * DAY, NOW)])
    assert measured(lake, late)["files"].sum() == 0
