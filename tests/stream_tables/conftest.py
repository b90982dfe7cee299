"""A small lab for each test."""

from __future__ import annotations

from dagster_fixtures import instance, open_lab, point_to

__all__ = ["instance", "open_lab", "point_to"]
