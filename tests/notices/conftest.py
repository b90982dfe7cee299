"""Dagster's history in memory."""

from dagster_fixtures import instance

__all__ = ["instance"]
