"""Keep past states, and accept one that a backup brought back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from dagster_beiwe.errors import ConfigurationError, PastStateError
from dagster_beiwe.lake.catalog.catalog import Catalog
from dagster_beiwe.lake.catalog.records import Accept, Collect, Head, Place, Repair, Snapshot, Unsnapshot
from dagster_beiwe.lake.catalog.state import State


def add_snapshot(catalog: Catalog, name: str, at: Head, *, run_id: str, **contents: Any) -> Snapshot:
    """Keep the state at a record; ``contents`` are the other fields of ``Snapshot``. It is taken now unless they say
    otherwise.

    Raises ``PastStateError`` if a collection has run since that record: then take the snapshot of a newer state.
    """

    def draft(state: State, start: dict[str, Any]) -> Snapshot:
        if name in state.snapshots:
            raise ConfigurationError(
                f"Snapshot {name!r} exists already, of record {state.snapshots[name].at.number}. Nothing was written. "
                "Choose another name."
            )
        if at.number < state.collected or not catalog.knows(at):
            raise PastStateError(
                f"The state of record {at.number} may have been collected since, by record {state.collected}. Nothing "
                "was written. Take the snapshot of the newest state."
            )
        return Snapshot(**start, **{"taken_at": start["time"], **contents}, name=name, at=at)

    entry = catalog.append(draft, run_id=run_id)
    assert entry is not None
    assert isinstance(entry.record, Snapshot)
    return entry.record


def remove_snapshot(catalog: Catalog, name: str, *, run_id: str) -> bool:
    """Keep a past state no longer. False if there is no such snapshot."""

    def draft(state: State, start: dict[str, Any]) -> Unsnapshot | None:
        return Unsnapshot(**start, name=name) if name in state.snapshots else None

    return catalog.append(draft, run_id=run_id) is not None


def accept_restored(catalog: Catalog, remembered: Iterable[Head], *, run_id: str) -> tuple[Head, ...]:
    """Give up the records that somebody has seen and a restored log lacks. Returns them.

    Stop all runs for good first: one that still remembers the lost records would leave a gap.
    """
    lost = tuple(catalog.lost_heads(remembered))

    def draft(state: State, start: dict[str, Any]) -> Accept | None:  # noqa: ARG001
        return Accept(**start, lost=lost) if lost else None

    catalog.append(draft, run_id=run_id, unchecked=True)
    return lost


def take_out(catalog: Catalog, versions: Iterable[tuple[Place, int]], *, run_id: str) -> list[Place]:
    """Take out versions, each with its record, that cannot be read, so that the next run fetches them again.

    Left alone, and not returned, are those that are no longer the newest ones.
    """
    versions = list(versions)

    def draft(state: State, start: dict[str, Any]) -> Repair | None:
        places = tuple(place for place, at in versions if at in _retained(state, place)[-1:])
        return Repair(**start, places=places) if places else None

    entry = catalog.append(draft, run_id=run_id)
    return list(entry.record.places) if entry and isinstance(entry.record, Repair) else []


def drop(catalog: Catalog, versions: Iterable[tuple[Place, int]], *, run_id: str) -> None:
    """Drop versions that cannot be read. Left alone are the newest ones (see ``take_out``), and those that a snapshot
    keeps: most of their files may be whole."""
    versions = list(dict.fromkeys(versions))

    def draft(state: State, start: dict[str, Any]) -> Collect | None:
        dropped = tuple(
            (place, at)
            for place, at in versions
            if at in _retained(state, place)[:-1] and not state.snapshots_of(place, at)
        )
        return Collect(**start, floor=state.floor, dropped=dropped) if dropped else None

    catalog.append(draft, run_id=run_id)


def burn(catalog: Catalog, names: Mapping[Place, str], *, run_id: str) -> None:
    """Never use first names up to these again: they are about to be deleted, by a process that may be stopped."""

    def draft(state: State, start: dict[str, Any]) -> Collect | None:
        return Collect(**start, floor=state.floor, burnt=tuple(names.items())) if names else None

    catalog.append(draft, run_id=run_id)


def _retained(state: State, place: Place) -> list[int]:
    """The records that committed the versions of a window, newest last."""
    return [version.at for version in state.section(place.asset).versions(place.token, place.window)]
