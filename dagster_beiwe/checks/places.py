"""Name partitions to run again, as texts to paste that select exactly these partitions and nothing else."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg

from dagster_beiwe.cells import CellKey
from dagster_beiwe.partitions.rectangles import cover

ROSTER_FIRST = "not partitions yet: materialize the roster first"

_WHERE = "# Set MODULE to the module of your definitions, for example MODULE=beiwe_project.definitions"
_RANGES_SHOWN = 20
_KEYS_SHOWN = 1_000


@dataclass(frozen=True, kw_only=True)
class Places:
    """All partitions of ``raw_data`` in order, and the asset's key as text."""

    asset: str
    participants: Sequence[str]
    windows: Sequence[str]

    def metadata(self, cells: Collection[CellKey], *, out_of_range: Iterable[str] = ()) -> dict[str, Any]:
        """Partitions to run: as keys, as values of the two fields of Dagster's partition selection, and as commands.

        A window that is not one of the study's is an out-of-range window, whose partition is the participant;
        ``out_of_range`` names further participants.
        Participants that are not partitions yet can't be selected: they are listed separately.
        """
        enrolled, windows = set(self.participants), set(self.windows)
        wanted = {*out_of_range, *(participant for participant, window in cells if window not in windows)}
        absent = (wanted | {participant for participant, _ in cells}) - enrolled
        return {
            **self._raw_data(sorted(cell for cell in cells if cell.participant in enrolled and cell.window in windows)),
            **_listed("out-of-range partitions to run", sorted(wanted & enrolled)),
            **_listed(ROSTER_FIRST, sorted(absent)),
        }

    def _raw_data(self, cells: Sequence[CellKey]) -> dict[str, Any]:
        if not cells:
            return {}
        ranges = cover(cells, participants=self.participants, windows=self.windows, largest=len(cells))
        commands = [
            f"dagster asset materialize -m $MODULE --select 'key:{self.asset}' --partition-range '{each.range}'"
            for each in ranges[:_RANGES_SHOWN]
        ]
        more = len(ranges) - len(commands)
        selections = _selections(cells)
        return {
            **_listed("partitions to run", list(map(str, cells))),
            "selections to paste": table_of(selections[:_RANGES_SHOWN]),
            **_left_out("selections", len(selections) - _RANGES_SHOWN),
            "commands": dg.MetadataValue.md(
                "\n".join(["```", _WHERE, *commands, *([f"# and {more} more ranges"] if more > 0 else []), "```"])
            ),
        }


def table_of(rows: Iterable[Mapping[str, Any]]) -> dg.TableMetadataValue:
    return dg.MetadataValue.table([dg.TableRecord(dict(row)) for row in rows])


def _selections(cells: Iterable[CellKey]) -> list[dict[str, str]]:
    """Both fields of Dagster's selection, with one row for all participants that lack the same windows."""
    by_participant: dict[str, list[str]] = {}
    for participant, window in cells:
        by_participant.setdefault(participant, []).append(window)
    by_windows: dict[tuple[str, ...], list[str]] = {}
    for participant, windows in by_participant.items():
        by_windows.setdefault(tuple(windows), []).append(participant)
    return [
        {"participants": ", ".join(participants), "windows": ", ".join(windows)}
        for windows, participants in by_windows.items()
    ]


def _listed(name: str, keys: Sequence[str]) -> dict[str, Any]:
    """The first keys as one text to paste, and separately how many more there are."""
    if not keys:
        return {}
    return {name: ", ".join(keys[:_KEYS_SHOWN]), **_left_out(name, len(keys) - _KEYS_SHOWN)}


def _left_out(name: str, number: int) -> dict[str, int]:
    return {f"{name}: not shown": number} if number > 0 else {}
