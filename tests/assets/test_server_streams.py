"""A server whose streams are not those of the catalog: assets, sensor and checks go by what it has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
from labs import START, WEEKS, Lab, moment, values

from dagster_beiwe.partitions.run_keys import rectangle_tags
from dagster_beiwe.simulator import ContentPlan, ParticipantPlan, StudyPlan, World
from dagster_beiwe.simulator.profiles import Profile

ANNA, BERT = "anna0001", "bert0002"
STREAMS = ("ai_chat_logs", "ambient_audio", "gps", "image_survey", "omniring")


def world(streams: Sequence[str] = STREAMS) -> World:
    """Two participants for two weeks, with streams that only some servers have."""
    plan = StudyPlan(
        name="Sleep and Mood",
        participants=(ParticipantPlan(id=ANNA), ParticipantPlan(id=BERT)),
        start=moment(START, 0),
        end=moment(START, 0) + timedelta(weeks=2),
        hours=(12,),
        streams=streams,
        content=ContentPlan(rows=3, audio_bytes=2000),
    )
    return World.build(plan)


def held(lab: Lab) -> set[str]:
    return {
        file.stream
        for each in lab.lake.participants()
        for manifest in lab.lake.manifests(each)
        for file in manifest.files
    }


@pytest.mark.parametrize("profile", ["2026-08", "ai_chat_logs", "image_survey"])
def test_a_default_configuration_records_all_that_the_server_has(open_lab: Callable[..., Lab], profile: str) -> None:
    """Raw data, what lies outside all windows, the check and the sensor."""
    lab = open_lab(world(), profile=profile, streams=())
    lab.backfill()
    assert held(lab) == set(STREAMS) & set(lab.server.profile.streams)
    assert lab.run("out_of_range", partition=ANNA).success
    complete = lab.check("complete")
    assert complete.passed, complete.description
    assert values(complete)["streams not compared"] == "none"
    assert lab.requested() == []


def test_streams_that_come_and_go_are_followed_without_fetching_everything_again(open_lab: Callable[..., Lab]) -> None:
    """Only windows with data of a new stream are requested; one that is gone leaves its files and no complaint."""
    lab = open_lab(world(("ambient_audio", "gps")), profile="2026-03", streams=(), remove_deleted_upstream=True)
    lab.backfill()
    assert lab.requested() == []
    lab.world.add_hour(BERT, "omniring", moment(START, 15) + timedelta(weeks=1))
    lab.server.profile = replace(Profile.named("2026-08"), own_streams=("omniring",))
    assert lab.follow() == [f"{BERT}|{WEEKS[1]}"]
    assert lab.requested() == []
    assert lab.run("raw_data", tags=dict(rectangle_tags([ANNA, BERT], WEEKS[:2]))).success
    assert held(lab) == {"ambient_audio", "gps", "omniring"}
    complete = lab.check("complete")
    assert complete.passed
    assert values(complete)["streams not compared"] == "ambient_audio"
    assert lab.check("intact").passed
    assert lab.check("protected").passed
