"""The fixtures of a small study in an empty lake."""

from lake_fixtures import client, folder, lake, server, world

__all__ = ["client", "folder", "lake", "server", "world"]
