"""The fixtures of a small lab."""

from dagster_fixtures import an_hour_later, instance, lab, open_lab, point_to, server, study, world

__all__ = ["an_hour_later", "instance", "lab", "open_lab", "point_to", "server", "study", "world"]
