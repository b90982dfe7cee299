"""The fixtures of a filled lake."""

from old_trees import mano
from reading_fixtures import lake, server, shared_lake, shared_world, view

__all__ = ["lake", "mano", "server", "shared_lake", "shared_world", "view"]
