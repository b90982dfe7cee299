"""The fixtures of a small study in an empty lake, and mano."""

import pytest
from core_helpers import small_world
from lake_fixtures import client, folder, lake, server
from old_trees import mano

from dagster_beiwe.simulator import World

__all__ = ["client", "folder", "lake", "mano", "server"]


@pytest.fixture
def world() -> World:
    """Few files: each locked one takes a key of its own."""
    return small_world(hours=(5,))
