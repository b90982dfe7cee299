"""Snapshots: past states of a study that stay readable, with numbers by which a paper can name them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from dagster_beiwe.errors import ConfigurationError, PastStateError
from dagster_beiwe.lake.catalog.catalog import Catalog
from dagster_beiwe.lake.catalog.past import add_snapshot, remove_snapshot
from dagster_beiwe.lake.catalog.records import Snapshot
from dagster_beiwe.lake.study import StudyLake
from dagster_beiwe.retries import SNAPSHOT_ATTEMPTS
from dagster_beiwe.text import counted

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What readers see of a study in one state. ``content`` is the SHA-256 of what ``sha256sum`` prints of them."""

    participants: int
    files: int
    size_bytes: int
    content: str


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A snapshot, and the records that have withdrawn participants of it since, one for each."""

    snapshot: Snapshot
    withdrawn: tuple[int, ...]


def contents_of(lake: StudyLake) -> Contents:
    """The plain content of a study in the state that the lake is opened at.

    The digest is that of the lines ``<SHA-256>  <participant>/<name>`` of all files that the server still had, in the
    order of their bytes: an exported tree gives the same one. Raises ``PastStateError`` for what was collected.
    """
    lake = lake.at()
    found, files, size_bytes = hashlib.sha256(), 0, 0
    participants = sorted(lake.participants(), key=lambda each: f"{each}/")
    for participant in participants:
        records = [each for manifest in lake.manifests(participant) for each in manifest.files if each.present]
        for record in sorted(records, key=lambda each: each.member):
            found.update(f"{record.sha256}  {participant}/{record.member}\n".encode())
            files, size_bytes = files + 1, size_bytes + record.size_bytes
    return Contents(participants=len(participants), files=files, size_bytes=size_bytes, content=found.hexdigest())


def create_snapshot(lake: StudyLake, name: str, *, run_id: str) -> Snapshot:
    """Keep the newest state. Raises ``ConfigurationError`` for a name that is taken or invalid."""
    if not _NAME.fullmatch(name):
        raise ConfigurationError(
            f"{name[:80]!r} cannot be the name of a snapshot. Nothing was written. Use a letter, followed by at most "
            "63 letters, digits, dots, dashes, or underscores."
        )
    catalog = _log_of(lake)
    for remaining in reversed(range(SNAPSHOT_ATTEMPTS)):
        pinned = lake.at()
        contents = contents_of(pinned)
        try:
            with lake.storage.guard(catalog.layout.inside, exclusive=False):
                return add_snapshot(catalog, name, pinned.state.head, run_id=run_id, **asdict(contents))
        except PastStateError:  # a collection came between: take a newer state
            if not remaining:
                raise
    raise AssertionError("the last try returns or raises")


def delete_snapshot(lake: StudyLake, name: str, *, run_id: str) -> None:
    """Keep a past state no longer. Raises ``ConfigurationError`` if there is no such snapshot."""
    catalog = _log_of(lake)
    with lake.storage.guard(catalog.layout.inside, exclusive=False):
        if not remove_snapshot(catalog, name, run_id=run_id):
            raise _no_snapshot(lake, name)


def check_snapshot(lake: StudyLake, name: str) -> None:
    """Raise ``ConfigurationError`` if there is no such snapshot."""
    if name not in lake.state.snapshots:
        raise _no_snapshot(lake, name)


def snapshots(lake: StudyLake) -> Iterator[Kept]:
    """All snapshots, oldest first."""
    catalog = lake.catalog()
    if catalog is None:
        return
    for snapshot in sorted(catalog.refresh().snapshots.values(), key=lambda each: each.number):
        yield Kept(snapshot=snapshot, withdrawn=tuple(sorted(catalog.at(snapshot.at.number).withdrawn.values())))


def citation(lake: StudyLake, snapshot: Snapshot) -> str:
    """A text that names a snapshot in a paper, so that anybody who holds the data can prove which it was."""
    return (
        f"Snapshot {snapshot.name!r} of Beiwe study {lake.study_id}, taken on {snapshot.taken_at:%Y-%m-%d} (UTC): "
        f"state {snapshot.at.number} of the study's log, whose record has the SHA-256 {snapshot.at.digest}; "
        f"{counted(snapshot.participants, 'participant')}, {counted(snapshot.files, 'file')}, {snapshot.size_bytes:,} "
        f"bytes. The SHA-256 of their content is {snapshot.content}: the hash of the output of `sha256sum` for all "
        "files, sorted in byte order by their path in the exported folder."
    )


def _no_snapshot(lake: StudyLake, name: str) -> ConfigurationError:
    return ConfigurationError(
        f"The lake of study {lake.study_id} has no snapshot {name[:80]!r}. Nothing was changed. `dagster-beiwe "
        "snapshot list` lists them."
    )


def _log_of(lake: StudyLake) -> Catalog:
    catalog = lake.catalog()
    if catalog is None:
        raise ConfigurationError(
            f"The lake at {lake.storage.describe()} holds nothing of study {lake.study_id}, so there is no state to "
            "keep. Nothing was written. Run a partition of raw_data first."
        )
    return catalog
