"""The schedule and the sensor: which runs they ask for, and that those runs work."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta, timezone

import dagster as dg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import START, TABLES, WEEKS

from dagster_beiwe import BeiweResource, EnvCredentials
from dagster_beiwe.assets import AssetOptions, StudyAssets
from dagster_beiwe.automation import roster_sensor
from dagster_beiwe.automation.limits import PARTITIONS_PER_RUN
from dagster_beiwe.automation.roster_sensor import RosterCursor, build_roster_sensor
from dagster_beiwe.automation.schedules import build_refresh_schedule
from dagster_beiwe.errors import ServerError
from dagster_beiwe.partitions.definitions import participants_name
from dagster_beiwe.partitions.rectangles import Rectangle, stretches
from dagster_beiwe.partitions.run_keys import MOVED_ONLY, REFRESH_TAG
from dagster_beiwe.simulator import ParticipantPlan, SimulatedServer
from dagster_beiwe.studies.study import Study

NAMES = st.lists(st.text("abcdefgh", min_size=1, max_size=4), max_size=40, unique=True)
START_TAG, END_TAG = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"


class Sensor:
    """Evaluates the study's sensor as the daemon does: keeps its cursor, adds the partitions that it asks for."""

    def __init__(self, study: Study, instance: dg.DagsterInstance) -> None:
        self.study, self.instance = study, instance
        self.cursor: str | None = None
        self._sensor = build_roster_sensor(study, StudyAssets.of(study, AssetOptions(pool="beiwe_test")).raw_data)

    def tick(self) -> list[dg.RunRequest]:
        beiwe = BeiweResource(credentials=EnvCredentials())
        with dg.build_sensor_context(instance=self.instance, cursor=self.cursor, resources={"beiwe": beiwe}) as context:
            result = self._sensor.evaluate_tick(context)
        for request in result.dynamic_partitions_requests or ():
            assert isinstance(request, dg.AddDynamicPartitionsRequest)
            self.instance.add_dynamic_partitions(request.partitions_def_name, list(request.partition_keys))
        self.cursor = result.cursor
        return list(result.run_requests or ())


@pytest.fixture
def sensor(study: Study, server: SimulatedServer, instance: dg.DagsterInstance) -> Sensor:
    return Sensor(study, instance)


def ranges(requests: Sequence[dg.RunRequest]) -> list[tuple[str, str]]:
    return [(request.tags[START_TAG], request.tags[END_TAG]) for request in requests]


def test_the_sensor_adds_participants_and_requests_all_their_windows(sensor: Sensor, study: Study) -> None:
    """Once, in order of enrollment, in one run; the next evaluation asks for nothing."""
    requests = sensor.tick()
    participants = sensor.instance.get_dynamic_partitions(participants_name(study.id))
    assert len(participants) == 3
    assert ranges(requests) == [(f"{participants[0]}|{WEEKS[0]}", f"{participants[-1]}|{WEEKS[-1]}")]
    assert sensor.tick() == []


def test_a_participant_who_joins_later_is_requested_alone(
    sensor: Sensor, study: Study, server: SimulatedServer
) -> None:
    """And becomes the last partition, whatever the id."""
    sensor.tick()
    newcomer = server.world.add_participant(study.id, ParticipantPlan(id="11aaaaaa", os=""))
    assert ranges(sensor.tick()) == [(f"{newcomer}|{WEEKS[0]}", f"{newcomer}|{WEEKS[-1]}")]
    assert sensor.instance.get_dynamic_partitions(participants_name(study.id))[-1] == newcomer


def test_partitions_that_the_roster_made_later_are_requested_too(
    sensor: Sensor, study: Study, server: SimulatedServer
) -> None:
    """Whoever materialises the roster between two evaluations does not lose the newcomer's windows."""
    sensor.tick()
    newcomer = server.world.add_participant(study.id, ParticipantPlan(os=""))
    sensor.instance.add_dynamic_partitions(participants_name(study.id), [newcomer])
    assert ranges(sensor.tick()) == [(f"{newcomer}|{WEEKS[0]}", f"{newcomer}|{WEEKS[-1]}")]


def test_participants_who_are_deleted_are_reported_once_and_kept(
    sensor: Sensor, study: Study, caplog: pytest.LogCaptureFixture
) -> None:
    """Their partitions carry the history of their data."""
    sensor.instance.add_dynamic_partitions(participants_name(study.id), ["gone1234"])
    sensor.tick()
    sensor.tick()
    assert "gone1234" in sensor.instance.get_dynamic_partitions(participants_name(study.id))
    assert RosterCursor.from_text(sensor.cursor, partitions=()).deleted_upstream == ("gone1234",)


