"""Forest itself, on lives that are known: from the phone to the table, the truth is found again."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta

import pandas as pd
import pytest
from forest_environments import REAL_VARIABLE, real_forest
from labs import START, WEEKS, Lab, moment

from dagster_beiwe.environment import BEIWE_FOREST
from dagster_beiwe.forest.analyses import FOREST_TREES
from dagster_beiwe.simulator import ParticipantPlan, StudyPlan, World
from dagster_beiwe.simulator.lives import Day, Life
from dagster_beiwe.tables.store import TableStore

pytestmark = pytest.mark.skipif(
    real_forest() is None,
    reason=f"Forest's environment is not made: `dagster-beiwe forest --at FOLDER`, then {REAL_VARIABLE}=FOLDER",
)
ZONE = "America/New_York"
ANNA = "anna0001"
STREAMS = ("accelerometer", "calls", "gps", "survey_answers", "survey_timings", "texts")
DAYS = [START + timedelta(days=number) for number in (1, 2)]
"""Whole ones, of three days of data."""


@pytest.fixture
def world() -> World:
    plan = StudyPlan(
        time_zone=ZONE,
        participants=(ParticipantPlan(id=ANNA),),
        start=moment(START, 0),
        end=moment(START + timedelta(days=3), 12),
        streams=STREAMS,
        lives=True,
    )
    return World.build(plan)


@pytest.fixture
def found(open_lab: Callable[..., Lab], world: World, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], pd.DataFrame]:
    """The days of a tree's table, after a run of it."""
    lab = open_lab(world, streams=STREAMS, forest=FOREST_TREES, time_zone=ZONE)
    monkeypatch.setenv(BEIWE_FOREST, str(real_forest()))
    lab.backfill()

    def find(tree: str) -> pd.DataFrame:
        partition = f"{ANNA}|{WEEKS[0]}"
        assert lab.run(f"forest/{tree}", partition=partition).success, tree
        table = TableStore.of_study(lab.lake).read(lab.key(f"forest/{tree}").path, partition=partition)
        days: pd.DataFrame = table.set_index("day").loc[[pd.Timestamp(day) for day in DAYS]]
        return days

    return find


def test_forest_finds_the_lives_that_were_planted(world: World, found: Callable[[str], pd.DataFrame]) -> None:
    """Steps to 1 %, home to a quarter of an hour, the way to 5 %; places, calls, texts, and sittings exactly."""
    life = world.participant(ANNA).life
    assert life is not None
    days = [life.day(day) for day in DAYS]
    check_walking(found("oak"), life, days)
    check_mobility(found("jasmine"), days)
    check_communication(found("willow"), days)
    check_sittings(found("sycamore"), days)


def check_walking(table: pd.DataFrame, life: Life, days: list[Day]) -> None:
    sensed = [sum(map(life.sensed_seconds, day.walks)) for day in days]
    assert list(table["walking_time"]) == pytest.approx(sensed, rel=0.01)
    assert list(table["steps"]) == pytest.approx([seconds * life.cadence for seconds in sensed], rel=0.01)


def check_mobility(table: pd.DataFrame, days: list[Day]) -> None:
    assert list(table["num_sig_places"]) == [3] * len(days)
    assert list(table["home_time"]) == pytest.approx([day.home_seconds / 3600 for day in days], abs=0.25)
    assert list(table["dist_traveled"]) == pytest.approx([3.75] * len(days), rel=0.05)


def check_communication(table: pd.DataFrame, days: list[Day]) -> None:
    kinds = {"num_in_call": "Incoming Call", "num_out_call": "Outgoing Call", "num_mis_call": "Missed Call"}
    for column, kind in kinds.items():
        assert list(table[column]) == [sum(call.kind == kind for call in day.calls) for day in days]
    for column, kind in {"num_s": "sent SMS", "num_r": "received SMS"}.items():
        assert list(table[column]) == [sum(text.kind == kind for text in day.texts) for day in days]
    people = [len({each.contact for each in (*day.calls, *day.texts)}) for day in days]
    assert list(table["num_uniq_individuals_call_or_text"]) == people


def check_sittings(table: pd.DataFrame, days: list[Day]) -> None:
    lengths = [(day.sitting.submitted - day.sitting.opened).total_seconds() for day in days]
    assert list(table["seconds"]) == pytest.approx(lengths, abs=1)
    ended: list[date] = [each.date() for each in table["ended"]]
    assert ended == DAYS
