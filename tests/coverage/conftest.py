"""The fixtures of a small study in an empty lake, and of a small lab."""

from dagster_fixtures import instance, lab, open_lab, point_to
from lake_fixtures import folder, lake

__all__ = ["folder", "instance", "lab", "lake", "open_lab", "point_to"]
