"""Decide what a commit changes: the old manifest and what arrived give the new manifest. No side effects."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from msgspec.structs import replace

from dagster_beiwe.lake.manifest import FetchFailure, FileRecord, HashName, Manifest, PreviousVersion, total_bytes
from dagster_beiwe.lake.staging import FileForm, StagedFile
from dagster_beiwe.member_names import MemberName
from dagster_beiwe.streams import OUT_OF_RANGE
from dagster_beiwe.windows import Window


@dataclass(frozen=True, kw_only=True)
class FetchedFile:
    """A file that was downloaded, checked and staged. ``key`` is its identity; ``form`` how it was stored.

    ``known_by`` names the hash by which the server knows it, None if the server did not tell. ``compared`` tells
    whether the server gave any hash to compare it with. ``checked`` is False for what came in an archive that broke off
    before it listed hashes.
    """

    key: str
    member: MemberName
    staged: StagedFile
    form: FileForm
    known_by: HashName | None = None
    compared: bool = False
    checked: bool = True


@dataclass(frozen=True, kw_only=True)
class CommitRequest:
    """Who commits what, and when: the facts of a commit that do not depend on its files."""

    study_id: str
    participant: str
    window: Window
    streams: tuple[str, ...]
    run_id: str
    now: datetime
    failures: tuple[FetchFailure, ...] = ()
    deleted_upstream: Collection[str] = ()
    """Keys of files that the server no longer has."""
    remove_deleted_upstream: bool = False
    """Whether those are removed from the lake instead of kept and marked."""
    damaged: Collection[str] = ()
    """Keys of files that are taken out because what is stored of them can't be used."""
    not_sent: Collection[str] = ()
    """Keys of other files that were not found on the server this time, though nobody knows whether they were
    deleted."""
    counted_in: Mapping[str, str] = field(default_factory=dict)
    """The row of the server's daily counts that is known to have counted a file, by key; see ``FileRecord``."""
    counts_fingerprint: str = ""
    """Digest of the server's counts; see ``Manifest``."""
    compared_at: datetime | None = None
    """When the contents of all files of the window were compared with the server's; None if some were not."""


@dataclass(frozen=True, kw_only=True)
class Changes:
    """What a commit changed, in files and plain bytes. ``unchanged`` counts the files that stayed as they were."""

    added: int = 0
    changed: int = 0
    deleted_upstream: int = 0
    unchanged: int = 0
    added_bytes: int = 0
    changed_bytes: int = 0
    deleted_upstream_bytes: int = 0
    unchanged_bytes: int = 0

    @property
    def changes_anything(self) -> bool:
        return bool(self.added or self.changed or self.deleted_upstream)


@dataclass(frozen=True, kw_only=True)
class Merge:
    """The new manifest, and the staged files that it does not need."""

    manifest: Manifest
    discards: tuple[StagedFile, ...]
    changes: Changes


def merge(old: Manifest | None, fetched: Iterable[FetchedFile], request: CommitRequest) -> Merge:
    """The commit that brings ``fetched`` into a window that holds ``old``."""
    records = old.by_key() if old else {}
    removed = {record.key: record for record in old.removed} if old else {}
    before = dict(records)
    arrived = set()
    members = {record.member for record in (*records.values(), *removed.values())}
    discards = []
    for file in fetched:
        arrived.add(file.key)
        known, removed_before = records.get(file.key), removed.pop(file.key, None)
        if known and _same(known, file):
            records[file.key] = replace(
                known,
                md5=known.md5 or file.staged.md5,
                known_by=file.known_by or known.known_by,
                checked=known.checked or file.checked,
                deleted_upstream_at=None,
            )
            discards.append(file.staged)
            continue
        earlier = known or removed_before
        name = earlier.member if earlier else _free_name(file.member, request.window, members)
        members.add(name)
        records[file.key] = _record(file, earlier, request, name=name)
    for key in records.keys() & set(request.deleted_upstream):
        records[key] = _marked(records[key], request)
    if old:
        records = {key: _dated(record, arrived, old, request) for key, record in records.items()}
    records = {key: _counted(record, request) for key, record in records.items()}
    gone = {*request.damaged, *(request.deleted_upstream if request.remove_deleted_upstream else ())}
    removed |= {key: records.pop(key) for key in records.keys() & gone}
    return Merge(
        manifest=_manifest(records.values(), removed.values(), request),
        discards=tuple(discards),
        changes=_changes(before, records),
    )


def _same(known: FileRecord, file: FetchedFile) -> bool:
    staged = file.staged
    return (known.sha256, known.encryption, known.compression) == (staged.sha256, staged.encryption, staged.compression)


def _marked(record: FileRecord, request: CommitRequest) -> FileRecord:
    """The record of a file that the server no longer has, marked with the first day of that."""
    if not record.present:
        return record
    return replace(
        record,
        deleted_upstream_at=_text(request.now),
        times_deleted_upstream=record.times_deleted_upstream + 1,
        counted_in="",
        counted_at="",
    )


