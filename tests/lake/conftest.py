"""The fixtures of a small study in an empty lake."""

from lake_fixtures import folder, lake, umask_zero

__all__ = ["folder", "lake", "umask_zero"]
