# ruff: noqa: F821
"""Prove that what is stored is what was committed: manifests, files, and that none is missing or too many.

Hashes of the stored bytes are compared, so that nothing has to be unlocked; the manifests that hold those hashes are
authenticated with the passphrase. Runs may commit meanwhile: what is found at first is looked at again under the
participant's lock, and counts only if it is still so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Literal

from dagster_beiwe.errors import IntegrityError, LakeUnavailableError
from dagster_beiwe.lake.accounts import unaccounted_in_study, unaccounted_of
from dagster_beiwe.lake.keys import key_path
from dagster_beiwe.lake.manifest import FileRecord, Manifest
from dagster_beiwe.lake.study import StudyLake
from dagster_beiwe.names import is_participant_id

FindingKind = Literal[
    "manifest changed", "manifest missing", "manifest rolled back", "index changed", "index missing",
    "index rolled back", "roll changed", "roll missing", "roll rolled back", "participant missing", "file missing",
    "file changed", "file unlisted", "file unreadable", "table changed", "table without owner",
]  # fmt: skip

_CHUNK_BYTES = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something that is not as it was committed. ``window`` and ``path`` are None where they do not apply.

    ``participant`` is empty for what belongs to nobody: then ``path`` is below the lake's root.
    """

    kind: FindingKind
    participant: str
    window: str | None = None
    path: str | None = None

    def __str__(self) -> str:
        place = "/".join(part for part in (self.participant, self.window, self.path) if part)
        return f"{self.kind}: {place}"


@dataclass
class Verification:
    """What was looked at, and what was found. ``intact`` if there are no findings.

    ``roll`` is the edition of the study's roll, which only grows: a lower one than before is a study that was put back
    as a whole, which nothing in the lake can show.
    """

    roll: int = 0
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
    if not participants:
        result.findings += unlisted_in_study(lake)
    if not lake.storage.exists(key_path(lake.study_id)):
        return result  # a study that was never begun, or whose first run has not come further
    roll, broken = _roll(lake)
    result.roll = roll.edition if roll else 0
    result.findings += [broken] if broken else []
    everybody, missing = _participants(lake, roll)
    if missing:
        everybody, missing = _participants(lake, _roll(lake)[0])  # somebody may have been purged meanwhile
    result.findings += [Finding(kind="participant missing", participant=each) for each in missing]
    for participant in everybody:
        if not participants or participant in participants:
            result.participants += 1
            look = Look(lake, participant, read=lambda record: _chosen(record, day, share), on_window=on_window)
            result.findings += _confirmed(lake, participant, look.into(result))
    return result


def unlisted_in_study(lake: StudyLake) -> list[Finding]:
    """Files beside the participants' folders that nothing accounts for."""
    return [Finding(kind="file unlisted", participant="", path=path) for path in unaccounted_in_study(lake)]


def findings_now(lake: StudyLake, participant: str, suspects: Collection[Finding]) -> list[Finding]:
    """What is found of a participant now, reading the files that were suspected. To be called under its lock."""
    paths = {finding.path for finding in suspects}
    return Look(lake, participant, read=lambda record: record.path in paths).into(Verification())


def _confirmed(lake: StudyLake, participant: str, suspects: Collection[Finding]) -> list[Finding]:
    """Of what was found while runs may have committed, what is still so while none can."""
    if not suspects:
        return []
    folder = lake.folder(participant, ".beiwe")
    with ExitStack() as stack:
        if lake.storage.list(folder):  # else there is nothing to commit to, and locking would make it
            with suppress(LakeUnavailableError):  # a lake that can only be read: a second look has to do
                stack.enter_context(lake.storage.lock(folder))
        return findings_now(lake, participant, suspects)


def _roll(lake: StudyLake) -> tuple[Roll | None, Finding | None]:
    """The roll, or what is wrong with it."""
    path = roll_path(lake.study_id)
    try:
        roll = read_roll(lake.storage, lake.authenticator, lake.study_id)
    except IntegrityError:
        return None, Finding(kind="roll changed", participant="", path=path)
    return roll, None if roll else Finding(kind="roll missing", participant="", path=path)


def _participants(lake: StudyLake, roll: Roll | None) -> tuple[list[str], list[str]]:
    """Everybody whom the folders or the indexes know, and those whom only the roll knows."""
    inside = lake.storage.list(f"{lake.study_id}/.beiwe")
    found = {name for name in lake.storage.list(lake.study_id) if is_participant_id(name)}
    found |= {name.removesuffix(".index") for name in inside if name.endswith(".index")}
    return sorted(found), sorted((roll.participants.keys() if roll else set()) - found)


