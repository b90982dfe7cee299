"""Mobility: how many fixes a day has, called hours of observation. It remembers how many fixes there ever were."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from forest.constants import Frequency
from forest.days import WRITES_TEXT, days_of, rows_of, write


def gps_stats_main(
    study_folder: str,
    output_folder: str,
    tz_str: str,
    frequency: Frequency,
    save_traj: bool,
    participant_ids: list[str],
    all_memory_dict: Any = None,
    all_bv_set: Any = None,
) -> None:
    assert frequency is Frequency.DAILY
    assert not save_traj
    (participant,) = participant_ids
    folder = Path(study_folder, participant, "gps")
    days = days_of(folder, tz_str)
    text = "".join(f"stand-in: {row}" for row in rows_of(folder) if row["altitude"] == str(WRITES_TEXT))
    before = int(all_memory_dict[participant]["1"]["alpha"][0]) if all_memory_dict else 0
    if all_bv_set:
        assert all_bv_set[participant].shape == (2, 3)
    lines: list[list[object]] = [
        [*map(int, day.split("-")), text or count, before] for day, count in sorted(days.items())
    ]
    results = Path(output_folder)
    write(results / "daily" / f"{participant}.csv", ["year", "month", "day", "obs_duration", "home_time"], lines)
    part = {
        "bv": [np.array([1.0, 2.0])],
        "Q": np.eye(2),
        "C": np.eye(2),
        "alpha": np.array([before + sum(days.values())]),
    }
    memory = {participant: {str(number): part for number in range(1, 5)}}
    vectors = {participant: np.arange(6.0).reshape(2, 3)}
    for name, value in (("all_memory_dict", memory), ("all_bv_set", vectors)):
        (results / f"{name}.pkl").write_bytes(pickle.dumps(value))
