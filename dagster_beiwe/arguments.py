"""What a reader's caller passes: lists and times that are easily given in a form that means something else."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from dagster_beiwe.errors import ConfigurationError, TimeRangeError


def check_list(what: str, values: Iterable[str]) -> tuple[str, ...]:
    """The values as a tuple; a text, which would be taken as a list of letters, raises ``ConfigurationError``."""
    if isinstance(values, str):
        raise ConfigurationError(
            f"The {what} are the text {values[:60]!r}. Nothing was read. Give a list: [{values!r}]."
        )
    return tuple(values)


def check_time(name: str, moment: object) -> None:
    """Raise ``TimeRangeError`` for anything but an aware datetime."""
    if not isinstance(moment, datetime):
        raise TimeRangeError(
            f"The {name} is {str(moment)[:40]!r}, of type {type(moment).__name__}. Nothing was read. Give an aware "
            "datetime, which says the zone: datetime(2024, 3, 1, tzinfo=timezone.utc)."
        )
    if moment.tzinfo is None:
        raise TimeRangeError(
            f"The {name} {moment.isoformat()} has no time zone. Nothing was read. Add it, for instance "
            "datetime(..., tzinfo=timezone.utc)."
        )
