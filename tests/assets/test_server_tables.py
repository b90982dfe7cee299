"""Tables of what the server says about a study: counts, interventions, surveys, and Forest's analyses."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import dagster as dg
import pandas as pd
import pytest
from labs import PARTICIPANTS, START, Lab, day_of_week, moment, world_of
from worlds import TABLES

from dagster_beiwe.assets.server_tables import SERVER_TABLES
from dagster_beiwe.simulator.profiles import Profile

ANNA, BERT, CLEO = PARTICIPANTS
LATER = [table.name for table in SERVER_TABLES]


def event_of(lab: Lab, name: str) -> dg.AssetMaterialization:
    """The newest materialization of a table."""
    event = lab.instance.get_latest_materialization_event(lab.key(name))
    assert event is not None
    assert event.asset_materialization is not None
    return event.asset_materialization


def version_of(lab: Lab, name: str) -> str:
    return (event_of(lab, name).tags or {})["dagster/data_version"]


def test_the_data_volume_is_what_the_server_counts(lab: Lab) -> None:
    """By participant, day, and stream, to the byte; each day names the zone that it was counted in."""
    lab.world.add_hour(ANNA, "gps", moment(START - timedelta(days=40)))
    lab.world.change_zone(lab.study.id, "Asia/Kolkata")
    lab.world.add_rows(ANNA, "gps", moment(day_of_week(0)))
    frame = lab.table("data_volume")
    totals = frame.groupby(["participant", "stream"], observed=True)["size_bytes"].sum()
    for participant in PARTICIPANTS:
        sizes = {"gps": 0, "power_state": 0}
        for counted in lab.world.counts(participant).values():
            sizes = {stream: size + counted.sizes.get(stream, 0) for stream, size in sizes.items()}
        assert totals[participant].to_dict() == sizes
    zones = frame[frame["participant"] == ANNA].set_index("day")["time_zone"]
    assert set(zones[str(day_of_week(0))]) == {"IST"}
    assert set(zones[str(day_of_week(1))]) <= {"EST", "EDT"}


def test_the_data_volume_asks_for_nothing_that_is_not_there(open_lab: Callable[..., Lab]) -> None:
    """Participants without data and streams without bytes are not requested: the totals tell who and which."""
    lab = open_lab(world_of(*PARTICIPANTS), streams=())
    lab.world.add_participant(lab.study.id)
    lab.table("data_volume")
    (statistics,) = (record for record in lab.server.requests if record.route == "/get-summary-statistics/v1")
    query = dict(statistics.query)
    assert query["participant_ids"] == ",".join(PARTICIPANTS)
    assert query["fields"] == "date,participant_id,timezone,beiwe_gps_bytes,beiwe_power_state_bytes"


def test_versions_of_tables_change_with_their_content(lab: Lab) -> None:
    """What is built on a table becomes stale when something happened, and only then."""
    assert lab.run(*TABLES).success
    before = {name: version_of(lab, name) for name in LATER}
    assert lab.run(*TABLES).success
    assert {name: version_of(lab, name) for name in LATER} == before
    lab.world.add_rows(BERT, "gps", moment(day_of_week(1)))
    lab.world.set_intervention(BERT, "Surgery", day_of_week(1))
    lab.world.analyze(BERT, "oak", day_of_week(0), day_of_week(1))
    lab.server.profile = Profile.named("2026-08")
    assert lab.run(*TABLES).success
    changed = {name for name in LATER if version_of(lab, name) != before[name]}
    assert changed == {"data_volume", "interventions", "forest_tasks", "forest_statistics"}


def test_interventions_have_a_row_for_each_date(lab: Lab) -> None:
    """Of the intervention that a survey's schedule uses; a date that is not set is empty."""
    lab.world.set_intervention(BERT, "Surgery", day_of_week(1))
    lab.world.set_intervention(CLEO, "Surgery", None)
    frame = lab.table("interventions")
    assert set(frame["intervention"]) == {"Surgery"}
    dates = frame.set_index("participant")["date"]
    assert dates[BERT] == day_of_week(1).isoformat()
    assert pd.isna(dates[CLEO])
    assert set(frame["survey_id"]) == {lab.world.study(lab.study.id).surveys[0].id}


def test_the_survey_history_has_a_row_for_each_question(lab: Lab) -> None:
    """In order, with the survey that it belongs to, when it was asked like that, and what may be answered."""
    surveys = lab.world.study(lab.study.id).surveys
    frame = lab.table("survey_history")
    assert set(frame["survey_id"]) == {survey.id for survey in surveys}
    daily = frame[frame["survey_id"] == surveys[0].id]
    assert list(daily["question"]) == list(range(1, len(daily) + 1))
    assert list(daily["question_text"])[:2] == ["Welcome", "How is your mood, today?"]
    assert daily["settings"].iloc[1] == '{"max": "10", "min": "0"}'
    assert daily["since"].iloc[0] == pd.Timestamp(surveys[0].created).as_unit("ms")


def test_the_survey_history_has_the_names_of_surveys(lab: Lab) -> None:
    """The settings have names and no ids: questions tell which survey is which. Those of deleted surveys are gone."""
    frame = lab.table("survey_history").drop_duplicates("survey_id").set_index("survey_id")
    for survey in lab.world.study(lab.study.id).surveys:
        name = frame.loc[survey.id, "survey"]
        assert pd.isna(name) if survey.deleted else name == survey.name


def test_results_of_forest_are_tables(open_lab: Callable[..., Lab]) -> None:
    """The runs as the server lists them, and what they found: numbers, and text where the server has text."""
    lab = open_lab(profile="2026-08")
    lab.world.analyze(ANNA, "jasmine", day_of_week(0), day_of_week(0, 3))
    tasks, found = lab.table("forest_tasks"), lab.table("forest_statistics")
    assert tasks[["participant", "forest_tree", "status"]].to_numpy().tolist() == [[ANNA, "jasmine", "success"]]
    assert list(found["day"].dt.date) == [day_of_week(0), day_of_week(0, 3)]
    assert [str(found[f"jasmine_{name}"].dtype) for name in ("home_duration", "pause_time")] == ["Float64", "string"]
    assert not [name for name in found if str(name).startswith("oak_")]


@pytest.mark.parametrize("profile", ["2023-11"])
def test_an_old_server_leaves_tables_empty(open_lab: Callable[..., Lab], profile: str) -> None:
    """It is told once, in the run's log and in the metadata; the run succeeds."""
    lab = open_lab(profile=profile)
    result = lab.run(*TABLES)
    assert result.success
    logs = [log.user_message for log in lab.instance.all_logs(result.run_id)]
    for name in ("data_volume", "forest_tasks", "forest_statistics"):
        assert event_of(lab, name).metadata["returned by this server"].value is False
        assert sum(f"{name} of" in text for text in logs) == 1
    assert event_of(lab, "survey_history").metadata["returned by this server"].value is True


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("survey_history", '{"a": 7}'),
        ("survey_history", '{"a": [{"survey_json": "x"}]}'),
        ("interventions", '{"a": 7}'),
    ],
)
def test_an_answer_of_another_shape_fails_its_table(lab: Lab, name: str, body: str) -> None:
    """And no other table; the message repeats nothing of it."""
    with lab.server.misbehave("wrong_json", route=f"/get-{name.replace('_', '-')}/v1", body=body):
        result = lab.run(name)
    (failure,) = (event for event in result.all_events if event.is_step_failure)
    assert "BadAnswerError" in str(failure.step_failure_data.user_failure_data)
