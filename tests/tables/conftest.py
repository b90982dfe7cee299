"""The fixtures of a filled lake."""

from reading_fixtures import shared_world

__all__ = ["shared_world"]
