"""Bring the windows of one lake to the state of another: files are copied in batches, and each window is committed when
all of its files are there."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec

from dagster_beiwe.errors import CommitConflictError
from dagster_beiwe.lake.catalog.versions import Version
from dagster_beiwe.lake.layout import Subject
from dagster_beiwe.lake.manifest import FileRecord, Manifest
from dagster_beiwe.lake.staging import StagedFile
from dagster_beiwe.lake.study import StudyLake
from dagster_beiwe.lake.writer import Plan, Submitted
from dagster_beiwe.maintenance.file_copies import STORED, Batch, Copied, FileCopier, as_stored
from dagster_beiwe.meanwhile import read_ahead
from dagster_beiwe.progress import Progress


@dataclass(kw_only=True)
class _Window:
    """A window's ``manifest`` in the old lake, and what is ``there`` in the new one.

    ``records`` are those of the new lake, by key; those of files that are ``lacking`` come as the files are ``staged``.
    """

    plan: Plan
    manifest: Manifest
    version: Version
    there: Manifest | None
    lacking: Sequence[FileRecord]
    records: dict[str, FileRecord]
    staged: list[StagedFile] = field(default_factory=list)

    @property
    def size_bytes(self) -> int:
        """Plain bytes of the copied files."""
        return sum(file.size_bytes for file in self.staged)


class _Step(NamedTuple):
    """A batch of files to copy, if there is one, and the windows that are complete with it."""

    participant: str
    batch: Batch | None
    owners: Mapping[int, _Window]
    """The window of each record, by the record's ``id``."""
    complete: Sequence[_Window]


@dataclass
class WindowCopier:
    """Brings one lake to the states of another, window by window. It counts what it has copied, in plain bytes."""

    files: FileCopier
    progress: Progress
    windows_copied: int = 0
    files_copied: int = 0
    bytes_copied: int = 0
    _copied: dict[tuple[str, str], Version] = field(default_factory=dict)
    """What has been compared: most windows are the same in all states."""
    _waiting: deque[tuple[str, str, Version, Submitted | None]] = field(default_factory=deque)
    """Participant, window, version and commit of what is committed, or waits for others to share a record."""

    def copy(self, source: StudyLake) -> None:
        """Bring over the windows of the state that ``source`` is opened at.

        Raises ``CommitConflictError`` if the new lake refuses one, and as reading and writing files do.
        """
        size_bytes = 0
        with closing(read_ahead(self._steps(source), self._carry_out, most=self.files.processes.at_once)) as steps:
            for step, copies in steps:
                for record, copied, file in copies:
                    window = step.owners[id(record)]
                    window.records[record.key] = copied
                    window.staged.append(file)
                    size_bytes += file.size_bytes
                self.progress.within(size_bytes)
                for window in step.complete:
                    commit = self._commit(window)
                    self._waiting.append((step.participant, window.manifest.window, window.version, commit))
                    self.progress.advance(1, window.size_bytes)
                    size_bytes -= window.size_bytes
                self._take_outcomes()
        self.files.writer.flush()
        self._take_outcomes()

    def _steps(self, source: StudyLake) -> Iterator[_Step]:
        """What is to be copied, one participant after the other; several small windows together, which is faster."""
        catalog = self.files.target.catalog()
        assert catalog is not None, "the copy has begun the log"
        for participant in source.participants():
            secret = source.counts_secret(participant)
            assert secret is not None, "a participant with windows has one"
            catalog.identities.inherit(Subject(participant), secret)
            index = source.index(participant)
            changed = {key: each for key, each in index.items() if self._copied.get((participant, key)) != each}
            plan = self.files.writer.plan(participant, changed)
            group: list[_Window] = []
            filled = 0.0
            for key, version in changed.items():
                group.append(self._compared(plan, source.manifest_of(participant, key, version), version))
                filled += self.files.share_of_batch(group[-1].lacking)
                if filled >= 1:
                    yield from self._copied_together(participant, group)
                    group, filled = [], 0.0
            yield from self._copied_together(participant, group)

    def _copied_together(self, participant: str, group: Sequence[_Window]) -> Iterator[_Step]:
        owners = {id(record): window for window in group for record in window.lacking}
        batches = [*self.files.batches(participant, [record for window in group for record in window.lacking])]
        for batch in batches[:-1]:
            yield _Step(participant, batch, owners, ())
        yield _Step(participant, batches[-1] if batches else None, owners, group)

    def _compared(self, plan: Plan, manifest: Manifest, version: Version) -> _Window:
        there = plan.manifests[manifest.window]
        kept = {record.key: record for record in there.files} if there else {}
        return _Window(
            plan=plan,
            manifest=manifest,
            version=version,
            there=there,
            lacking=[record for record in manifest.files if not self.files.is_copy(kept.get(record.key), record)],
            records={
                record.key: as_stored(record, kept[record.key]) for record in manifest.files if record.key in kept
            },
        )

    def _carry_out(self, step: _Step) -> Sequence[Copied]:
        return self.files.copy(step.participant, step.batch) if step.batch else ()

    def _commit(self, window: _Window) -> Submitted | None:
        """Commit one window as the old lake has it; None if the new lake has it already."""
        there, manifest = window.there, window.manifest
        if there and not window.lacking and _facts(there) == _facts(manifest):
            return None
        files = tuple(window.records[record.key] for record in manifest.files)
        self.windows_copied += 1
        self.files_copied += len(window.lacking)
        self.bytes_copied += window.size_bytes
        copy = msgspec.structs.replace(manifest, files=files)
        return self.files.writer.adopt(window.plan, copy, window.staged, compared=window.version.compared)

    def _take_outcomes(self) -> None:
        """Note what is committed. Raises ``CommitConflictError`` if the new lake has refused it."""
        while self._waiting:
            participant, window, version, commit = self._waiting[0]
            if commit is not None:
                if commit.outcome is None:
                    return
                if (reason := commit.outcome.refused) is not None:
                    raise in_use(f"window {window} of participant {participant} could not be committed: {reason}")
            self._copied[participant, window] = version
            self._waiting.popleft()


def in_use(what: str) -> CommitConflictError:
    """The error for a new lake that holds more than copies."""
    return CommitConflictError(
        f"The new lake is in use already: {what}. It was not changed. Copy into an empty place, or use the new lake."
    )


def _facts(manifest: Manifest) -> Manifest:
    """A manifest without what says how its files are stored."""
    blank: dict[str, Any] = dict.fromkeys(STORED, "")
    files = tuple(msgspec.structs.replace(record, **blank) for record in manifest.files)
    return msgspec.structs.replace(manifest, files=files)
