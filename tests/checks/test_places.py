"""What is named to be run again can be pasted as it is, and names nothing else."""

from __future__ import annotations

from typing import Any

import dagster as dg

from dagster_beiwe.cells import CellKey
from dagster_beiwe.checks.places import ROSTER_FIRST, Places

PEOPLE = [f"person{number:04d}" for number in range(600)]
KEYS = ["2026-01-05", "2026-01-12", "2026-01-19"]
PLACES = Places(asset="beiwe/sleep/raw_data", participants=PEOPLE, windows=KEYS)


def selected(metadata: dict[str, Any]) -> list[tuple[str, str]]:
    """What the rows select when their two fields are pasted, one row after the other."""
    table = metadata["selections to paste"]
    assert isinstance(table, dg.TableMetadataValue)
    return [
        (participant, window)
        for record in table.records
        for participant in str(record.data["participants"]).split(", ")
        for window in str(record.data["windows"]).split(", ")
    ]


def test_selections_hold_no_window_that_is_not_wanted() -> None:
    """Two fields select the product of both, so that participants who lack other windows have a row of their own."""
    pairs = [(0, 0), (0, 2), (1, 1), (5, 1)]
    cells = [CellKey(PEOPLE[person], KEYS[window]) for person, window in pairs]
    metadata = PLACES.metadata(cells)
    assert sorted(selected(metadata)) == sorted(cells)
    assert len(metadata["selections to paste"].records) == 2
    assert metadata["partitions to run"].split(", ") == list(map(str, sorted(cells)))


def test_long_lists_end_with_a_key() -> None:
    """How many are left out stands beside the list, not in it."""
    cells = [CellKey(one, window) for one in PEOPLE for window in KEYS]
    metadata = PLACES.metadata(cells, out_of_range=PEOPLE)
    keys = metadata["partitions to run"].split(", ")
    assert set(map(CellKey.parse, keys)) <= set(cells)
    assert metadata["partitions to run: not shown"] == len(cells) - len(keys)
    assert metadata["out-of-range partitions to run"].split(", ") == PEOPLE
    assert sorted(selected(metadata)) == sorted(cells)


def test_who_is_no_partition_is_named_apart() -> None:
    """Whether windows or out-of-range files are missing."""
    metadata = PLACES.metadata([CellKey("newcomer", KEYS[0]), CellKey(PEOPLE[0], "before")], out_of_range=["stranger"])
    assert metadata == {"out-of-range partitions to run": PEOPLE[0], ROSTER_FIRST: "newcomer, stranger"}
