"""The fixtures of a small lab."""

from dagster_fixtures import instance

__all__ = ["instance"]
