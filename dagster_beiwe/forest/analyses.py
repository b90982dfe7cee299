"""Forest's analyses: what each reads, what it writes, and what the columns of its results hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, get_args

ForestTree = Literal["jasmine", "oak", "sycamore", "willow"]
"""Forest calls its analyses trees."""
FOREST_TREES: tuple[ForestTree, ...] = get_args(ForestTree)

METHOD: Final = 1
"""Raise it when the plain files, the program, or the tables of results change: every partition is analyzed again."""

DAY: Final = "day"
PARTICIPANT: Final = "participant"

DAY_PARTS: Final = ("year", "month", "day")


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """One of Forest's trees: the streams it reads, and its file of results below the folder it writes to.

    ``columns`` are {Forest's column: (ours, what it holds)}. A row is a day in the study's zone, unless the
    column ``dated_by`` says when the row's sitting began. ``needs`` are {column: the stream without which it is empty}.
    """

    tree: ForestTree
    title: str
    streams: tuple[str, ...]
    results: str
    columns: Mapping[str, tuple[str, str]]
    dated_by: str | None = None
    needs: Mapping[str, str] = field(default_factory=dict)


def _same(columns: Mapping[str, str]) -> Mapping[str, tuple[str, str]]:
    return {name: (name, text) for name, text in columns.items()}


_JASMINE = Analysis(
    tree="jasmine",
    title="Mobility from GPS",
    streams=("gps",),
    results="daily/{participant}.csv",
    columns=_same(
        {
            "obs_duration": "Hours of the day with GPS",
            "obs_day": "Hours with GPS from 8 to 20 o'clock",
            "obs_night": "Hours with GPS in the rest of the day",
            "home_time": "Hours within 50 meters of home",
            "dist_traveled": "Kilometers traveled",
            "max_dist_home": "Largest distance from home in kilometers",
            "radius": "Radius of gyration in kilometers",
            "diameter": "Largest distance between two places in kilometers",
            "num_sig_places": "Places with more than 15 minutes",
            "entropy": "Entropy of the time at these places",
            "total_flight_time": "Hours on the way",
            "av_flight_length": "Mean length of a movement in kilometers",
            "sd_flight_length": "Standard deviation of that",
            "av_flight_duration": "Mean duration of a movement in hours",
            "sd_flight_duration": "Standard deviation of that",
            "total_pause_time": "Hours at rest",
            "av_pause_duration": "Mean duration of a rest in hours",
            "sd_pause_duration": "Standard deviation of that",
        }
    ),
)

_OAK = Analysis(
    tree="oak",
    title="Walking from acceleration",
    streams=("accelerometer",),
    results="daily/{participant}.csv",
    columns=_same(
        {
            "walking_time": "Seconds of walking while the accelerometer was on",
            "steps": "Steps in these seconds",
            "cadence": "Mean steps per second in these seconds",
        }
    ),
)

_CALLS: Final = {
    "num_in_call": "Incoming calls",
    "num_out_call": "Outgoing calls",
    "num_mis_call": "Missed calls",
    "num_in_caller": "Different people who called",
    "num_out_caller": "Different people who were called",
    "num_mis_caller": "Different people whose call was missed",
    "total_mins_in_call": "Minutes of incoming calls",
    "total_mins_out_call": "Minutes of outgoing calls",
}
_TEXTS: Final = {
    "num_s": "Texts sent",
    "num_r": "Texts received",
    "num_mms_s": "Multimedia messages sent",
    "num_mms_r": "Multimedia messages received",
    "num_s_tel": "Different people who were sent a text",
    "num_r_tel": "Different people who sent a text",
    "total_char_s": "Characters of texts sent",
    "total_char_r": "Characters of texts received",
    "text_reciprocity_incoming": "Texts received from people who were sent none on that day",
    "text_reciprocity_outgoing": "Texts sent to people who sent none on that day",
}

_WILLOW = Analysis(
    tree="willow",
    title="Calls and texts",
    streams=("calls", "texts"),
    results="daily/{participant}.csv",
    columns=_same({**_CALLS, "num_uniq_individuals_call_or_text": "Different people of all calls and texts", **_TEXTS}),
    needs={**dict.fromkeys(_CALLS, "calls"), **dict.fromkeys(_TEXTS, "texts")},
)

_SYCAMORE = Analysis(
    tree="sycamore",
    title="Sittings with surveys",
    streams=("survey_timings", "survey_answers", "audio_recordings"),
    results="summaries/submits_only.csv",
    dated_by="min_time",
    columns={
        "survey id": ("survey_id", "Survey"),
        "min_time": ("began", "When the sitting began, in the study's zone"),
        "max_time": ("ended", "When it ended, in the study's zone"),
        "time_to_complete": ("seconds", "Seconds from the beginning to the end; 0 if only answers came, no timings"),
    },
)

ANALYSES: Mapping[ForestTree, Analysis] = {each.tree: each for each in (_JASMINE, _OAK, _SYCAMORE, _WILLOW)}


def asset_name(tree: str) -> str:
    """What the asset of a tree is called below its study: also its place in the table of columns."""
    return f"forest/{tree}"


FOREST_COLUMNS: Mapping[str, Mapping[str, str]] = {
    asset_name(tree): {
        PARTICIPANT: "Participant id",
        DAY: "Day in the study's time zone",
        **dict(analysis.columns.values()),
    }
    for tree, analysis in ANALYSES.items()
}
"""{asset: {column: what it holds}}, in the order of the columns."""

_MOMENTS: Final = frozenset({DAY, "began", "ended"})
_WORDS: Final = frozenset({PARTICIPANT, "survey_id"})


def _type(column: str) -> str:
    return "string" if column in _WORDS else "datetime64[s]" if column in _MOMENTS else "float64"


FOREST_TYPES: Mapping[str, Mapping[str, str]] = {
    asset: {column: _type(column) for column in columns} for asset, columns in FOREST_COLUMNS.items()
}
"""{asset: {column: type}}, as pandas calls it."""
