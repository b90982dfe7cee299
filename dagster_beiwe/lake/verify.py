"""Prove that what is stored is what was committed: manifests, files, and that none is missing or too many.

Hashes of the stored bytes are compared, so that nothing has to be unlocked; the manifests that hold those hashes are
authenticated with the passphrase.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Literal

from dagster_beiwe.errors import IntegrityError, LakeUnavailableError
from dagster_beiwe.lake.index import IndexEntry, read_index, read_roll
from dagster_beiwe.lake.manifest import FileRecord, Hole, Manifest
from dagster_beiwe.lake.merge import Occasion
from dagster_beiwe.lake.storage import PART_SUFFIX
from dagster_beiwe.lake.study import StudyLake
from dagster_beiwe.names import is_participant_id

FindingKind = Literal[
    "manifest changed", "manifest missing", "manifest rolled back", "index changed", "index missing",
    "participant missing", "file missing", "file changed", "file unlisted", "file unreadable", "table changed",
]  # fmt: skip

ROLL = "*"
"""In place of a participant, where the roll of all of them is meant."""

_PIECE_BYTES = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something that is not as it was committed. ``window`` and ``path`` are None where they do not apply."""

    kind: FindingKind
    participant: str
    window: str | None = None
    path: str | None = None

    def __str__(self) -> str:
        place = "/".join(part for part in (self.participant, self.window, self.path) if part)
        return f"{self.kind}: {place}"


@dataclass
class Verification:
    """What was looked at, and what was found. ``intact`` if there are no findings."""

    participants: int = 0
    windows: int = 0
    files: int = 0
    files_checked: int = 0
    bytes_checked: int = 0
    findings: list[Finding] = field(default_factory=list)

    @property
    def intact(self) -> bool:
        return not self.findings

    @property
    def partitions(self) -> list[str]:
        """Partition keys to repair and run again, sorted."""
        return sorted({f"{each.participant}|{each.window}" for each in self.findings if each.window})


def verify_study(
    lake: StudyLake,
    *,
    share: float = 1.0,
    participants: Collection[str] = (),
    on_window: Callable[[Verification], None] | None = None,
) -> Verification:
    """Check one study; ``participants`` narrows it down.

    ``share`` is the part of the files whose bytes are read, between 0 and 1, chosen anew each day so that a small
    share covers everything with time; the others are checked by their size. Raises ``WrongPassphraseError`` first.
    """
    day = datetime.now(timezone.utc).strftime("%Y-%m-%d")
    result = Verification()
    lake.authenticate(create=False)
    roll = _roll(lake, result)
    for participant in _participants(lake, participants, roll, result):
        result.participants += 1
        listed: set[str] = set()
        for manifest in _manifests(lake, participant, result, enrolled=participant in roll):
            result.windows += 1
            listed |= {record.path for record in manifest.files}
            for record in manifest.files:
                result.files += 1
                _check_file(lake, manifest, record, result, read=_chosen(record, day, share))
            if on_window:
                on_window(result)
        _find_unlisted(lake, participant, listed, result)
    return result


def repair_study(lake: StudyLake, findings: Iterable[Finding], *, run_id: str) -> list[str]:
    """Take out what is damaged, so that the next run of the partitions fetches it again.

    Damaged and unlisted files are removed, windows whose manifest can't be trusted are forgotten, indexes are made
    anew. Returns the keys of the partitions to run. What the server no longer has can't be fetched again: keep a copy
    of the lake if that matters.
    """
    findings = list(findings)
    with lake.writer(run_id=run_id) as writer:
        for finding in findings:
            if finding.kind.startswith("index") and finding.participant != ROLL:
                writer.rebuild_index(finding.participant)
        for finding in findings:
            if finding.kind.startswith("manifest") and finding.window:
                writer.forget(finding.participant, finding.window)
        for (participant, window), paths in sorted(_damaged_files(findings).items()):
            manifest = lake.manifest(participant, window)
            if manifest is not None:
                gone = [record for record in manifest.files if record.path in paths]
                writer.commit(_opened(manifest, gone, run_id), [], base_generation=manifest.generation)
        for finding in findings:
            if finding.kind == "file unlisted" and finding.path:
                lake.storage.delete(lake.folder(finding.participant, finding.path))
    return sorted({f"{each.participant}|{each.window}" for each in findings if each.window})


def _damaged_files(findings: Iterable[Finding]) -> dict[tuple[str, str], set[str]]:
    """Paths of files that can't be used, by participant and window."""
    damaged: dict[tuple[str, str], set[str]] = {}
    for finding in findings:
        if finding.kind in ("file changed", "file missing") and finding.window and finding.path:
            damaged.setdefault((finding.participant, finding.window), set()).add(finding.path)
    return damaged


