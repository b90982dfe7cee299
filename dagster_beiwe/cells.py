"""One participant's window: what one partition of ``raw_data`` holds, and one commit of the lake.

No other module writes or takes apart the text of a partition key.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from dagster_beiwe.windows import Window

_SEPARATOR: Final = "|"
"""Dagster's own, between the dimensions of a partition key."""


class CellKey(NamedTuple):
    """A participant's id and a window's key. As text it is the partition key, ``<participant>|<window>``."""

    participant: str
    window: str

    def __str__(self) -> str:
        return _SEPARATOR.join(self)

    @classmethod
    def parse(cls, text: str) -> CellKey:
        """The key from its text, which nothing checks: other studies' partition keys have the same form."""
        participant, _, window = text.rpartition(_SEPARATOR)
        return cls(participant, window)


@dataclass(frozen=True, order=True)
class Cell:
    """A participant and a window with its bounds."""

    participant: str
    window: Window

    @property
    def key(self) -> CellKey:
        return CellKey(self.participant, self.window.key)


def dimensions(partition_key: str) -> list[str]:
    """The parts of a partition key of any table: one for each dimension."""
    return partition_key.split(_SEPARATOR)
