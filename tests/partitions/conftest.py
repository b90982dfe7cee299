"""The fixtures of a small lab."""

from dagster_fixtures import instance, shared_instance

__all__ = ["instance", "shared_instance"]
