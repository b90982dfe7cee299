"""The fixtures of a small lab, and of a filled lake."""

from dagster_fixtures import instance, point_to, server, study, world
from reading_fixtures import shared_lake, shared_world

__all__ = ["instance", "point_to", "server", "shared_lake", "shared_world", "study", "world"]