def _dated(record: FileRecord, arrived: Collection[str], old: Manifest, request: CommitRequest) -> FileRecord:
    """The record with the time when the server last had the file: that of the commit, if it looked and found it."""
    found = record.key in arrived or (
        record.present
        and record.stream in request.streams
        and record.key not in request.not_sent
        and record.key not in request.damaged
        and not any(
            record.stream in failure.streams and failure.start <= record.time < failure.end
            for failure in request.failures
        )
    )
    last_seen = None if found else old.last_seen(record)
    return record if record.last_seen == last_seen else replace(record, last_seen=last_seen)


def _counted(record: FileRecord, request: CommitRequest) -> FileRecord:
    """The record with the row that is known to have counted it: what was known stays known until the file changes."""
    row = request.counted_in.get(record.key, "") if record.present else ""
    if not row or row == record.counted_in:
        return record
    return replace(record, counted_in=row, counted_at=_text(request.now))


def _record(file: FetchedFile, known: FileRecord | None, request: CommitRequest, *, name: str) -> FileRecord:
    """The record of a file that is stored now. ``known`` is what is known of it from before."""
    staged, member = file.staged, file.member
    now, row = _text(request.now), request.counted_in.get(file.key, "")
    restated = known is not None and known.sha256 != staged.sha256
    previous = known.previous if known else None
    if known and restated:
        previous = PreviousVersion(size_bytes=known.size_bytes, sha256=known.sha256, fetched_at=known.fetched_at)
    return FileRecord(
        key=file.key,
        member=name,
        path=staged.path.removeprefix(f"{request.study_id}/{request.participant}/"),
        stream=member.stream,
        survey_id=member.survey_id,
        time=_text(member.time),
        size_bytes=staged.size_bytes,
        md5=staged.md5,
        sha1=staged.sha1,
        sha256=staged.sha256,
        stored_size_bytes=staged.stored_size_bytes,
        stored_sha256=staged.stored_sha256,
        encryption=staged.encryption,
        compression=staged.compression,
        first_seen=known.first_seen if known else now,
        fetched_at=now,
        run_id=request.run_id,
        known_by=file.known_by or (known.known_by if known else "sha1"),
        checked=file.checked,
        counted_in=row,
        counted_at=now if row else "",
        restatements=(known.restatements if known else 0) + restated,
        previous=previous,
        times_deleted_upstream=known.times_deleted_upstream if known else 0,
    )


def _free_name(member: MemberName, window: Window, taken: Collection[str]) -> str:
    """A name for a file in Beiwe's tree: numbered if another file of the same second has it."""
    folder = f"{OUT_OF_RANGE}/{member.folder}" if window.name else member.folder
    number = 1
    while True:
        name = f"{folder}/{plain_name(member, number)}"
        if name not in taken:
            return name
        number += 1


def plain_name(member: MemberName, number: int = 1) -> str:
    """The name of a file in Beiwe's tree, without folder; ``number`` tells files of one second apart.

    The number in the server's own name means nothing: it moves from file to file between identical requests.
    """
    stem, _, extension = member.name.partition(".")
    return f"{stem[: len('YYYY-MM-DD hh_mm_ss+00_00')]}{f'_{number}' if number > 1 else ''}.{extension}"


def _manifest(records: Iterable[FileRecord], removed: Iterable[FileRecord], request: CommitRequest) -> Manifest:
    return Manifest(
        study_id=request.study_id,
        participant=request.participant,
        window=request.window.key,
        start=_text(request.window.start),
        end=_text(request.window.end),
        committed_at=_text(request.now),
        run_id=request.run_id,
        streams=request.streams,
        files=_sorted(records),
        removed=_sorted(removed),
        failures=request.failures,
        counts_fingerprint=request.counts_fingerprint,
    )


def _sorted(records: Iterable[FileRecord]) -> tuple[FileRecord, ...]:
    return tuple(sorted(records, key=lambda record: (record.time, record.key)))


def _changes(before: dict[str, FileRecord], after: dict[str, FileRecord]) -> Changes:
    added = [after[key] for key in after.keys() - before.keys()]
    both = [(before[key], after[key]) for key in after.keys() & before.keys()]
    changed = [new for old, new in both if old.sha256 != new.sha256]
    unchanged = [new for old, new in both if old.sha256 == new.sha256 and new.present]
    deleted_upstream = [new for old, new in both if old.present and not new.present]
    deleted_upstream += [before[key] for key in before.keys() - after.keys()]
    return Changes(
        added=len(added),
        changed=len(changed),
        deleted_upstream=len(deleted_upstream),
        unchanged=len(unchanged),
        added_bytes=total_bytes(added),
        changed_bytes=total_bytes(changed),
        deleted_upstream_bytes=total_bytes(deleted_upstream),
        unchanged_bytes=total_bytes(unchanged),
    )


def _text(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")
