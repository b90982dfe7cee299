"""Whose histories are fetched again, and when: few requests, and the right people."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import dagster as dg
import pytest
from labs import END_TAG, PARTICIPANTS, START, START_TAG, Lab, later, moment, world_of

from dagster_beiwe.automation.due_participants import due_participants, is_due
from dagster_beiwe.automation.histories_sensor import build_histories_sensor
from dagster_beiwe.automation.limits import PARTICIPANT_RUNS_PER_TICK, PARTICIPANTS_PER_TICK
from dagster_beiwe.partitions.fetched import Fetched

ANNA, BERT, CLEO = PARTICIPANTS
NOW = datetime(2026, 11, 20, 12, tzinfo=timezone.utc)
DAY, HOUR = timedelta(days=1), timedelta(hours=1)


def person(*, at: datetime, uploaded: datetime | None = None, facts: Mapping[str, str] | None = None) -> Fetched:
    last = uploaded.isoformat() if uploaded else None
    row = {"participant": ANNA, "Created On": "2026-01-01", "Last Upload": last, **(facts or {})}
    return Fetched.now(row, now=at)


class Histories:
    """Evaluates the sensor, and runs what it requests."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.cursor: str | None = None
        self._sensor = build_histories_sensor(lab.study, lab.assets.participant)

    def tick(self) -> list[tuple[str, str]]:
        """One evaluation; gives the first and last participant of each run that it requests."""
        with dg.build_sensor_context(
            instance=self.lab.instance, cursor=self.cursor, resources={"beiwe": self.lab.beiwe}
        ) as context:
            result = self._sensor.evaluate_tick(context)
        self.cursor = result.cursor
        return [(request.tags[START_TAG], request.tags[END_TAG]) for request in result.run_requests or ()]

    def follow(self) -> list[tuple[str, str]]:
        """One evaluation, and the runs that it requests."""
        runs = self.tick()
        for first, last in runs:
            self.lab.run("participant", tags={START_TAG: first, END_TAG: last})
        return runs


@pytest.fixture
def histories(lab: Lab) -> Histories:
    lab.enrol()
    return Histories(lab)


@pytest.mark.parametrize(
    ("uploaded", "before", "due"),
    [
        (NOW - HOUR, person(at=NOW - DAY, uploaded=NOW - DAY), False),
        (NOW - HOUR, person(at=NOW - 31 * DAY, uploaded=NOW - 31 * DAY), True),
        (NOW - 3 * DAY, person(at=NOW - 4 * DAY, uploaded=NOW - 4 * DAY), True),
        (NOW - 3 * DAY, person(at=NOW - 2 * DAY, uploaded=NOW - 3 * DAY), False),
        (None, person(at=NOW - 60 * DAY), False),
    ],
    ids=["keeps sending", "keeps sending for a month", "fell silent", "is silent and known to be", "never sent"],
)
def test_a_phone_is_asked_rarely_and_once_more_when_it_falls_silent(
    uploaded: datetime | None, before: Fetched, due: bool
) -> None:
    """By when it last sent something, and when it was last asked."""
    assert is_due(person(at=NOW, uploaded=uploaded), before, period=30 * DAY) is due


@pytest.mark.parametrize("fraction", [0, 400_000, 600_000])
def test_tags_keep_the_fraction_of_a_second(fraction: int) -> None:
    """Else a partition would look older than its request of the same second, or younger than it is."""
    fetched = person(at=NOW.replace(microsecond=fraction), uploaded=NOW - HOUR)
    assert replace(Fetched.from_tags(fetched.tags), version=fetched.version) == fetched


@pytest.mark.parametrize("change", [{"Surgery": "2026-02-02"}, {"Status": "Permanently Retired"}])
def test_a_person_who_changed_is_due_at_once(change: dict[str, str]) -> None:
    """A date that was set, or a retirement; how active somebody is does not count."""
    before = person(at=NOW - HOUR, facts={"Status": "Active (just now)"})
    now = person(at=NOW, facts={"Status": "Active (past day)", **change})
    assert is_due(now, before, period=30 * DAY)
    assert not is_due(replace(now, version=before.version), before, period=30 * DAY)


