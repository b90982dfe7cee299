"""The fixtures of a small lab."""

from dagster_fixtures import instance, lab, open_lab, point_to, server, stored_instance, study, world

__all__ = ["instance", "lab", "open_lab", "point_to", "server", "stored_instance", "study", "world"]