def test_many_participants_take_several_evaluations(
    sensor: Sensor, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dagster has a minute for each; the rest is requested by the next ones, nobody twice and nobody never."""
    monkeypatch.setattr(roster_sensor, "PARTITIONS_PER_TICK", len(WEEKS))
    requested = [ranges(sensor.tick()) for _ in range(4)]
    participants = sensor.instance.get_dynamic_partitions(participants_name(study.id))
    assert requested == [[(f"{each}|{WEEKS[0]}", f"{each}|{WEEKS[-1]}")] for each in participants] + [[]]


def test_an_evaluation_asks_the_server_two_questions(sensor: Sensor, server: SimulatedServer) -> None:
    """The ids and the table, whatever the number of participants."""
    sensor.tick()
    server.forget_requests()
    sensor.tick()
    routes = [record.route for record in server.requests if record.form]
    assert routes == ["/get-participant-ids/v1", "/get-participant-table-data/v1"]


def test_a_server_that_is_down_fails_the_evaluation_and_changes_nothing(
    sensor: Sensor, server: SimulatedServer, study: Study
) -> None:
    """Other studies have sensors of their own; the next evaluation finds the same state."""
    server.stop()
    with pytest.raises(ServerError):
        sensor.tick()
    assert sensor.cursor is None
    assert sensor.instance.get_dynamic_partitions(participants_name(study.id)) == []


@pytest.mark.parametrize("text", ["", "nonsense", "[]", '{"requested": 3}', "null"])
def test_a_cursor_that_can_not_be_read_is_replaced(text: str) -> None:
    """Who is a partition already is taken as requested."""
    assert RosterCursor.from_text(text, partitions=["a"]).requested == ("a",)


def test_a_cursor_survives_as_text() -> None:
    """Written and read."""
    cursor = RosterCursor(requested=("a", "b"), deleted_upstream=("c",))
    assert RosterCursor.from_text(cursor.to_text(), partitions=()) == cursor


def test_the_schedule_asks_for_the_newest_windows(study: Study, stored_instance: dg.DagsterInstance) -> None:
    """Tables in one run, raw data in rectangles; with keys, so that a repeated evaluation starts nothing twice."""
    stored_instance.add_dynamic_partitions(participants_name(study.id), ["b", "a"])
    assets = StudyAssets.of(study, AssetOptions(pool="beiwe_test"))
    schedule = build_refresh_schedule(study, tables=assets.tables, raw_data=assets.raw_data)
    moment = datetime(START.year, START.month, START.day, 5, tzinfo=timezone.utc) + timedelta(weeks=3, hours=1)
    with dg.build_schedule_context(instance=stored_instance, scheduled_execution_time=moment) as context:
        requests = schedule.evaluate_tick(context).run_requests or []
    tables, raw_data = requests
    assert tables.asset_selection == [dg.AssetKey(["beiwe", "sleep", name]) for name in TABLES]
    assert ranges([raw_data]) == [(f"b|{WEEKS[1]}", f"a|{WEEKS[3]}")]
    assert raw_data.tags[REFRESH_TAG] == MOVED_ONLY
    assert len({request.run_key for request in requests}) == 2


@settings(max_examples=60, deadline=None)
@given(participants=NAMES, windows=st.integers(0, 1200))
def test_rectangles_cover_everything_once(participants: list[str], windows: int) -> None:
    """No run is larger than a run may be."""
    keys = [f"w{number:04d}" for number in range(windows)]
    covered: list[tuple[str, str]] = []
    for run in Rectangle(tuple(participants), tuple(keys)).split(PARTITIONS_PER_RUN):
        (first, left), (last, right) = (run.tags[tag].split("|") for tag in (START_TAG, END_TAG))
        rows = participants[participants.index(first) : participants.index(last) + 1]
        columns = keys[keys.index(left) : keys.index(right) + 1]
        assert 0 < len(rows) * len(columns) <= PARTITIONS_PER_RUN
        covered += [(row, column) for row in rows for column in columns]
    assert sorted(covered) == sorted((each, key) for each in participants for key in keys)


@given(order=NAMES, data=st.data())
def test_stretches_hold_neighbors_only(order: list[str], data: st.DataObject) -> None:
    """A range from the first to the last takes nobody else along."""
    wanted = data.draw(st.sets(st.sampled_from(order))) if order else set()
    found = list(stretches(order, wanted))
    assert [each for stretch in found for each in stretch] == [each for each in order if each in wanted]
    for stretch in found:
        first, last = order.index(stretch[0]), order.index(stretch[-1])
        assert tuple(order[first : last + 1]) == stretch
