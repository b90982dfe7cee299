"""The sensor that follows the server's counts: what it asks, what it requests, and what it remembers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import dagster as dg
import pytest
from labs import NOW, PARTICIPANTS, WEEKS, Lab, day_of_week, later, moment, values, world_of

from dagster_beiwe.automation.changes import ChangesCursor
from dagster_beiwe.errors import ServerError
from dagster_beiwe.lake.catalog.past import take_out
from dagster_beiwe.lake.catalog.records import Place
from dagster_beiwe.lake.layout import Subject
from dagster_beiwe.partitions.definitions import study_windows
from dagster_beiwe.partitions.run_keys import rectangle_tags
from dagster_beiwe.studies import server_counts
from dagster_beiwe.studies.server_counts import counts_around
from dagster_beiwe.studies.time_zones import StudyZone
from dagster_beiwe.sync import Cell, StudySync

ANNA, BERT, CLEO = PARTICIPANTS
HOUR = timedelta(hours=1)


def test_the_first_evaluation_requests_what_the_server_has(open_lab: Callable[..., Lab]) -> None:
    """Everything at once, in one run, which then brings it."""
    lab = open_lab(world_of(*PARTICIPANTS, zone="UTC"))
    lab.enrol()
    assert lab.follow() == lab.windows_with_data()
    assert lab.check("complete").passed


def test_an_evaluation_with_nothing_new_is_one_request(lab: Lab) -> None:
    """And starts nothing."""
    lab.backfill()
    lab.tick()
    lab.server.forget_requests()
    lab.tick()
    assert lab.routes() == ["/get-participant-data-quantities/v1"]
    assert lab.tick() == []
    assert "0 participants checked, 3 up to date" in lab.skipped


def test_a_comparison_that_finds_nothing_wakes_nobody(lab: Lab) -> None:
    """It is noted in the lake, and yet the next evaluation is one request."""
    lab.backfill()
    lab.follow()
    before = lab.lake.state.number
    with lab.beiwe.get_client() as client:
        sync = StudySync(client, lab.lake, streams=lab.study.config.streams, run_id="audit")
        found = list(sync.compare(Cell(ANNA, window) for window in study_windows(lab.study, now=NOW)))
    assert {each.outcome for each in found} == {"equal"}
    assert lab.lake.state.number > before
    lab.server.forget_requests()
    assert lab.tick() == []
    assert lab.routes() == ["/get-participant-data-quantities/v1"]


def test_a_late_hour_of_last_month_runs_exactly_its_window(lab: Lab) -> None:
    """Rows that arrive weeks late; what comes over the wire is that hour."""
    lab.backfill()
    assert lab.follow() == []
    lab.world.add_rows(BERT, "gps", moment(day_of_week(1)), rows=50)
    lab.server.forget_requests()
    assert lab.follow() == [f"{BERT}|{WEEKS[1]}"]
    assert lab.routes()[:2] == ["/get-participant-data-quantities/v1", "/get-summary-statistics/v1"]
    asked = [dict(each.query)["participant_ids"] for each in lab.server.requests if "summary" in each.route]
    assert asked == [BERT, BERT]  # the sensor and the run, about the one who has moved
    assert sum("get-data" in route for route in lab.routes()) == 2  # a probe of the route, and the data
    assert lab.follow() == []


def test_deleted_and_new_files_are_followed(lab: Lab) -> None:
    """An hour that a researcher had deleted, and one that came after all."""
    lab.world.add_hour(ANNA, "gps", moment(day_of_week(0), 13))
    lab.backfill()
    lab.follow()
    lab.world.delete_files(ANNA, stream="gps", hour=moment(day_of_week(0)))
    lab.world.add_hour(CLEO, "power_state", moment(day_of_week(2), 3))
    assert lab.follow() == [f"{ANNA}|{WEEKS[0]}", f"{CLEO}|{WEEKS[2]}"]
    assert [each.present for each in lab.lake.manifest(ANNA, WEEKS[0]).files].count(False) == 1  # type: ignore[union-attr]
    assert lab.follow() == []


def test_windows_of_runs_that_wait_are_not_requested_again(lab: Lab) -> None:
    """Those of a backfill, or of a run that somebody started by hand."""
    lab.enrol()
    job = lab.job.get_subset(asset_selection={lab.key("raw_data")})
    waiting = lab.instance.create_run_for_job(
        job, tags=rectangle_tags([ANNA, BERT], WEEKS[:3]), status=dg.DagsterRunStatus.STARTING
    )
    waited_for = {f"{one}|{week}" for one in (ANNA, BERT) for week in WEEKS[:3]}
    requested = lab.requested()
    assert requested
    assert waited_for.isdisjoint(requested)
    lab.instance.delete_run(waiting.run_id)
    assert set(lab.requested()) == waited_for | set(requested)


def test_a_run_that_died_unnoticed_does_not_block_its_windows(lab: Lab) -> None:
    """Without Dagster's run monitoring it is shown as running for ever."""
    lab.enrol()
    job = lab.job.get_subset(asset_selection={lab.key("raw_data")})
    lab.instance.create_run_for_job(job, tags=rectangle_tags(PARTICIPANTS, WEEKS), status=dg.DagsterRunStatus.STARTED)
    assert lab.requested() == []
    with later(hours=25):
        assert lab.requested()