class Look:
    """One look at all that is stored of a participant; ``read`` says of which files the bytes are read."""

    def __init__(
        self,
        lake: StudyLake,
        participant: str,
        *,
        read: Callable[[FileRecord], bool],
        on_window: Callable[[Verification], None] | None = None,
    ) -> None:
        self._lake, self._participant, self._read, self._on_window = lake, participant, read, on_window
        self._findings: list[Finding] = []

    def into(self, result: Verification) -> list[Finding]:
        """The findings; what was looked at is counted in ``result``."""
        listed: set[str] = set()
        for manifest in self._manifests():
            result.windows += 1
            listed |= {record.path for record in manifest.files}
            for record in manifest.files:
                result.files += 1
                self._check_file(manifest, record, result)
            if self._on_window:
                self._on_window(result)
        for path in unaccounted_of(self._lake, self._participant, listed):
            self._found("file unlisted", path=path)
        return self._findings

    def _found(self, kind: FindingKind, *, window: str | None = None, path: str | None = None) -> None:
        self._findings.append(Finding(kind=kind, participant=self._participant, window=window, path=path))

    def _manifests(self) -> Iterator[Manifest]:
        """The manifests that can be trusted; what can't is found."""
        lake, participant = self._lake, self._participant
        roll, _ = _roll(lake)  # before the index, which is written after it
        index, windows = Index(), lake.windows(participant)
        try:
            index = read_index(lake.storage, lake.authenticator, lake.study_id, participant)
        except IntegrityError:
            self._found("index changed")
        else:
            if kind := _doubt(index, roll, participant, windows=bool(windows)):
                self._found(kind)
        for window in sorted({*windows, *index.windows}):
            try:
                manifest = lake.manifest(participant, window)
            except IntegrityError:
                self._found("manifest changed", window=window)
                continue
            if kind := _disagreement(manifest, index.windows.get(window), known=bool(index.windows)):
                self._found(kind, window=window)
            if manifest:
                yield manifest

    def _check_file(self, manifest: Manifest, record: FileRecord, result: Verification) -> None:
        kind: FindingKind | None = None
        read = self._read(record)
        try:
            with self._lake.storage.open(self._lake.folder(self._participant, record.path)) as file:
                size_bytes, digest = 0, hashlib.sha256()
                if read:
                    while size_bytes <= record.stored_size_bytes and (chunk := file.read(_CHUNK_BYTES)):
                        size_bytes += len(chunk)
                        digest.update(chunk)
                    result.files_checked += 1
                    result.bytes_checked += size_bytes
                else:
                    size_bytes = file.seek(0, 2)
        except FileNotFoundError:
            kind = "file missing"
        except IntegrityError:  # replaced while it was read, or no file at all
            kind = "file changed"
        except LakeUnavailableError:
            kind = "file unreadable"
        else:
            if size_bytes != record.stored_size_bytes or (read and digest.hexdigest() != record.stored_sha256):
                kind = "file changed"
        if kind:
            self._found(kind, window=manifest.window, path=record.path)


def _doubt(index: Index, roll: Roll | None, participant: str, *, windows: bool) -> FindingKind | None:
    """What index and roll say about each other. The roll was read first."""
    if roll is None:
        return None
    mark = roll.participants.get(participant)
    if not index.edition:
        # A run is on the roll before its first commit: then a manifest may be there before the first index is.
        return "index missing" if mark or (windows and not roll.sessions) else None
    if mark and not mark.precedes(index):
        return "index rolled back"
    ahead = index.mark != (mark or IndexMark(0, ""))
    return "roll rolled back" if index.roll > roll.edition or (ahead and not roll.sessions) else None


def _disagreement(manifest: Manifest | None, entry: IndexEntry | None, *, known: bool) -> FindingKind | None:
    if manifest is None:
        return "manifest missing"
    if entry is None:
        # A first commit that was cut before its index was written is in order; anything later is not.
        return "manifest rolled back" if known and manifest.generation > 1 else None
    return None if entry.agrees_with(manifest) else "manifest rolled back"


def _chosen(record: FileRecord, day: str, share: float) -> bool:
    if share >= 1:
        return True
    number = int.from_bytes(hashlib.sha256(f"{day}|{record.key}".encode()).digest()[:4], "big")
    return number < share * 2**32
