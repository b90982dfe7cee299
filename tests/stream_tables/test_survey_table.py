"""The table of surveys as an asset: from a simulated server to what analysts read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import dagster as dg
import pytest
from labs import START, WEEKS, Lab, evaluated, moment
from survey_helpers import IPHONE, Files

from dagster_beiwe import TablePartitions
from dagster_beiwe.errors import ConfigurationError
from dagster_beiwe.partitions.events import newest_events
from dagster_beiwe.partitions.run_keys import rectangle_tags
from dagster_beiwe.simulator import ParticipantPlan, StudyPlan, World
from dagster_beiwe.simulator.content import header_of
from dagster_beiwe.simulator.surveys import QUESTIONS
from dagster_beiwe.stream_tables.catalog import TABLES
from dagster_beiwe.studies.config import StudyConfig
from dagster_beiwe.tables.sql import query

ANNA, BERT = "anna0001", "bert0002"
STREAMS = ("survey_answers", "survey_timings")
SUNDAY, MIDNIGHT = START + timedelta(days=6), moment(START + timedelta(days=7), 0)


@pytest.fixture
def world() -> World:
    """One phone of each system, with a submission on Sunday and one on Monday."""
    plan = StudyPlan(
        participants=(ParticipantPlan(id=ANNA), ParticipantPlan(id=BERT, os="IOS")),
        start=moment(SUNDAY, 0),
        end=moment(SUNDAY + timedelta(days=2), 0),
        hours=(12,),
        streams=STREAMS,
    )
    return World.build(plan)


@pytest.fixture
def lab(open_lab: Callable[..., Lab], world: World) -> Lab:
    lab = open_lab(world, streams=STREAMS, tables=("surveys",))
    assert lab.run("survey_history").success
    lab.backfill()
    return lab


def made(lab: Lab) -> set[str]:
    """Run the table over two weeks; gives the partitions that were made, not recorded as they were."""
    assert lab.run("surveys", tags=dict(rectangle_tags((ANNA, BERT), WEEKS[:2]))).success
    return {key for key, event in events(lab).items() if event.metadata["changes"].value == "made"}


def events(lab: Lab) -> dict[str, dg.AssetMaterialization]:
    return newest_events(lab.instance, lab.key("surveys"))


def across_midnight(world: World) -> None:
    """Bert begins a survey on Sunday and submits it on Monday."""
    (study,) = world.studies.values()
    at, survey_id = MIDNIGHT + timedelta(seconds=1), study.surveys[0].id
    files = Files().submit([QUESTIONS[1]], [1], phone=IPHONE, at=at, survey_id=survey_id)
    written = [("survey_answers", time, rows) for time, _, rows in files.answers]
    for stream, time, rows in [*written, *(("survey_timings", *hour) for hour in files.timings.items())]:
        world.add_hour(BERT, stream, time)
        world.set_content(BERT, stream, time, "\n".join([header_of(stream, "IOS"), *rows]).encode())


def test_both_streams_are_needed() -> None:
    """A study that fetches only answers can't have the table."""
    with pytest.raises(ConfigurationError, match=r"The table surveys is made from survey_timings, which"):
        StudyConfig("Sleep", streams=["survey_answers"], tables=["surveys"])


def test_analysts_read_one_table_of_all_surveys(lab: Lab) -> None:
    """With lists of options and of what was chosen, also in queries. The metadata have counts and no text. The survey
    history is an input like the files."""
    everything = {f"{one}|{week}" for one in (ANNA, BERT) for week in WEEKS[:2]}
    assert made(lab) == everything
    frame = TablePartitions.of(lab.lake, "surveys").to_pandas()
    assert {name: str(kind) for name, kind in frame.dtypes.items()} == {
        name: kind for name, (kind, _) in TABLES["surveys"].columns.items()
    }
    assert len(frame) == 2 * 2 * len(QUESTIONS)
    assert set(frame["system"]) == {"Android", "iOS"}
    assert set(frame["survey"]) == {"Daily mood"}
    assert (frame["status"].eq("answered") & frame["source"].eq("answers and timings")).all()
    choices = frame[frame["question type"].isin(["radio_button", "checkbox"])]
    assert set(choices["match"]) == {"exact"}
    chosen = [
        [options[place] for place in places]
        for options, places in zip(choices["options"], choices["chosen"], strict=True)
    ]
    counted = query(
        lab.lake,
        "SELECT participant, sum(len(chosen)) AS n FROM surveys WHERE options IS NOT NULL GROUP BY ALL ORDER BY ALL",
    )
    assert counted["n"].sum() == sum(map(len, chosen))
    told: dict[str, Any] = {key: dict(event.metadata) for key, event in events(lab).items()}
    for metadata in told.values():
        assert (metadata["submissions"].value, metadata["answered"].value) == (1, len(QUESTIONS))
    lineage = told[max(told)]["dagster/column_lineage"].value.deps_by_column["chosen"]
    assert {dep.asset_key.path[-1] for dep in lineage} == {"raw_data", "survey_history"}
    assert not [text for text in ("Pick", "at work", "mood") if text in str(told)]
    assert made(lab) == set()
    (study,) = lab.world.studies.values()
    study.surveys[0] = replace(study.surveys[0], name="Mood, every day")
    assert lab.run("survey_history").success
    assert made(lab) == everything
    assert set(TablePartitions.of(lab.lake, "surveys").to_pandas()["survey"]) == {"Mood, every day"}


def test_dagster_requests_the_windows_that_have_raw_data(open_lab: Callable[..., Lab], world: World) -> None:
    """The survey history alone makes no row. What arrives late may change the next window, too, and that waits for its
    own raw data."""
    lab = open_lab(world, streams=STREAMS, tables=("surveys",))
    lab.enrol()
    assert lab.run("survey_history").success
    before, first, second = evaluated(lab), f"{ANNA}|{WEEKS[0]}", f"{ANNA}|{WEEKS[1]}"
    assert before.total_requested == 0
    for fetched, expected in ((first, {first}), (second, {second}), (first, {first, second})):
        world.add_rows(ANNA, "survey_timings", moment(SUNDAY))
        assert lab.run("raw_data", partition=fetched).success
        before = evaluated(lab, cursor=before.cursor)
        assert {str(key) for key in before.get_requested_partitions(lab.key("surveys"))} == expected


def test_a_submission_is_in_the_window_in_which_it_ended(lab: Lab, world: World) -> None:
    """With the timings of the day before; when these move, only the windows are made again that may depend on them."""
    made(lab)
    across_midnight(world)
    lab.backfill()
    assert made(lab) == {f"{BERT}|{week}" for week in WEEKS[:2]}
    table = TablePartitions.of(lab.lake, "surveys", participants=[BERT])
    before, after = (table[f"{BERT}|{week}"] for week in WEEKS[:2])
    assert list(before["UTC time"].dt.date.unique()) == [SUNDAY]
    row = after.iloc[0]
    assert (row["source"], row["match"], list(row["chosen"])) == ("answers and timings", "exact", [1])
    assert row["opened"] < MIDNIGHT < row["UTC time"]