def test_a_month_of_a_busy_study_costs_one_fetch_of_each() -> None:
    """Of 500 phones that upload every hour, with an evaluation every hour."""
    ids = [f"part{number:04d}" for number in range(500)]
    fetched = dict.fromkeys(ids, person(at=NOW, uploaded=NOW - HOUR))
    fetches = 0
    for hours in range(1, 30 * 24 + 13):
        at = NOW + hours * HOUR
        now = person(at=at, uploaded=at - HOUR / 2)
        due = due_participants(dict.fromkeys(ids, now), fetched, (), days=30)[:PARTICIPANTS_PER_TICK]
        fetched |= dict.fromkeys(due, now)
        fetches += len(due)
    assert fetches == len(ids)


def test_everybody_is_fetched_once(histories: Histories) -> None:
    """Neighbors in one run; an evaluation costs one request, and the next one asks for nobody."""
    histories.lab.server.forget_requests()
    assert histories.follow() == [(ANNA, CLEO)]
    histories.lab.server.forget_requests()
    assert histories.tick() == []
    assert histories.lab.routes() == ["/get-participant-table-data/v1"]


def test_somebody_who_changed_or_joined_is_fetched_alone(histories: Histories) -> None:
    """The others are left in peace."""
    lab = histories.lab
    histories.follow()
    lab.world.set_intervention(BERT, "Surgery", START)
    lab.world.add_rows(ANNA, "gps", moment(START))
    newcomer = lab.world.add_participant(lab.study.id)
    lab.enrol()
    assert sorted(histories.follow()) == sorted([(BERT, BERT), (newcomer, newcomer)])


def test_nobody_is_requested_again_while_a_run_may_still_record_them(histories: Histories) -> None:
    """But after six hours: then it failed."""
    assert histories.tick() == [(ANNA, CLEO)]
    assert histories.tick() == []
    with later(hours=6.1):
        assert histories.tick() == [(ANNA, CLEO)]


def test_an_evaluation_requests_few_participants_and_few_runs(open_lab: Callable[..., Lab]) -> None:
    """Dagster has a minute for it, and the server has other things to do."""
    ids = [f"part{number:04d}" for number in range(PARTICIPANTS_PER_TICK + 10)]
    lab = open_lab(world_of(*ids))
    lab.enrol()
    histories = Histories(lab)
    assert histories.tick() == [(ids[0], ids[PARTICIPANTS_PER_TICK - 1])]
    assert histories.tick() == [(ids[PARTICIPANTS_PER_TICK], ids[-1])]
    lab.run("participant", tags={START_TAG: ids[0], END_TAG: ids[-1]})
    for each in ids[::2]:
        lab.world.retire(each)
    assert histories.tick() == [(each, each) for each in ids[::2][:PARTICIPANT_RUNS_PER_TICK]]


def test_a_server_without_a_participant_table_is_asked_for_the_new_only(histories: Histories) -> None:
    """Otherwise everybody would seem changed whenever it fails to make one."""
    histories.follow()
    with histories.lab.server.misbehave("status", route="/get-participant-table-data/*", status=500):
        assert histories.tick() == []


def test_somebody_whom_the_server_does_not_list_is_not_asked_for(histories: Histories) -> None:
    """A mistyped partition, or somebody who was removed: each run would fail."""
    lab = histories.lab
    assert lab.run("roster").success
    lab.instance.add_dynamic_partitions(f"beiwe/{lab.study.id}/participants", ["slip0000"])
    assert histories.tick() == [(ANNA, CLEO)]


@pytest.mark.parametrize("text", ["", "nonsense", "[]", '{"anna0001": "x"}', f'{{"{ANNA}": 9e99}}'])
def test_a_cursor_that_can_not_be_read_is_replaced(histories: Histories, text: str) -> None:
    """That costs a second request of whoever is being fetched."""
    histories.cursor = text
    assert histories.tick() == [(ANNA, CLEO)]


def test_it_can_be_turned_off(open_lab: Callable[..., Lab]) -> None:
    """With ``participant_days: 0``, participants are materialized by hand only."""
    lab = open_lab(participant_days=0)
    lab.enrol()
    assert Histories(lab).tick() == []
