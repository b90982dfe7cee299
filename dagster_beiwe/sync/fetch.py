"""Fetch one piece: download, check, lock and stage its files while they arrive."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

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
from dagster_beiwe.lake import Arrival, LakeWriter, StudyLake
from dagster_beiwe.lake.staging import StagedFile
from dagster_beiwe.names import MemberName, key_of_chunked_member, parse_member_name
from dagster_beiwe.streams import STREAMS
from dagster_beiwe.sync.facts import FetchPolicy
from dagster_beiwe.sync.pairing import (
    REGISTRY_LIMIT_BYTES,
    RegistryEntry,
    base64_of,
    hash_agrees,
    pair,
    read_registry,
)
from dagster_beiwe.sync.pieces import Piece

_Error = TypeVar("_Error", bound=BeiweError)

SMALL_MEMBER_BYTES = 8 * 1024 * 1024
"""Smaller members are handed to the workers whole; larger ones are passed on piece by piece by one thread."""

DIVISIBLE = (ArchiveError, ConnectionFailedError, RequestTooLargeError, ServerFailedError)
"""Failures of a request that a smaller one may not have."""


@dataclass
class Fetched:
    """What became of one request.

    ``arrivals`` are staged and checked. ``damaged`` members came through wrong, or (``FrameTooLargeError``) have to be
    asked for uncompressed. ``failure`` is set when the rest of the piece did not come; then ``arrivals`` holds hourly
    files only, whose identity does not depend on the registry. ``listed`` are the keys of all files that came, once the
    whole piece has.
    """

    arrivals: list[Arrival] = field(default_factory=list)
    damaged: list[tuple[MemberName, DamagedMemberError]] = field(default_factory=list)
    failure: BeiweError | None = None
    listed: frozenset[str] = frozenset()
    downloaded_bytes: int = 0


class Fetcher:
    """Fetches pieces of one study into a writer's staging. Close it to end its threads."""

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
        self._pool = ThreadPoolExecutor(policy.workers, thread_name_prefix="beiwe-lake")

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def fetch(self, piece: Piece, held: Mapping[str, str], *, compressed: bool | None = None) -> Fetched:
        """Ask for a piece, without the files that are ``held``.

        Failures that a smaller request may not have are returned, others raised.
        """
        result = Fetched()
        staging = _Staging(self._writer, self._pool, self._policy.buffer_bytes)
        entries: list[RegistryEntry] = []
        paired: Iterable[RegistryEntry | None] = ()
        try:
            with self._client.get_data(
                self._lake.study_id,
                participants=[piece.participant],
                streams=piece.streams,
                window=piece.window,
                registry=held or None,
                compressed=compressed,
            ) as download:
                try:
                    for member in read_archive(download):
                        if member.name == REGISTRY:
                            entries = read_registry(_read_small(member))
                        else:
                            staging.add(_expected_name(member, piece), member, zstd=download.version == 2)
                        self._on_bytes(member.size_bytes)
                    paired = pair(self._lake.study_id, staging.names, entries)
                except DIVISIBLE as error:
                    result.failure = _bare(error)
                finally:
                    result.downloaded_bytes = download.received_bytes
        except (RequestTooLargeError, ServerFailedError) as error:
            result.failure = _bare(error)
        finally:
            staging.settle()
        if result.failure:
            paired = map(self._own_entry, staging.names)
        self._sort_out(result, staging, paired)
        if result.failure is None:
            result.listed = frozenset(entry.key for entry in entries)
        return result

    def discard(self, arrival: Arrival) -> None:
        """Remove a staged file that will not be committed."""
        self._writer.discard([arrival.staged])

    def _own_entry(self, name: MemberName) -> RegistryEntry | None:
        """The entry of an hourly file as its name tells it, where no registry came."""
        if STREAMS[name.stream].chunked:
            return RegistryEntry(key_of_chunked_member(self._lake.study_id, name), "")
        return None

    def _sort_out(self, result: Fetched, staging: _Staging, entries: Iterable[RegistryEntry | None]) -> None:
        for name, outcome, entry in zip(staging.names, staging.outcomes(), entries, strict=True):
            if isinstance(outcome, DamagedMemberError):
                result.damaged.append((name, outcome))
            elif isinstance(outcome, BaseException):
                raise outcome
            elif entry is None:
                self._writer.discard([outcome])
            else:
                arrival = self._arrival(name, outcome, entry)
                if hash_agrees(entry.value, outcome):
                    result.arrivals.append(arrival)
                else:
                    result.damaged.append((name, HashMismatchError(name, arrival)))

    def _arrival(self, name: MemberName, staged: StagedFile, entry: RegistryEntry) -> Arrival:
        value = entry.value or base64_of(staged.sha1)
        return Arrival(
            key=entry.key, member=name, staged=staged, form=self._lake.form(name.stream), registry_value=value
        )


