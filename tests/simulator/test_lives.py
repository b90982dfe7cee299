"""Known lives: the rows of a study with ``lives`` tell of what happened, in the forms that phones send."""

from __future__ import annotations

import io
from datetime import date, datetime, timedelta, timezone

import pandas as pd
import pytest

from dagster_beiwe.simulator import ParticipantPlan, StoredFile, StudyPlan, World
from dagster_beiwe.simulator.lives import LIVED_STREAMS, Day, Life, Place

NOW = datetime(2026, 10, 8, tzinfo=timezone.utc)
DAY = date(2026, 10, 6)


def build_world() -> World:
    people = (ParticipantPlan(id="andr1aaa"), ParticipantPlan(id="iphn2aaa", os="IOS"))
    return World.build(StudyPlan(lives=True, start=NOW - timedelta(days=3), participants=people), now=NOW)


@pytest.fixture(scope="module")
def world() -> World:
    return build_world()


def life_of(world: World, participant: str = "andr1aaa") -> Life:
    life = world.participant(participant).life
    assert life is not None
    return life


def day_of(world: World, participant: str = "andr1aaa") -> Day:
    return life_of(world, participant).day(DAY)


def files_of(world: World, stream: str, participant: str = "andr1aaa") -> list[StoredFile]:
    (study,) = world.studies
    day = day_of(world, participant)
    return world.files(study, participants=[participant], streams=[stream], start=day.start, end=day.end)


def rows_of(world: World, stream: str, participant: str = "andr1aaa") -> pd.DataFrame:
    """The day's rows of a stream, as pandas reads them."""
    frames = [pd.read_csv(io.BytesIO(file.read())) for file in files_of(world, stream, participant)]
    joined: pd.DataFrame = pd.concat(frames, ignore_index=True)
    joined["time"] = pd.to_datetime(joined["timestamp"], unit="ms", utc=True)
    return joined


def meters_between(one: Place, other: Place) -> float:
    """Flat, which is right for the distances of a walk."""
    north = (one.latitude - other.latitude) * 111_195
    east = (one.longitude - other.longitude) * 111_195 * 0.739
    return float((north**2 + east**2) ** 0.5)


def test_the_same_seed_gives_the_same_lives_and_bytes(world: World) -> None:
    """And people of one study live different ones."""
    again = build_world()
    assert life_of(again) == life_of(world)
    assert life_of(world, "iphn2aaa") != life_of(world)
    for stream in sorted(LIVED_STREAMS):
        (study,) = world.studies
        assert [file.key for file in again.files(study, streams=[stream])] == [
            file.key for file in world.files(study, streams=[stream])
        ]
        assert files_of(again, stream)[0].sha1 == files_of(world, stream)[0].sha1


def test_sizes_are_those_of_the_content(world: World) -> None:
    """The byte counts of the server rest on them."""
    for stream in sorted(LIVED_STREAMS):
        file = files_of(world, stream)[0]
        assert file.size_bytes == len(file.read())


def test_gps_has_pauses_and_follows_the_person(world: World) -> None:
    """A fix per second while the sensor is on, each within meters of where the person is."""
    life, rows = life_of(world), rows_of(world, "gps")
    assert len(rows) == pytest.approx(86_400 * life.gps_on / (life.gps_on + life.gps_off), rel=0.02)
    for row in rows.iloc[::97].itertuples():
        fix = Place(row.latitude, row.longitude)
        assert meters_between(fix, life.place_at(row.time)) < 20


def test_a_day_has_three_places_and_three_walks_between_them(world: World) -> None:
    life, day = life_of(world), day_of(world)
    assert [(walk.origin, walk.target) for walk in day.walks] == [
        (life.home, life.work),
        (life.work, life.third),
        (life.third, life.home),
    ]
    assert [meters_between(walk.origin, walk.target) for walk in day.walks] == pytest.approx(
        [1500, 1125, 1125], rel=0.01
    )
    assert sum(walk.seconds for walk in day.walks) == 3000
    assert life.place_at(day.start) == life.home
    assert life.place_at(day.walks[1].start - timedelta(seconds=1)) == life.work
    assert life.place_at(day.walks[2].start - timedelta(seconds=1)) == life.third


@pytest.mark.parametrize("participant", ["andr1aaa", "iphn2aaa"])
def test_acceleration_swings_at_the_cadence_while_walking_and_rests_otherwise(world: World, participant: str) -> None:
    """The strongest frequency of each walk is the person's; standing still has gravity and little else."""
    life, day, rows = (
        life_of(world, participant),
        day_of(world, participant),
        rows_of(world, "accelerometer", participant),
    )
    for walk in day.walks:
        steps = rows[(rows["time"] >= walk.start) & (rows["time"] < walk.end)]
        assert len(steps) == life.sensed_seconds(walk) * life.accelerometer_hertz
        swing = steps["z"] / 9.80665 - 1
        crossings = (swing.shift(1, fill_value=0) < 0) & (swing >= 0)
        assert crossings.sum() == pytest.approx(life.sensed_seconds(walk) * life.cadence, rel=0.06)
    still = rows[rows["time"] < day.walks[0].start]
    assert still["z"].std() < 0.2
    assert (still["z"] / 9.80665).mean() == pytest.approx(1, abs=0.01)


def test_calls_and_texts_are_those_of_the_day(world: World) -> None:
    """In the words of Android's logs, among three contacts."""
    day, calls, texts = day_of(world), rows_of(world, "calls"), rows_of(world, "texts")
    assert list(calls["call type"]) == [call.kind for call in day.calls]
    assert list(calls["duration in seconds"]) == [call.amount for call in day.calls]
    assert list(texts["sent vs received"]) == [text.kind for text in day.texts]
    assert list(texts["message length"]) == [text.amount for text in day.texts]
    assert set(calls["hashed phone number"]) | set(texts["hashed phone number"]) <= set(life_of(world).contacts)


def test_a_sitting_is_dated_by_its_timings_and_by_the_name_of_its_answers(world: World) -> None:
    """From the first question to the submission, to the second."""
    sitting, timings = day_of(world).sitting, files_of(world, "survey_timings")
    times = [int(line.partition(",")[0]) for line in timings[0].read().decode().split("\n")[1:]]
    assert times[0] == sitting.opened.timestamp() * 1000
    assert times[-1] == sitting.submitted.timestamp() * 1000
    assert [file.bin for file in files_of(world, "survey_answers")] == [sitting.submitted]


def test_lives_go_on_in_whatever_steps_time_passes() -> None:
    """What comes after ``now`` is as known as what came before."""
    plan = StudyPlan(lives=True, start=NOW - timedelta(days=1), participants=["andr1aaa"], streams=["gps", "calls"])
    once, twice = (World.build(plan, now=NOW) for _ in range(2))
    once.live(NOW + timedelta(days=2))
    for hours in (7, 26, 48):
        twice.live(NOW + timedelta(hours=hours))
    assert set(once.participant("andr1aaa").files) == set(twice.participant("andr1aaa").files)
    assert life_of(once) == life_of(twice)


def test_other_studies_stay_as_they_are() -> None:
    """Lives are only in studies that ask for them."""
    world = World.build(StudyPlan(start=NOW - timedelta(days=1), participants=["andr1aaa"], streams=["gps"]), now=NOW)
    assert world.participant("andr1aaa").life is None
