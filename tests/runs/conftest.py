"""The fixtures of a small lab."""

from dagster_fixtures import point_to, server, world

__all__ = ["point_to", "server", "world"]