class HashMismatchError(DamagedMemberError):
    """A file's hash differs from the server's registry: merged at this moment, or listed wrongly by the server."""

    def __init__(self, name: MemberName, arrival: Arrival) -> None:
        super().__init__(
            "Expected a file with the hash of the server's registry, got another; it is requested again. If the same "
            "content comes twice, it is stored: servers are known to list a wrong MD5 now and then.",
            member=name.name,
        )
        self.arrival = arrival


class _Staging:
    """Stages members while the archive goes on, with a bounded number of bytes waiting."""

    def __init__(self, writer: LakeWriter, pool: ThreadPoolExecutor, buffer_bytes: int) -> None:
        self._writer, self._pool, self._buffer_bytes = writer, pool, buffer_bytes
        self._waiting: deque[tuple[Future[StagedFile], int]] = deque()
        self._waiting_bytes = 0
        self._outcomes: list[Future[StagedFile] | StagedFile | DamagedMemberError] = []
        self.names: list[MemberName] = []

    def add(self, name: MemberName, member: Member, *, zstd: bool) -> None:
        self.names.append(name)
        try:
            if member.size_bytes > SMALL_MEMBER_BYTES:
                self._outcomes.append(self._writer.stage(name, member.body, arrives_compressed=zstd))
            else:
                self._outcomes.append(self._submit(name, list(member.body), member.size_bytes, zstd=zstd))
        except DamagedMemberError as error:
            self._outcomes.append(_bare(error))
        except BaseException:
            self.names.pop()
            raise

    def settle(self) -> None:
        """Wait until nothing is being written any more."""
        while self._waiting:
            self._wait_for_oldest()

    def outcomes(self) -> Iterator[StagedFile | BaseException]:
        """What became of each member, in their order; call it when all is settled."""
        for outcome in self._outcomes:
            yield (outcome.exception() or outcome.result()) if isinstance(outcome, Future) else outcome

    def _submit(self, name: MemberName, body: list[bytes], size_bytes: int, *, zstd: bool) -> Future[StagedFile]:
        while self._waiting and self._waiting_bytes + size_bytes > self._buffer_bytes:
            self._wait_for_oldest()
        future = self._pool.submit(self._writer.stage, name, body, arrives_compressed=zstd)
        self._waiting.append((future, size_bytes))
        self._waiting_bytes += size_bytes
        return future

    def _wait_for_oldest(self) -> None:
        future, size_bytes = self._waiting.popleft()
        error = future.exception()
        self._waiting_bytes -= size_bytes
        if error is not None and not isinstance(error, DamagedMemberError):
            raise error


def _bare(error: _Error) -> _Error:
    """The error without the frames that it came through: kept, they would keep each other and the connection."""
    error.__context__ = None
    return error.with_traceback(None)


def _expected_name(member: Member, piece: Piece) -> MemberName:
    """The member's name, if it is one that was asked for."""
    name = parse_member_name(member.name)
    if name.participant != piece.participant or not piece.covers(name.time, name.stream):
        raise HostileArchiveError(
            f"Expected files of participant {piece.participant} in {piece.window.key} only, got one of another "
            "participant, stream or hour; it was not stored. Ask the server's operators."
        )
    return name


def _read_small(member: Member) -> bytes:
    if member.size_bytes > REGISTRY_LIMIT_BYTES:
        raise HostileArchiveError(
            f"Expected a registry of at most {REGISTRY_LIMIT_BYTES} bytes, got one of {member.size_bytes}; it was "
            "not read. Ask the server's operators."
        )
    return b"".join(member.body)
