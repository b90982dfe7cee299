"""Inspect participants of a log in several processes at the same time."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterable
from contextlib import closing
from functools import partial
from typing import Final, TypeAlias

from dagster_beiwe.lake.catalog.opening import LogElsewhere, Opening
from dagster_beiwe.lake.catalog.state import State
from dagster_beiwe.maintenance.inspection import Inspected, Inspection
from dagster_beiwe.maintenance.sampling import sample_of_today
from dagster_beiwe.meanwhile import read_ahead
from dagster_beiwe.parallel import Processes, processes_for

_LISTED_SECONDS: Final = 2e-5
_READ_SECONDS: Final = 3e-5
"""What a file takes, about: most are small."""
_AHEAD: Final = 4
"""So many participants for each process: they differ in size."""

Inspectors: TypeAlias = Processes[Callable[[], Inspection]]
"""Processes each of which can begin inspections of a log in one state."""


def inspectors(
    log: Opening, state: State, participants: Collection[str], *, files: int, share: float, past: bool
) -> Inspectors | None:
    """Who inspects some participants, or all, with about so many files; None if one process does as well.

    ``share`` and ``past`` are those of ``verify_study``.
    """
    number = processes_for(files, 0, file_seconds=_LISTED_SECONDS + share * _READ_SECONDS)
    number = min(number, len(participants or state.section()))
    elsewhere = log.elsewhere()
    if number < 2 or elsewhere is None:
        return None
    return Processes(partial(_opened, elsewhere, state, share=share, past=past), number=number)


def inspected(processes: Inspectors, participants: Iterable[str]) -> Generator[Inspected, None, None]:
    """What was found of each participant, in order. Close it if you leave it early: that ends the processes."""

    def inspect(participant: str) -> Inspected:
        return processes.run(_inspect, participant)

    most = _AHEAD * processes.number
    with processes, closing(read_ahead(participants, inspect, most=most, give_up=processes.kill)) as found:
        for _, part in found:
            yield part


def _opened(elsewhere: LogElsewhere, state: State, *, share: float, past: bool) -> Callable[[], Inspection]:
    """The log in the process that this was passed to."""
    log = elsewhere.opened()
    catalog = log.catalog()
    assert catalog is not None, "its state was read from it"
    return partial(Inspection, catalog, log.storage, state, read=sample_of_today(share), past=past, threads=1)


def _inspect(begin: Callable[[], Inspection], participant: str) -> Inspected:
    inspection = begin()
    inspection.participant(participant)
    return inspection.inspected()
