"""Inspect participants of a log in several processes at the same time."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from queue import Empty, SimpleQueue
from typing import Final, TypeAlias

from dagster_beiwe.errors import IntegrityError
from dagster_beiwe.lake.catalog.opening import LogElsewhere, Opening
from dagster_beiwe.lake.catalog.state import State
from dagster_beiwe.maintenance.inspection import Inspection, Part
from dagster_beiwe.maintenance.sampling import Sample
from dagster_beiwe.parallel import Processes, processes_for

_LISTED_SECONDS: Final = 2e-5
_READ_SECONDS: Final = 3e-5
"""What a file takes, about: most are small."""
_TICK_SECONDS: Final = 1.0

Inspectors: TypeAlias = Processes[Callable[[], Inspection]]
"""Processes each of which can begin inspections of a log in one state."""


def processes_to_inspect(
    log: Opening, state: State, participants: Collection[str], *, files: int, sample: Sample, past: bool
) -> Inspectors | None:
    """Who helps to inspect some participants, or all, with about so many files; None if this process does as well.

    ``past`` is that of ``Inspection``.
    """
    number = processes_for(files, 0, file_seconds=_LISTED_SECONDS + sample.share * _READ_SECONDS)
    number = min(number, len(participants or state.section()))
    elsewhere = log.elsewhere()
    if number < 2 or elsewhere is None:
        return None
    of_participants = replace(state, sections={"": state.section()})  # others may still lie in a checkpoint
    return Processes(partial(_opened, elsewhere, of_participants, sample, past=past), number=number - 1)


def inspect_in(processes: Inspectors, inspection: Inspection, participants: Iterable[str]) -> None:
    """Inspect participants: ``processes`` take them from the front, and this one from the end what nobody has begun.

    After an error, the processes end at once. Raises as ``Inspection`` does, and ``ProcessLostError``.
    """
    ended: SimpleQueue[Future[Part]] = SimpleQueue()
    """Gets each task once, also those that were canceled."""
    with processes, ThreadPoolExecutor(processes.number, "beiwe-inspect") as pool:
        try:
            processes.start()
            tasks = [(each, pool.submit(processes.run, _inspect, each)) for each in participants]
            for _, task in tasks:
                task.add_done_callback(ended.put)
            left = len(tasks)
            while left:
                if tasks and ended.empty():
                    name, task = tasks.pop()
                    if task.cancel():  # nobody has begun it
                        inspection.participant(name, threads=1)
                    continue
                try:
                    task = ended.get(timeout=_TICK_SECONDS)
                except Empty:
                    inspection.go_on()
                    continue
                left -= 1
                if not task.cancelled():
                    inspection.add(task.result())
        except BaseException:
            processes.kill()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    inspection.sort()


def _opened(elsewhere: LogElsewhere, state: State, sample: Sample, *, past: bool) -> Callable[[], Inspection]:
    """The log in the process that this was passed to."""
    log = elsewhere.opened()
    catalog = log.catalog()
    if catalog is None:
        raise IntegrityError(
            f"The log in {log.folder!r} was removed while it was verified. Check the lake's disk and its mount, and "
            "verify it again."
        )
    return partial(Inspection, catalog, log.storage, state, read=sample.has, past=past)


def _inspect(begin: Callable[[], Inspection], participant: str) -> Part:
    inspection = begin()
    inspection.participant(participant, threads=1)
    return inspection.part()
