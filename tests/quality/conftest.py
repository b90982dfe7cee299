"""The fixtures of a small study in an empty lake, and of a small lab."""

from dagster_fixtures import instance, lab, open_lab, point_to
from lake_fixtures import client, folder, lake, server

__all__ = ["client", "folder", "instance", "lab", "lake", "open_lab", "point_to", "server"]
