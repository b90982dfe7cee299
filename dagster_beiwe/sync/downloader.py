"""Fetch one request: download, check, lock and stage its files while they arrive."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from dagster_beiwe.archive import REGISTRY, Member, read_archive
from dagster_beiwe.client import BeiweClient
from dagster_beiwe.errors import (
    ArchiveError,
    BeiweError,
    ConnectionFailedError,
    DamagedMemberError,
    HostileArchiveError,
    RequestTooLargeError,
    ServerFailedError,
)
from dagster_beiwe.lake import FetchedFile, FileRecord, LakeWriter, StudyLake
from dagster_beiwe.lake.manifest import HashName
from dagster_beiwe.lake.staging import StagedFile
from dagster_beiwe.member_names import MemberName, key_of_chunked_member, parse_member_name
from dagster_beiwe.streams import stream_named
from dagster_beiwe.sync.registry import RegistryEntry, hash_agrees, hash_name, pair, read_registry, registry_limit_bytes
from dagster_beiwe.sync.requests import DownloadRequest, registry_asking_for_sha1
from dagster_beiwe.sync.results import FetchPolicy
from dagster_beiwe.sync.staging_pool import Intake, Threads, bare

if TYPE_CHECKING:
    from typing_extensions import Self

_SHA1_KEPT_SINCE = datetime(2025, 4, 1, tzinfo=timezone.utc)
"""Servers keep SHA-1 since March 2025; what has not changed since then may lack it."""

DIVISIBLE = (ArchiveError, ConnectionFailedError, RequestTooLargeError, ServerFailedError)
"""Failures of a request that a smaller one may not have."""


@dataclass
class RequestResult:
    """What became of one request.

    ``fetched_files`` are staged and checked. ``damaged`` members came through wrong, or (``FrameTooLargeError``) have
    to be asked for uncompressed. ``unknown`` members are whole, and have to be asked for again to be compared by MD5.
    ``failure`` is set when the rest of the request did not come; then ``fetched_files`` holds hourly files only, whose
    identity does not depend on the registry. ``listed`` are the keys of all files that came, once the whole request
    has. ``entries`` are those of the members. ``unpacked`` are keys that were listed without a member: servers before
    2025-04-04 pack only one of several files with the same name."""

    fetched_files: list[FetchedFile] = field(default_factory=list)
    damaged: list[tuple[MemberName, DamagedMemberError]] = field(default_factory=list)
    unknown: list[MemberName] = field(default_factory=list)
    failure: BeiweError | None = None
    listed: frozenset[str] = frozenset()
    entries: list[tuple[MemberName, RegistryEntry]] = field(default_factory=list)
    unpacked: frozenset[str] = frozenset()
    downloaded_bytes: int = 0


class Downloader:
    """Fetches requests of one study into a writer's staging. Use it as a context manager, which ends its threads."""

    def __init__(
        self,
        client: BeiweClient,
        lake: StudyLake,
        writer: LakeWriter,
        policy: FetchPolicy,
        *,
        on_bytes: Callable[[int], None],
    ) -> None:
        self._client, self._lake, self._writer, self._policy = client, lake, writer, policy
        self._on_bytes = on_bytes
        self._threads = Threads(policy.workers)
        self._saw_md5 = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        self._threads.__exit__(kind, *exception)

    def keeps(self, record: FileRecord) -> bool:
        """Whether a held file need not come again: it was checked, and is stored as the study's files are stored now.

        If not, because its archive broke off before the registry, or its stream is encrypted or compressed otherwise
        since then, it counts as not held: it is fetched and stored anew.
        """
        form = self._lake.form(record.stream)
        return record.checked and (record.encryption, record.compression) == (form.encryption, form.compression)

    @property
    def compares_hashes(self) -> bool:
        """Whether the server leaves out what a request lists only if its hash is the same."""
        return self._client.supports("file_hashes", otherwise=False)

    def fetch(
        self,
        request: DownloadRequest,
        held: Mapping[str, str] | None,
        *,
        md5: bool = False,
        compressed: bool | None = None,
    ) -> RequestResult:
        """Ask for a request, without the files that are ``held``.

        Where that is nothing, servers since 2026-01-08 are asked for SHA-1 in its place; None sends nothing of the
        kind. ``md5``: be ready for files of which the server knows nothing else. Failures that a smaller request may
        not have are returned, others raised.
        """
        result = RequestResult()
        tells_sha1 = self.compares_hashes
        asks = held is not None and not held and tells_sha1
        registry = registry_asking_for_sha1(self._lake.study_id, request) if asks else held
        md5 = md5 or self._saw_md5 or not (tells_sha1 and registry) or request.window.start < _SHA1_KEPT_SINCE
        intake = Intake(self._lake, self._writer, self._threads, self._policy, md5=md5)
        entries: list[RegistryEntry] = []
        paired: Iterable[RegistryEntry | None] = ()
        try:
            with (
                intake,
                self._client.get_data(
                    self._lake.study_id,
                    participants=[request.participant],
                    streams=request.streams,
                    window=request.window,
                    registry=registry,
                    compressed=compressed,
                ) as download,
            ):
                try:
                    for member in read_archive(download):
                        if member.name == REGISTRY:
                            entries = registry_in(member, len(intake.names))
                        else:
                            intake.add(expected_name(member, request), member, compressed=download.compressed)
                        self._on_bytes(member.size_bytes)
                    paired = found = pair(self._lake.study_id, intake.names, entries)
                    result.entries = [*zip(intake.names, found, strict=True)]
                except DIVISIBLE as error:
                    result.failure = bare(error)
                finally:
                    result.downloaded_bytes = download.received_bytes
        except (RequestTooLargeError, ServerFailedError) as error:
            result.failure = bare(error)
        if result.failure:
            paired = map(self._own_entry, intake.names)
        self._sort_out(result, intake, paired, answers_registry=bool(registry))
        if result.failure is None:
            result.listed = frozenset(entry.key for entry in entries)
            result.unpacked = result.listed - {entry.key for _, entry in result.entries}
        return result

    def discard(self, fetched_file: FetchedFile) -> None:
        """Remove a staged file that will not be committed."""
        self._writer.discard([fetched_file.staged])

    def _own_entry(self, name: MemberName) -> RegistryEntry | None:
        """The entry of an hourly file as its name tells it, where no registry came."""
        if stream_named(name.stream).chunked:
            return RegistryEntry(key_of_chunked_member(self._lake.study_id, name), "")
        return None

    def _sort_out(
        self,
        result: RequestResult,
        intake: Intake,
        entries: Iterable[RegistryEntry | None],
        *,
        answers_registry: bool,
    ) -> None:
        for name, outcome, entry in zip(intake.names, intake.outcomes(), entries, strict=True):
            if isinstance(outcome, DamagedMemberError):
                result.damaged.append((name, outcome))
            elif isinstance(outcome, BaseException):
                raise outcome
            elif entry is None:
                self._writer.discard([outcome])
            elif outcome.md5 is None and hash_name(entry.value) == "md5":
                self._saw_md5 = True
                self._writer.discard([outcome])
                result.unknown.append(name)
            else:
                known_by = hash_name(entry.value) if answers_registry else None
                fetched_file = self._fetched_file(name, outcome, entry, known_by)
                if result.failure:
                    fetched_file = replace(fetched_file, checked=False)
                if hash_agrees(entry.value, outcome):
                    result.fetched_files.append(fetched_file)
                else:
                    result.damaged.append((name, HashMismatchError(name, fetched_file)))

    def _fetched_file(
        self, name: MemberName, staged: StagedFile, entry: RegistryEntry, known_by: HashName | None
    ) -> FetchedFile:
        return FetchedFile(
            key=entry.key,
            member=name,
            staged=staged,
            form=self._lake.form(name.stream),
            known_by=known_by,
            compared=bool(entry.value),
        )


