"""Forest's files of results as tables, and what Jasmine remembers as one."""

from __future__ import annotations

import json
from collections.abc import Collection
from datetime import date
from pathlib import Path
from typing import Any, Final

import pandas as pd

from dagster_beiwe.forest.analyses import DAY, DAY_PARTS, FOREST_TYPES, PARTICIPANT, Analysis, asset_name
from dagster_beiwe.private_files import open_file, write_file

STATE_FILE: Final = "state.json"
_PARTS: Final = ("bv", "alpha", "Q", "C")
"""What Jasmine remembers of its Gaussian processes: basis vectors, and arrays of their size."""
_VECTORS: Final = "vectors"
_STATE_TYPES: Final = {"part": "string", "row": "int64", "column": "int64", "value": "float64"}
_MOST_VECTORS: Final = 100
"""Jasmine keeps at most as many. It cannot continue with that many: its matrices then differ in size."""


def no_results(analysis: Analysis) -> pd.DataFrame:
    """The table of a participant with too little data for an analysis."""
    table: pd.DataFrame = pd.DataFrame(
        {name: pd.Series(dtype=kind) for name, kind in FOREST_TYPES[asset_name(analysis.tree)].items()}
    )
    return table


def read_results(
    analysis: Analysis, folder: Path, participant: str, *, days: Collection[date], streams: Collection[str]
) -> pd.DataFrame:
    """What an analysis wrote about some days, in order of time. Empty if it wrote nothing.

    ``streams`` are those of which there were files: what needs another one is missing.
    """
    path = folder / analysis.results.format(participant=participant)
    if not path.exists():
        return no_results(analysis)
    found = pd.read_csv(path, dtype={"survey id": "string"})
    table = pd.DataFrame({ours: found.get(theirs) for theirs, (ours, _) in analysis.columns.items()}, index=found.index)
    table[PARTICIPANT], table[DAY] = participant, _days(found, analysis)
    for column, stream in analysis.needs.items():
        if stream not in streams:
            table[column] = None
    table = table[table[DAY].dt.date.isin(set(days))]
    types = FOREST_TYPES[asset_name(analysis.tree)]
    typed = table.astype(dict(types))[list(types)]
    ordered: pd.DataFrame = typed.sort_values([DAY, *(["began"] if "began" in types else [])], ignore_index=True)
    return ordered


def _days(found: pd.DataFrame, analysis: Analysis) -> Any:
    if analysis.dated_by is not None:
        return pd.to_datetime(found[analysis.dated_by]).dt.normalize()
    if set(DAY_PARTS) <= set(found.columns):
        return pd.to_datetime(found[list(DAY_PARTS)])
    return pd.to_datetime(found["date"])


def no_state() -> pd.DataFrame:
    """What Jasmine remembers of somebody it knows nothing of."""
    table: pd.DataFrame = pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in _STATE_TYPES.items()})
    return table


def read_state(path: Path) -> pd.DataFrame:
    """What Jasmine remembers of a participant, one number per row; nothing if there is no such file."""
    if not path.exists():
        return no_state()
    with open_file(path) as file:
        state = json.load(file)
    arrays = {f"{number}/{name}": parts[name] for number, parts in state["memory"].items() for name in _PARTS}
    rows = [
        (name, row, column, value)
        for name, array in {**arrays, _VECTORS: state[_VECTORS]}.items()
        for row, values in enumerate(array)
        for column, value in enumerate(values if isinstance(values, list) else [values])
    ]
    table: pd.DataFrame = pd.DataFrame(rows, columns=list(_STATE_TYPES)).astype(_STATE_TYPES)
    return table


def can_continue(table: pd.DataFrame) -> bool:
    """Whether Jasmine can continue from what it remembers; otherwise it begins anew."""
    full = table["part"].str.endswith("/bv") & (table["row"] >= _MOST_VECTORS - 1)
    return bool((table["part"] == _VECTORS).any() and not full.any())


def write_state(table: pd.DataFrame, path: Path) -> None:
    """Write what Jasmine remembers as its program reads it."""
    arrays: dict[str, list[Any]] = {}
    for name, part in table.groupby("part"):
        grid = part.pivot_table(index="row", columns="column", values="value")
        flat = str(name).endswith("/alpha")
        arrays[str(name)] = grid[0].tolist() if flat else grid.to_numpy().tolist()
    memory = {number: {name: arrays.get(f"{number}/{name}", []) for name in _PARTS} for number in map(str, range(1, 5))}
    write_file(path, json.dumps({"memory": memory, _VECTORS: arrays[_VECTORS]}).encode())