def _opened(manifest: Manifest, gone: Collection[FileRecord], run_id: str) -> Occasion:
    """The commit that takes files out of a window and leaves it open, with their hours as holes."""
    holes = (Hole(start=r.time, end=r.time, streams=(r.stream,), error="IntegrityError") for r in gone)
    return Occasion(
        study_id=manifest.study_id,
        participant=manifest.participant,
        window=manifest.span,
        streams=manifest.streams,
        run_id=run_id,
        now=datetime.now(timezone.utc),
        holes=(*manifest.holes, *holes),
        damaged=frozenset(record.key for record in gone),
        unseen=frozenset(record.key for record in manifest.files),
    )


def _roll(lake: StudyLake, result: Verification) -> frozenset[str]:
    try:
        return read_roll(lake.storage, lake.authenticator, lake.study_id)
    except IntegrityError:
        result.findings.append(Finding(kind="index changed", participant=ROLL))
        return frozenset()


def _participants(lake: StudyLake, wanted: Collection[str], roll: frozenset[str], result: Verification) -> list[str]:
    """Everybody whom the folders or the indexes know; who is only on the roll is missing."""
    inside = lake.storage.list(f"{lake.study_id}/.beiwe")
    found = {name for name in lake.storage.list(lake.study_id) if is_participant_id(name)}
    found |= {name.removesuffix(".index") for name in inside if name.endswith(".index")}
    for participant in sorted(roll - found):
        result.findings.append(Finding(kind="participant missing", participant=participant))
    return [name for name in sorted(found) if not wanted or name in wanted]


def _manifests(lake: StudyLake, participant: str, result: Verification, *, enrolled: bool) -> Iterator[Manifest]:
    """The manifests that can be trusted; what can't is found."""
    try:
        index = read_index(lake.storage, lake.authenticator, lake.study_id, participant)
    except IntegrityError:
        index = {}
        result.findings.append(Finding(kind="index changed", participant=participant))
    windows = lake.windows(participant)
    if windows and not index and enrolled:  # the roll is written after the index
        result.findings.append(Finding(kind="index missing", participant=participant))
    for window in sorted({*windows, *index}):
        try:
            manifest = lake.manifest(participant, window)
        except IntegrityError:
            result.findings.append(Finding(kind="manifest changed", participant=participant, window=window))
            continue
        if kind := _disagreement(manifest, index.get(window), known=bool(index)):
            result.findings.append(Finding(kind=kind, participant=participant, window=window))
        if manifest:
            yield manifest


def _disagreement(manifest: Manifest | None, entry: IndexEntry | None, *, known: bool) -> FindingKind | None:
    if manifest is None:
        return "manifest missing"
    if entry is None:
        # A first commit that was cut before its index was written is in order; anything later is not.
        return "manifest rolled back" if known and manifest.generation > 1 else None
    return None if entry.agrees_with(manifest) else "manifest rolled back"


def _check_file(lake: StudyLake, manifest: Manifest, record: FileRecord, result: Verification, *, read: bool) -> None:
    kind: FindingKind | None = None
    try:
        with lake.storage.open(lake.folder(manifest.participant, record.path)) as file:
            size_bytes, digest = 0, hashlib.sha256()
            if read:
                while piece := file.read(_PIECE_BYTES):
                    size_bytes += len(piece)
                    digest.update(piece)
                result.files_checked += 1
                result.bytes_checked += size_bytes
            else:
                size_bytes = file.seek(0, 2)
    except FileNotFoundError:
        kind = "file missing"
    except LakeUnavailableError:
        kind = "file unreadable"
    else:
        if size_bytes != record.stored_size_bytes or (read and digest.hexdigest() != record.stored_sha256):
            kind = "file changed"
    if kind:
        result.findings.append(
            Finding(kind=kind, participant=manifest.participant, window=manifest.window, path=record.path)
        )


def _find_unlisted(lake: StudyLake, participant: str, listed: set[str], result: Verification) -> None:
    """Files that no manifest lists: renamed, planted, or left by a run that died."""
    folder = lake.folder(participant)
    for path in lake.storage.walk(folder):
        below = path.removeprefix(f"{folder}/")
        if not below.startswith(".beiwe/") and not below.endswith(PART_SUFFIX) and below not in listed:
            result.findings.append(Finding(kind="file unlisted", participant=participant, path=below))


def _chosen(record: FileRecord, day: str, share: float) -> bool:
    if share >= 1:
        return True
    number = int.from_bytes(hashlib.sha256(f"{day}|{record.key}".encode()).digest()[:4], "big")
    return number < share * 2**32
