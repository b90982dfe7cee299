"""The fixtures of a small lab."""

from dagster_fixtures import instance, point_to, server, stored_instance, study, world

__all__ = ["instance", "point_to", "server", "stored_instance", "study", "world"]
