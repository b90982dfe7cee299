"""The fixtures of a filled lake."""

from reading_fixtures import lake, server, shared_lake, shared_world, view

__all__ = ["lake", "server", "shared_lake", "shared_world", "view"]
