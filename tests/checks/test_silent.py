"""The check ``silent``: who stopped sending, in words that can be pasted into a mail."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import dagster as dg
from coverage_frames import coverage_frame
from labs import PARTICIPANTS, START, Lab, later, moment, rows, values, world_of

from dagster_beiwe.checks.silence import judge_silence
from dagster_beiwe.coverage import find_silent
from dagster_beiwe.simulator import ParticipantPlan
from dagster_beiwe.simulator.people import Upload
from dagster_beiwe.studies.config import StudyConfig

ANNA, BERT, CLEO = PARTICIPANTS
DAY = timedelta(days=1)


def judged(**configured: Any) -> tuple[bool, dg.AssetCheckSeverity, str]:
    """The verdict on three participants of whom two are silent, one for long."""
    frame = coverage_frame({ANNA: "#######?", BERT: "#......?", CLEO: "####...?"})
    verdict = judge_silence(frame, find_silent(frame, {}), StudyConfig("Sleep", **configured))
    return verdict.passed, verdict.severity, verdict.description


def test_a_longer_silence_is_an_error() -> None:
    """From the study's second threshold on."""
    warn, error = dg.AssetCheckSeverity.WARN, dg.AssetCheckSeverity.ERROR
    assert judged()[:2] == (False, warn)
    assert judged(silent_error_days=7)[:2] == (False, warn)
    assert judged(silent_error_days=6)[:2] == (False, error)


def test_the_text_can_be_pasted_into_a_mail() -> None:
    """A sentence, and a line for each participant, with times of the study's zone: in Markdown, a list."""
    assert judged()[2].splitlines() == [
        "2 of 3 silent for 3 days or more, in all streams. As of 2026-03-20 08:00 (America/New_York).",
        "",
        f"- {BERT}: everything silent for 6 days. Last data 2026-03-13, last upload unknown, last heartbeat unknown.",
        f"- {CLEO}: everything silent for 3 days. Last data 2026-03-16, last upload unknown, last heartbeat unknown.",
    ]


def test_silent_names_who_stopped_and_who_never_began(open_lab: Callable[..., Lab]) -> None:
    """Files of 1970 and of next year do not make a phone look alive. Who retired or never registered is left out."""
    end = moment(START, 0) + 7 * DAY
    people = [
        ParticipantPlan(id=ANNA),
        ParticipantPlan(id=BERT, end=end, wrong_clock=True),
        ParticipantPlan(id=CLEO, end=end, retired=True),
        ParticipantPlan(id="dora0004", os=""),
        ParticipantPlan(id="emil0005", start=moment(START, 0), end=moment(START, 0)),
    ]
    lab = open_lab(world_of(*people))
    assert "materialize" in (lab.check("silent").description or "").lower()
    lab.backfill()
    assert lab.run("out_of_range", partition=BERT).success
    opened = int((lab.world.now - DAY).timestamp() * 1000)
    late = Upload(file_name=f"gps/{opened}.csv", size_bytes=9, arrived=lab.world.now)
    lab.world.participant(BERT).late_uploads.append(late)
    assert lab.run("participant", partition=BERT).success
    assert lab.run("roster", "coverage").success
    evaluation = lab.check("silent")
    assert (evaluation.passed, evaluation.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert [row["participant"] for row in rows(evaluation, "silent participants")] == ["emil0005", BERT]
    emil, bert = rows(evaluation, "silent participants")
    assert (emil["last data"], emil["last upload"], emil["streams"]) == ("never", "unknown", "everything")
    assert bert["last data"] == (end - DAY).date().isoformat()
    assert bert["last upload"] > bert["last data"]
    assert values(evaluation)["silent"] == 2
    assert "2 of 3 silent" in (evaluation.description or "")
    assert "1 uploaded file not yet processed" in (evaluation.description or "")


def test_an_old_table_is_no_good_news(lab: Lab) -> None:
    """Nobody was silent then."""
    lab.backfill()
    assert lab.run("coverage", checks=["silent"]).success
    assert lab.check("silent").passed
    with later(hours=25):
        evaluation = lab.check("silent")
    assert (evaluation.passed, evaluation.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "It is not known who is silent" in (evaluation.description or "")


def test_limits_are_those_of_the_study(open_lab: Callable[..., Lab]) -> None:
    """Nobody is silent for a month; power state promises nothing, and is looked at because it is named."""
    world = world_of(ParticipantPlan(id=ANNA, streams=("gps",)), BERT)
    lab = open_lab(world, silent_days=28, silent_groups={"phone use": 7})
    lab.backfill()
    assert lab.run("coverage").success
    (row,) = rows(lab.check("silent"), "silent participants")
    assert (row["participant"], row["streams"]) == (ANNA, "power_state")
