"""Forest, the analyses that a server may run: their runs, and their columns of the daily statistics.

Columns are those of the server. Fields of a run are those of its table of runs: nobody recorded a real answer of
``get-forest-tasks``.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from typing import Any, Literal

from dagster_beiwe.simulator.profiles import Profile

Tree = Literal["jasmine", "willow", "sycamore", "oak"]

_MEASURES: dict[Tree, str] = {
    "jasmine": (
        "distance_diameter distance_from_home distance_traveled flight_distance_average flight_distance_stddev "
        "flight_duration_average flight_duration_stddev home_duration gyration_radius significant_location_count "
        "significant_location_entropy pause_time obs_duration obs_day obs_night total_flight_time av_pause_duration "
        "sd_pause_duration physical_circadian_rhythm physical_circadian_rhythm_stratified"
    ),
    "willow": (
        "incoming_text_count incoming_text_degree incoming_text_length outgoing_text_count outgoing_text_degree "
        "outgoing_text_length incoming_text_reciprocity outgoing_text_reciprocity outgoing_MMS_count "
        "incoming_MMS_count mean_responsiveness_text incoming_call_count incoming_call_degree incoming_call_duration "
        "outgoing_call_count outgoing_call_degree outgoing_call_duration missed_call_count missed_callers "
        "mean_responsiveness_call call_reciprocity uniq_individual_call_or_text_count"
    ),
    "sycamore": (
        "total_surveys total_completed_surveys total_opened_surveys average_time_to_submit average_time_to_open "
        "average_duration"
    ),
    "oak": "walking_time steps cadence",
}
_NEWER = {
    "jasmine_physical_circadian_rhythm",
    "jasmine_physical_circadian_rhythm_stratified",
    "willow_mean_responsiveness_text",
    "willow_mean_responsiveness_call",
    "willow_call_reciprocity",
}
_DAY = timedelta(days=1)


@dataclass(frozen=True, kw_only=True)
class ForestTask:
    """A run that analyzed a participant's days from ``first`` to ``last``, at the time ``ran`` (aware, UTC)."""

    tree: Tree
    first: date
    last: date
    ran: datetime

    def days(self) -> Iterator[date]:
        return (self.first + number * _DAY for number in range((self.last - self.first).days + 1))

    def as_json(self, participant_id: str, number: int) -> dict[str, Any]:
        started = self.ran.astimezone(timezone.utc)
        return {
            "id": number,
            "patient_id": participant_id,
            "forest_tree": self.tree,
            "forest_version": "1.0",
            "data_date_start": self.first.isoformat(),
            "data_date_end": self.last.isoformat(),
            "total_file_size": 1_000_000,
            "process_start_time": started.isoformat(),
            "process_download_end_time": (started + timedelta(seconds=20)).isoformat(),
            "process_end_time": (started + timedelta(seconds=60)).isoformat(),
            "status": "success",
            "forest_output_exists": True,
        }


def columns_of(tree: Tree) -> tuple[str, ...]:
    """Every column that an analysis had on some server."""
    return tuple(f"{tree}_{measure}" for measure in _MEASURES[tree].split())


def forest_columns(profile: Profile) -> tuple[str, ...]:
    """The columns of the daily statistics that hold results of analyses."""
    every = (name for tree in _MEASURES for name in columns_of(tree))
    return tuple(
        name for name in every if (name not in _NEWER if profile.former_analyses else not name.startswith("sycamore_"))
    )


def results(participant_id: str, tasks: list[ForestTask], day: date) -> dict[str, float | int | str]:
    """What the analyses found on a day, by column."""
    found: dict[str, float | int | str] = {}
    for tree in {task.tree: task for task in tasks if task.first <= day <= task.last}:
        rng = random.Random(f"{participant_id}/{tree}/{day}")
        found.update({name: _value(name, rng) for name in columns_of(tree)})
    return found


def _value(name: str, rng: random.Random) -> float | int | str:
    if name == "jasmine_pause_time":  # the one that the server stores as text
        return f"{rng.uniform(0, 24):.2f}"
    return rng.randrange(20) if name.endswith(("_count", "_degree", "_surveys")) else round(rng.uniform(0, 24), 4)