class HashMismatchError(DamagedMemberError):
    """A file's hash differs from the server's registry: merged at this moment, or listed wrongly by the server."""

    def __init__(self, name: MemberName, fetched_file: FetchedFile) -> None:
        super().__init__(
            "Expected a file with the hash of the server's registry, got another; it is requested again. If the same "
            "content comes twice, it is stored: servers are known to list a wrong MD5 now and then.",
            member=name.name,
        )
        self.fetched_file = fetched_file


class CountMismatchError(DamagedMemberError):
    """A file whose hash is wrong, and whose size does not fit the bytes that the server counts."""

    def __init__(self, name: MemberName) -> None:
        super().__init__(
            "A file came twice with the same content, with another hash than the server lists, and of a size that does "
            "not fit the bytes that the server counts for its day; it was not stored, and its hour stays open. The "
            "next run requests it again. If it stays so, tell the server's operators.",
            member=name.name,
        )


class UnpackedFileError(ArchiveError):
    """Files that a server lists and never packs."""

    def __init__(self, number: int) -> None:
        super().__init__(
            f"The server lists {number} more files of this hour than it packs, although those with the same name were "
            "named as held; they were not stored, and the hour stays open. The next run requests it again. Servers "
            "since April 2025 pack all files: ask the operators to update it."
        )


def expected_name(member: Member, request: DownloadRequest) -> MemberName:
    """The member's name, if it is one that was asked for."""
    name = parse_member_name(member.name)
    if name.participant != request.participant or not request.covers(name.time, name.stream):
        raise HostileArchiveError(
            f"Expected files of participant {request.participant} in {request.window.key} only, got one of another "
            "participant, stream or hour; it was not stored. Ask the server's operators."
        )
    return name


def registry_in(member: Member, members: int) -> list[RegistryEntry]:
    """What the registry of an archive with so many members lists."""
    limit = registry_limit_bytes(members)
    if member.size_bytes > limit:
        raise HostileArchiveError(
            f"Expected a registry of at most {limit:,} bytes for {members} members, got one of {member.size_bytes:,}; "
            "it was not read. Ask the server's operators."
        )
    return read_registry(b"".join(member.body), members=members)