def test_a_window_that_failed_is_not_requested_again_in_a_run_of_another_shape(lab: Lab) -> None:
    """It was requested with its neighbors, which succeeded, and then with another one; it still has to wait."""
    lab.enrol()
    hour = moment(day_of_week(1))
    with lab.server.misbehave("poisoned_hour", participant=ANNA, stream="gps", start=hour, end=hour + HOUR):
        lab.follow()
        assert lab.requested() == []
        lab.world.add_rows(ANNA, "gps", moment(day_of_week(2)))
        assert lab.follow() == [f"{ANNA}|{WEEKS[2]}"]
    assert lab.requested() == []
    with later(hours=7):
        assert lab.follow() == [f"{ANNA}|{WEEKS[1]}"]
        assert lab.follow() == []


def test_counts_that_go_back_to_what_they_were_are_followed(lab: Lab) -> None:
    """At once: the lake was committed with other counts meanwhile, by the sensor's run or by somebody else's."""
    hour = moment(day_of_week(1))
    before, after = b"timestamp,UTC time\n1,2", b"timestamp,UTC time\n1,2\n3,4"
    lab.world.set_content(ANNA, "gps", hour, before)
    lab.enrol()
    lab.follow()
    for content in (after, before, after):
        lab.world.set_content(ANNA, "gps", hour, content)
        assert lab.follow() == [f"{ANNA}|{WEEKS[1]}"]
    lab.world.set_content(ANNA, "gps", hour, before)
    lab.run("raw_data", partition=f"{ANNA}|{WEEKS[1]}")
    lab.world.set_content(ANNA, "gps", hour, after)
    assert lab.follow() == [f"{ANNA}|{WEEKS[1]}"]
    assert lab.follow() == []


@pytest.mark.parametrize(
    "text",
    [
        "nonsense",
        "[]",
        "null",
        '{"up_to_date": 3}',
        '{"up_to_date": {"a": 1}, "next": 7}',
        '{"looked_at": 9e99, "zone": "UTC", "zone_source": "server", "zone_at": 9e99}',
        '{"looked_at": NaN}',
        100_000 * "[",
    ],
    ids=range(8),
)
def test_a_cursor_that_can_not_be_read_costs_a_look(lab: Lab, text: str) -> None:
    """Nothing is requested twice because of it, and nothing forgotten."""
    lab.backfill()
    lab.cursor = text
    assert lab.follow() == []
    assert lab.tick() == []
    assert len(json.loads(lab.cursor or "")["up_to_date"]) == len(PARTICIPANTS)


def test_times_of_the_future_count_as_never() -> None:
    """A clock was set back: the server is asked at once, and not when that time has come."""
    later_on = (NOW + timedelta(days=365_000)).timestamp()
    cursor = ChangesCursor(zone="UTC", zone_source="server", zone_at=later_on, looked_at=later_on, next="x|y")
    assert ChangesCursor.from_text(cursor.to_text()) == replace(cursor, zone_at=0.0, looked_at=0.0)


def test_the_cursor_survives_a_restart_and_is_small(lab: Lab) -> None:
    """Text in, text out; some bytes per participant."""
    lab.backfill()
    lab.tick()
    cursor = ChangesCursor.from_text(lab.cursor)
    assert ChangesCursor.from_text(cursor.to_text()) == cursor
    assert set(cursor.up_to_date) == set(PARTICIPANTS)
    assert len(lab.cursor or "") < 200 + 70 * len(PARTICIPANTS)


def test_a_server_that_is_down_changes_nothing(lab: Lab) -> None:
    """The evaluation fails with the reason, and the next has the same cursor; other studies have their own sensors."""
    lab.backfill()
    lab.tick()
    before = lab.cursor
    lab.server.stop()
    with pytest.raises(ServerError):
        lab.tick()
    assert lab.cursor == before


def test_an_old_server_is_left_to_the_schedule(open_lab: Callable[..., Lab]) -> None:
    """It has no counts; the reason says what happens instead. Runs work without them."""
    lab = open_lab(profile="2023-11", refresh_windows=5)
    lab.enrol()
    assert lab.tick() == []
    assert "newest 5 windows" in lab.skipped
    assert lab.run("raw_data", tags=dict(rectangle_tags(PARTICIPANTS, WEEKS[:2]))).success
    assert lab.lake.manifest(ANNA, WEEKS[0]).counts_fingerprint == ""  # type: ignore[union-attr]


