"""A small lab, and an environment with a stand-in for Forest."""

from __future__ import annotations

from pathlib import Path

import pytest
from dagster_fixtures import instance, open_lab, point_to
from forest_environments import make_stand_in

__all__ = ["instance", "open_lab", "point_to", "stand_in"]


@pytest.fixture(scope="session")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as ``dagster-beiwe forest`` makes it."""
    return make_stand_in(tmp_path_factory.mktemp("forest") / "environment")
