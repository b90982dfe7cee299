"""Download: send one request, and check, encrypt, and stage its files while they arrive."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from dagster_beiwe.archive import REGISTRY, Member, read_archive
from dagster_beiwe.client import BeiweClient, Download
from dagster_beiwe.errors import (
    ArchiveError,
    BeiweError,
    ConnectionFailedError,
    DamagedMemberError,
    HashMismatchError,
    HostileArchiveError,
    RequestTooLargeError,
    ServerFailedError,
)
from dagster_beiwe.lake import FetchedFile, FileRecord, LakeWriter, StudyLake
from dagster_beiwe.member_names import MemberName, key_of_chunked_member, parse_member_name
from dagster_beiwe.streams import stream_named
from dagster_beiwe.sync.registry import (
    RegistryEntry,
    hash_agrees,
    hash_name,
    pair,
    read_registry,
    registry_asking_for_sha1,
    registry_limit_bytes,
)
from dagster_beiwe.sync.requests import DownloadRequest, FetchPolicy
from dagster_beiwe.sync.staging_pool import Intake, Threads, bare

if TYPE_CHECKING:
    from typing_extensions import Self

SHA1_KEPT_SINCE = datetime(2025, 4, 1, tzinfo=timezone.utc)
"""Servers keep SHA-1 hashes since March 2025; files that have not changed since then may lack one."""

SPLITTABLE = (ArchiveError, ConnectionFailedError, RequestTooLargeError, ServerFailedError)
"""Failures of a request that a smaller request may not have."""


@dataclass(frozen=True)
class DamagedMember:
    """A refused member. ``file`` is set if it is whole, but has a different hash than the server lists."""

    name: MemberName
    error: DamagedMemberError
    file: FetchedFile | None = None


@dataclass
class RequestResult:
    """What one request brought.

    ``fetched_files`` are staged and checked. ``damaged`` members were not accepted, or must be requested uncompressed
    (``FrameTooLargeError``). ``unknown`` members are whole, and must be requested again to compute their MD5.
    ``failure`` is set if the rest of the request did not come; ``fetched_files`` are hourly files only then, whose
    identity does not depend on the registry. ``listed`` are the keys of all files that came, once the whole request
    has; ``entries`` are those of the members. ``unpacked`` are keys that were listed without a member: servers before
    2025-04-04 pack only one of several files with the same name.
    """

    fetched_files: list[FetchedFile] = field(default_factory=list)
    damaged: list[DamagedMember] = field(default_factory=list)
    unknown: list[MemberName] = field(default_factory=list)
    failure: BeiweError | None = None
    listed: frozenset[str] = frozenset()
    entries: list[tuple[MemberName, RegistryEntry]] = field(default_factory=list)
    unpacked: frozenset[str] = frozenset()
    downloaded_bytes: int = 0


class Downloader:
    """Downloads requests of one study into a writer's staging. Use it as a context manager, which ends its threads."""

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
        if (cipher := self._lake.ring.cipher) is not None:
            self._threads.files.submit(cipher.prepare)
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        self._threads.__exit__(kind, *exception)

    def keeps(self, record: FileRecord) -> bool:
        """Whether a held file need not be sent again.

        It must have been checked (its archive did not break off before the registry), and be encrypted and compressed
        as the study's files are now.
        """
        form = self._lake.form(record.stream)
        return record.checked and (record.encryption, record.compression) == (form.encryption, form.compression)

    @property
    def compares_hashes(self) -> bool:
        """Whether the server leaves out a listed file only if its hash is the same."""
        return self._client.supports("file_hashes", otherwise=False)

    def download(
        self,
        request: DownloadRequest,
        held: Mapping[str, str] | None,
        *,
        md5: bool = False,
        compressed: bool | None = None,
    ) -> RequestResult:
        """Send a request, without the files that are ``held``.

        If that is empty, servers since 2026-01-08 are asked for SHA-1 hashes; if it is None, no list is sent. ``md5``
        computes MD5 hashes too, for files of which the server knows nothing else. Failures that a smaller request may
        not have are returned, others are raised.
        """
        result = RequestResult()
        registry = held
        if held is not None and not held and self.compares_hashes:
            registry = registry_asking_for_sha1(self._lake.study_id, request)
        sends_sha1 = self.compares_hashes and bool(registry)
        md5 = md5 or self._saw_md5 or not sends_sha1 or request.window.start < SHA1_KEPT_SINCE
        intake = Intake(self._lake, self._writer, self._threads, self._policy, md5=md5)
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
                    paired = self._receive(download, request, intake, result)
                except SPLITTABLE as error:
                    result.failure = bare(error)
                finally:
                    result.downloaded_bytes = download.received_bytes
        except (RequestTooLargeError, ServerFailedError) as error:
            result.failure = bare(error)
        if result.failure:
            paired = map(self._own_entry, intake.names)
        self._sort_out(result, intake, paired, lists_held=bool(registry))
        return result

    def discard(self, file: FetchedFile) -> None:
        """Remove a staged file that will not be committed."""
        self._writer.discard([file.staged])

    def _receive(
        self, download: Download, request: DownloadRequest, intake: Intake, result: RequestResult
    ) -> list[RegistryEntry]:
        """Hand on the members of an archive; the registry's entry of each."""
        entries: list[RegistryEntry] = []
        for member in read_archive(download):
            if member.name == REGISTRY:
                entries = registry_in(member, len(intake.names))
            else:
                intake.add(expected_name(member, request), member, compressed=download.compressed)
            self._on_bytes(member.size_bytes)
        paired = pair(self._lake.study_id, intake.names, entries)
        result.entries = [*zip(intake.names, paired, strict=True)]
        result.listed = frozenset(entry.key for entry in entries)
        result.unpacked = result.listed - {entry.key for entry in paired}
        return paired

    def _own_entry(self, name: MemberName) -> RegistryEntry | None:
        """The entry that the name of an hourly file implies, if no registry came."""
        if stream_named(name.stream).chunked:
            return RegistryEntry(key_of_chunked_member(self._lake.study_id, name), "")
        return None

    def _sort_out(
        self, result: RequestResult, intake: Intake, entries: Iterable[RegistryEntry | None], *, lists_held: bool
    ) -> None:
        for name, outcome, entry in zip(intake.names, intake.outcomes(), entries, strict=True):
            if isinstance(outcome, DamagedMemberError):
                result.damaged.append(DamagedMember(name, outcome))
            elif entry is None:
                self._writer.discard([outcome])
            elif outcome.md5 is None and hash_name(entry.value) == "md5":
                self._saw_md5 = True
                self._writer.discard([outcome])
                result.unknown.append(name)
            else:
                file = FetchedFile(
                    key=entry.key,
                    member=name,
                    staged=outcome,
                    form=self._lake.form(name.stream),
                    known_by=hash_name(entry.value) if lists_held else None,
                    compared=bool(entry.value),
                    checked=result.failure is None,
                )
                if hash_agrees(entry.value, outcome):
                    result.fetched_files.append(file)
                else:
                    result.damaged.append(DamagedMember(name, _hash_mismatch(name), file))


def _hash_mismatch(name: MemberName) -> HashMismatchError:
    return HashMismatchError(
        "A file does not have the hash that the server lists, and is requested again. If the same content arrives "
        "twice, it is stored, since servers sometimes list a wrong MD5.",
        member=name.name,
    )


def expected_name(member: Member, request: DownloadRequest) -> MemberName:
    """The member's name, if it was requested."""
    name = parse_member_name(member.name)
    if name.participant != request.participant or not request.covers(name.time, name.stream):
        raise HostileArchiveError(
            f"In response to a request for participant {request.participant} in {request.window.key}, the server sent "
            "a file of another participant, stream, or hour. The file was not stored. Ask the server's operators."
        )
    return name


def registry_in(member: Member, members: int) -> list[RegistryEntry]:
    """What the registry of an archive with so many members lists."""
    limit = registry_limit_bytes(members)
    if member.size_bytes > limit:
        raise HostileArchiveError(
            f"The registry of an archive has {member.size_bytes:,} bytes, more than the {limit:,} that {members} "
            "members can need. It was not read. Ask the server's operators."
        )
    return read_registry(b"".join(member.body), members=members)
