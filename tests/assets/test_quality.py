"""``quality`` in Dagster: faults that were planted in a world are found with participant and day, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from labs import PARTICIPANTS, Lab, before_the_week_ends, day_of_week, moment, rows, values

from dagster_beiwe.automation.schedules import build_job_schedule, build_quality_job
from dagster_beiwe.checks.quality import QUALITY_CHECKS
from dagster_beiwe.quality import CHECKS, DAY_TYPES
from dagster_beiwe.runs.check_history import failing_participants
from dagster_beiwe.simulator import ContentPlan, ParticipantPlan, StudyPlan, World
from dagster_beiwe.simulator.surveys import QUESTIONS

STREAMS = ("accelerometer", "gps", "survey_answers", "survey_timings")
ANNA, BERT, _ = PARTICIPANTS
PAGE = (Path(__file__).parents[2] / "docs" / "quality.md").read_text(encoding="utf-8")
CODE = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
DAY = day_of_week(1)


@pytest.fixture(autouse=True)
def clock() -> Iterator[None]:
    """One file is dated some hours ahead, and has to be in a window that has begun."""
    with before_the_week_ends(hours=4):
        yield


@pytest.fixture
def world(clock: None) -> World:
    """Somebody with whose data nothing is wrong, and one participant for each fault; sensors do as they are told."""
    people = [ParticipantPlan(id="anna0001"), ParticipantPlan(id="anna0002", os="IOS")]
    people += [ParticipantPlan(id=f"bert000{number}") for number in range(1, 10)]
    plan = StudyPlan(
        name="Sleep and Mood",
        time_zone="Asia/Kolkata",
        participants=people,
        start=moment(DAY - timedelta(days=1), 0),
        end=moment(DAY + timedelta(days=2), 0),
        hours=(12, 20),
        streams=STREAMS,
        content=ContentPlan(rows_by_stream={"accelerometer": 60, "gps": 30}),
    )
    built = World.build(plan)
    (study_id,) = built.studies
    # One row in each minute
    built.change_settings(study_id, accelerometer_frequency=1, accelerometer_on_duration_seconds=1)
    built.change_settings(study_id, accelerometer_off_duration_seconds=59)
    return built


def plant(world: World) -> dict[tuple[str, str], tuple[str, str, date]]:
    """Plant one fault in the data of each participant but two: {(check, what): (participant, stream, local day)}."""
    at, evening = moment(DAY, 12), moment(DAY, 20)  # 20 o'clock is the next day in India
    late = DAY + timedelta(days=1)
    world.spoil("bert0001", "gps", at, "repeated_timestamps")
    world.spoil("bert0002", "gps", evening, "disordered_timestamps")
    world.spoil("bert0003", "accelerometer", at, "contradicting_times")
    world.spoil("bert0004", "gps", evening, "rows_of_another_hour")
    world.spoil("bert0005", "gps", at, "coordinates_out_of_range")
    for hour in (at, evening - timedelta(days=1)):
        world.spoil("bert0006", "gps", hour, "few_rows")
    world.spoil("bert0007", "survey_timings", at, "without_question", question=QUESTIONS[0].id)
    world.add_hour("bert0008", "survey_timings", evening)
    ahead = world.now + timedelta(hours=2)
    world.add_hour("bert0009", "gps", ahead, rows=30)
    return {
        ("timestamps", "rows with the same timestamp as an earlier row"): ("bert0001", "gps", DAY),
        ("timestamps", "rows earlier than the row before"): ("bert0002", "gps", late),
        ("clock", "rows whose two times contradict each other"): ("bert0003", "accelerometer", DAY),
        ("clock", "rows outside the hour of their file"): ("bert0004", "gps", late),
        ("clock", "files dated after they were uploaded or fetched"): (
            "bert0009",
            "gps",
            (ahead + timedelta(hours=5, minutes=30)).date(),
        ),
        ("coordinates", "rows with coordinates out of range"): ("bert0005", "gps", DAY),
        ("sampling", "minutes with data, where far more are expected"): ("bert0006", "gps", DAY),
        ("answers_and_timings", "answers without timings"): ("bert0007", "survey_answers", DAY),
        ("answers_and_timings", "submissions without answers"): ("bert0008", "survey_timings", late),
    }


def measured(lab: Lab) -> dict[str, dg.AssetCheckEvaluation]:
    """What the checks found after a run of ``quality``."""
    result = lab.run("quality", checks=[*QUALITY_CHECKS])
    assert result.success
    return {each.check_name: each for each in result.get_asset_check_evaluations()}


def test_each_planted_fault_is_found_and_nothing_else(open_lab: Callable[..., Lab], world: World) -> None:
    """A clean study passes. Then, each fault is named by its check, with participant, stream, and study-local day."""
    lab = open_lab(world, streams=STREAMS, quality_streams=STREAMS)
    assert lab.run("settings").success
    lab.backfill()
    before = measured(lab)
    assert before.keys() == CHECKS.keys()
    assert [name for name, each in before.items() if not each.passed] == []
    planted = plant(world)
    lab.backfill()  # some faults change no size, and so no counts
    found = {
        (name, row["what"]): (row["participant"], row["stream"], date.fromisoformat(row["days"]))
        for name, each in measured(lab).items()
        for row in rows(each, "first findings")
    }
    assert found == planted


def test_a_check_names_who_and_when_and_how_bad(lab: Lab) -> None:
    """In a sentence, and for notices. What a server promises and does not keep is an error; what a phone does is a
    warning."""
    lab.world.spoil(ANNA, "gps", moment(DAY, 12), "coordinates_out_of_range")
    lab.world.spoil(BERT, "gps", moment(DAY, 12), "disordered_timestamps")
    lab.backfill()
    found = measured(lab)
    assert not found["coordinates"].passed
    assert found["coordinates"].severity == dg.AssetCheckSeverity.WARN
    assert found["coordinates"].description == (
        f"Rows with coordinates out of range: 1 of 3 participants. {ANNA} (1 day, last {DAY.isoformat()})."
    )
    assert values(found["coordinates"])["days affected"] == 1
    assert failing_participants(found["coordinates"]) == {ANNA: "WARN"}
    assert found["timestamps"].severity == dg.AssetCheckSeverity.ERROR
    assert failing_participants(found["timestamps"]) == {BERT: "ERROR"}
    assert found["clock"].description == QUALITY_CHECKS["clock"]


def test_it_reads_on_where_it_was_and_keeps_its_version(lab: Lab) -> None:
    """The data version changes with the rows. A script reads the table as docs/quality.md shows."""
    lab.backfill()
    seen: list[Any] = []
    for _ in range(2):
        assert lab.run("quality").success
        event = lab.instance.get_latest_materialization_event(lab.key("quality"))
        assert event is not None
        assert event.asset_materialization is not None
        metadata = {name: value.value for name, value in event.asset_materialization.metadata.items()}
        assert metadata["time zone"] == "America/New_York"
        tags = event.asset_materialization.tags or {}
        seen.append((metadata["files read"], metadata["dagster/row_count"], tags["dagster/data_version"]))
    (read, count, version), again = seen
    assert read == sum(file.stream == "gps" for file in lab.world.files(lab.study.id))
    assert again == (0, count, version)
    names: dict[str, Any] = {"lake": lab.lake}
    exec(compile(CODE[-1], "docs/quality.md", "exec"), names)
    assert len(names["days"]) == count


def test_the_page_about_it_names_every_check_and_column() -> None:
    """And its configuration can be used."""
    assert all(f"| `{name}` |" in PAGE for name in CHECKS)
    assert all(f"`{name}`" in PAGE for name in DAY_TYPES)
    exec(compile(CODE[0], "docs/quality.md", "exec"), {})


def test_a_study_chooses_what_is_looked_at(open_lab: Callable[..., Lab]) -> None:
    """Only streams that it fetches; without any, there is no such asset."""
    assert open_lab(streams=("gps", "power_state")).study.config.looked_at == ("gps",)
    lab = open_lab(quality_streams=())
    assert lab.assets.quality is None
    assert not {key.name for key in lab.checks.check_keys} & {*QUALITY_CHECKS}
    assert lab.key("quality") not in lab.definitions.resolve_all_asset_keys()


def test_a_job_of_its_own_runs_it_with_its_checks(lab: Lab) -> None:
    """The first run may take hours, and the other checks do not wait for it."""
    assert lab.assets.quality is not None
    job = build_quality_job(lab.study, lab.assets.quality)
    schedule = build_job_schedule(job)
    assert (schedule.job_name, schedule.cron_schedule) == ("sleep_quality", "0 8 * * *")
    definitions = dg.Definitions.merge(lab.definitions, dg.Definitions(jobs=[job]))
    layer = definitions.resolve_job_def(job.name).asset_layer
    assert layer.selected_asset_keys == {lab.key("quality")}
    assert {key.name for key in layer.asset_graph.asset_check_keys} == {*QUALITY_CHECKS}


def test_there_is_nothing_to_check_before_it_was_made(lab: Lab) -> None:
    """The check says what to do."""
    evaluation = lab.check("coordinates")
    assert (evaluation.passed, evaluation.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "materialize quality first" in str(evaluation.description)


def test_the_columns_are_described(lab: Lab) -> None:
    """Each of them, with its type."""
    assert lab.assets.quality is not None
    schema = lab.assets.quality.metadata_by_key[lab.key("quality")]["dagster/column_schema"]
    assert {column.name: column.type for column in schema.columns} == dict(DAY_TYPES)
    assert all(column.description for column in schema.columns)
    assert QUALITY_CHECKS.keys() == CHECKS.keys()
