"""The fixtures of a small lab."""

from dagster_fixtures import an_hour_later, instance, point_to, server, stored_instance, study, world

__all__ = ["an_hour_later", "instance", "point_to", "server", "stored_instance", "study", "world"]
