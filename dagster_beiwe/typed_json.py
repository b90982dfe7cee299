"""Read JSON that Dagster stored for this package, such as the cursor of a sensor, strictly as a type."""

from __future__ import annotations

from typing import TypeVar

import msgspec

T = TypeVar("T")


def read_json(text: str, kind: type[T]) -> T | None:
    """The value that a text has; None if it has none of that type. Fields that the type lacks are ignored."""
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
