"""The fixtures of a small study in an empty lake, and mano."""

from lake_fixtures import client, folder, lake, server, world
from old_trees import mano

__all__ = ["client", "folder", "lake", "mano", "server", "world"]
