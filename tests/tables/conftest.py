"""Fixtures: an empty lake for tables, and a table."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from reading_fixtures import shared_world
from reading_helpers import study_lake

from dagster_beiwe.simulator import World
from dagster_beiwe.tables.store import TableStore


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "lake"


@pytest.fixture
def store(folder: Path, shared_world: World) -> TableStore:
    return TableStore.of_study(study_lake(folder, shared_world))


@pytest.fixture
def frame() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "participant": pd.Categorical(["ab12", "wq7kz3mt", "ab12"]),
            "day": pd.to_datetime(["2024-03-04", "2024-03-05", None]).tz_localize("UTC").astype("datetime64[ms, UTC]"),
            "files": pd.array([3, None, 5], dtype="Int64"),
            "metres": [1.5, float("nan"), -2.0],
            "note": pd.array(["Grüße", None, "a,b\nc"], dtype="string"),
            "whole": [True, False, True],
        }
    )


__all__ = ["folder", "frame", "shared_world", "store"]