def test_a_server_without_totals_is_asked_for_days(open_lab: Callable[..., Lab]) -> None:
    """Those of some weeks in 2024: everybody is looked at each time, and nothing is requested in vain."""
    lab = open_lab(profile="2024-06")
    lab.backfill()
    assert lab.follow() == []
    assert "3 participants looked at" in lab.skipped or not lab.skipped
    lab.world.add_rows(BERT, "gps", moment(day_of_week(1)))
    assert lab.follow() == [f"{BERT}|{WEEKS[1]}"]


def test_a_run_asks_for_counts_of_its_own_days_and_participants(lab: Lab) -> None:
    """One small request, and the manifests keep what was counted."""
    lab.enrol()
    lab.server.forget_requests()
    lab.run("raw_data", tags=dict(rectangle_tags([BERT], WEEKS[1:3])))
    (query,) = [dict(record.query) for record in lab.server.requests if "summary" in record.route]
    assert query["participant_ids"] == BERT
    assert (query["start_date"], query["end_date"]) == (day_of_week(1, -2).isoformat(), day_of_week(3, 2).isoformat())
    assert lab.lake.index(BERT)[WEEKS[1]].counts


def test_what_failed_is_tried_again_six_hours_after_its_last_run(lab: Lab) -> None:
    """Not at each look; at once, if its counts move."""
    lab.backfill()
    hour = moment(day_of_week(1))
    lab.world.add_rows(ANNA, "gps", hour)
    with lab.server.misbehave("poisoned_hour", participant=ANNA, stream="gps", start=hour, end=hour + HOUR):
        assert lab.follow() == [f"{ANNA}|{WEEKS[1]}"]
        assert lab.requested() == []
        lab.world.add_rows(ANNA, "gps", hour)
        assert lab.follow() == [f"{ANNA}|{WEEKS[1]}"]
    assert lab.requested() == []
    with later(hours=5):
        assert lab.requested() == []
    with later(hours=7):
        assert lab.follow() == [f"{ANNA}|{WEEKS[1]}"]
        assert lab.requested() == []


def test_a_lake_that_lost_windows_is_noticed_at_once(open_lab: Callable[..., Lab]) -> None:
    """By a repair, say, or all at once: the fingerprint of a participant who is up to date is of the lake too."""
    lab = open_lab(world_of(*PARTICIPANTS, zone="UTC"))
    lab.backfill()
    lab.tick()
    catalog, windows = lab.lake.catalog(), lab.lake.index(ANNA)
    assert catalog
    token = catalog.identities.token(Subject(ANNA), catalog.state) or ""
    take_out(catalog, [(Place(token, window), version.at) for window, version in windows.items()], run_id="repair")
    assert lab.requested() == [key for key in lab.windows_with_data() if key.startswith(ANNA)]
    shutil.rmtree(lab.lake.storage.describe())
    assert lab.requested() == lab.windows_with_data()


def test_windows_that_dagster_does_not_know_of_are_recorded(lab: Lab) -> None:
    """Committed by a run that died before it said so, or outside of Dagster; nothing is fetched for them again."""
    lab.enrol()
    cells = [Cell(BERT, window) for window in study_windows(lab.study, now=NOW)]
    with lab.beiwe.get_client() as client:
        zone = StudyZone(name="America/New_York", source="server")
        daily = counts_around(client, lab.study, zone, [cell.window for cell in cells], participants=[BERT])
        sync = StudySync(client, lab.lake, streams=lab.study.config.streams, run_id="by hand", daily=daily)
        assert all(report.complete for report in sync.run(cells))
    assert {key for key in lab.follow() if key.startswith(BERT)} == {f"{BERT}|{week}" for week in WEEKS}
    recorded = lab.instance.get_materialized_partitions(lab.key("raw_data"))
    assert {f"{BERT}|{week}" for week in WEEKS} <= recorded
    assert lab.follow() == []


def test_counts_of_many_participants_are_asked_for_in_batches(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the sensor as by the check, so that neither holds the history of everybody; the findings are the same."""
    lab.backfill()
    monkeypatch.setattr(server_counts, "ROWS_PER_REQUEST", 2 * 28)
    lab.world.add_rows(CLEO, "gps", moment(day_of_week(1)))
    lab.server.forget_requests()
    assert lab.requested() == [f"{CLEO}|{WEEKS[1]}"]
    evaluation = lab.check("complete")
    asked = [dict(each.query)["participant_ids"] for each in lab.server.requests if "summary" in each.route]
    assert asked == [f"{ANNA},{BERT}", CLEO] * 2
    assert values(evaluation)["partitions to run"] == f"{CLEO}|{WEEKS[1]}"
