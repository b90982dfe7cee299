"""The record of a commit that replaces files, written before it starts, so that it can be finished by anybody.

Without it, a crash between the first and the last replaced file would leave a mixture of two versions.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from dagster_beiwe.lake.manifest import Authenticator, Manifest, sealed_fields
from dagster_beiwe.lake.shapes import ShapeError, read_as
from dagster_beiwe.lake.storage import Storage
from dagster_beiwe.names import is_path_below

_PURPOSE = "pending commit"


@dataclass(frozen=True, kw_only=True)
class Pending:
    """A commit on its way: the new manifest, the moves (from, to), and the files that go. Below the participant."""

    manifest: Manifest
    moves: tuple[tuple[str, str], ...]
    removals: tuple[str, ...]


def pending_path(folder: str, window: str) -> str:
    """Where the record of a window's commit lies while it runs."""
    return f"{folder}/.beiwe/{window}.pending"


def write_pending(storage: Storage, authenticator: Authenticator, folder: str, pending: Pending) -> None:
    document = {
        "manifest": pending.manifest.to_document(),
        "moves": [list(move) for move in pending.moves],
        "removals": list(pending.removals),
    }
    storage.write(pending_path(folder, pending.manifest.window), authenticator.seal(_PURPOSE, document))


def read_pending(storage: Storage, authenticator: Authenticator, folder: str, window: str) -> Pending | None:
    """The interrupted (or just running) commit of a window, or None. Raises ``IntegrityError`` if it was changed."""
    path = pending_path(folder, window)
    try:
        data = storage.read(path)
    except FileNotFoundError:
        return None
    document = authenticator.unseal(_PURPOSE, data, name=path)
    with sealed_fields(path):
        pending = Pending(
            manifest=Manifest.from_document(document["manifest"], path),
            moves=read_as(tuple[tuple[str, str], ...], document["moves"]),
            removals=read_as(tuple[str, ...], document["removals"]),
        )
        _check(pending, folder, window)
    return pending


def _check(pending: Pending, folder: str, window: str) -> None:
    """Raise ``ShapeError`` for a commit of something else than the participant's window."""
    manifest, paths = pending.manifest, {*itertools.chain(*pending.moves), *pending.removals}
    if (f"{manifest.study_id}/{manifest.participant}", manifest.window) != (folder, window):
        raise ShapeError("the commit of another window")
    if not all(map(is_path_below, paths)):
        raise ShapeError("a path outside the participant's folder")


def finish(storage: Storage, authenticator: Authenticator, folder: str, pending: Pending) -> Manifest:
    """Do what is left of a commit; doing it again changes nothing. The caller holds the participant's lock."""
    storage.move_all((f"{folder}/{part}", f"{folder}/{path}") for part, path in pending.moves)
    for below in sorted({path.rpartition("/")[0] for _, path in pending.moves}):
        storage.sync_folder(f"{folder}/{below}")
    sealed, data = authenticator.seal_manifest(pending.manifest)
    storage.write(f"{folder}/.beiwe/{sealed.window}.json", data)
    for path in pending.removals:
        storage.delete(f"{folder}/{path}")
    storage.delete(pending_path(folder, sealed.window))
    return sealed
