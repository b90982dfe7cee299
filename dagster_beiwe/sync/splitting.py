"""Split on failure: download a request, retrying and splitting it until only the unavailable hour is left."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from dagster_beiwe.errors import (
    BeiweError,
    CountMismatchError,
    FrameTooLargeError,
    RequestTooLargeError,
    ServerFailedError,
    UnpackedFileError,
)
from dagster_beiwe.lake import FetchedFile, FileRecord
from dagster_beiwe.member_names import MemberName, place_of_key
from dagster_beiwe.retries import DOWNLOAD_FAILURES, DOWNLOAD_FAILURES_IN_A_ROW
from dagster_beiwe.sync.downloader import DamagedMember, Downloader, RequestResult
from dagster_beiwe.sync.local_files import listed_key
from dagster_beiwe.sync.registry import registry_hash, registry_of, registry_size
from dagster_beiwe.sync.requests import DownloadRequest, FetchPolicy
from dagster_beiwe.sync.results import DownloadResult
from dagster_beiwe.sync.staging_pool import bare
from dagster_beiwe.windows import Window

logger = logging.getLogger("dagster_beiwe")


class SplittingDownloader:
    """Downloads requests into one result, and copes with failures.

    A request that breaks off is sent again, without what has already come; then it is split. ``held`` are the records
    of what the lake holds. With ``list_all``, the server is asked for everything, which shows what it does not send
    any more. After many failures, or some in a row, what fails is given up without splitting it further.
    """

    def __init__(
        self,
        downloader: Downloader,
        policy: FetchPolicy,
        held: Sequence[FileRecord],
        *,
        result: DownloadResult | None = None,
        list_all: bool = False,
    ) -> None:
        self._downloader, self._policy, self._held, self._list_all = downloader, policy, held, list_all
        self._failures = self._failures_in_a_row = 0
        self.result = result or DownloadResult()

    def download(self, request: DownloadRequest) -> None:
        """Add a request to the result. Raises errors that no smaller request would avoid."""
        self._download(request, attempts=self._policy.attempts)

    def drop_outside(self, span: Window) -> None:
        """Drop fetched files from outside a span: they were only looked at."""
        for key, file in [*self.result.fetched_files.items()]:
            if file.member.time not in span:
                self._downloader.discard(file)
                del self.result.fetched_files[key]

    def refuse(self, key: str) -> None:
        """Take back a file that was accepted with a different hash than the server lists: its hour is incomplete."""
        file = self.result.fetched_files.pop(key)
        self.result.mislisted.discard(key)
        self._downloader.discard(file)
        self._give_up(_hour(file.member), _count_mismatch(file.member))

    def _download(self, request: DownloadRequest, *, attempts: int) -> None:
        halves = request.halves()
        failure: BeiweError | None = None
        if not halves or registry_size(self._registry(request)) <= self._policy.registry_bytes:
            failure = self._attempt(request, attempts=attempts if halves else self._policy.attempts)
            if failure is None:
                return
            if (
                not halves
                or self._failures_in_a_row >= DOWNLOAD_FAILURES_IN_A_ROW
                or self._failures >= DOWNLOAD_FAILURES
            ):
                self._give_up(request, failure)
                return
        for half in halves:
            self._download(half, attempts=1)

    def _attempt(self, request: DownloadRequest, *, attempts: int) -> BeiweError | None:
        """Send a request as it is; the failure if it does not succeed."""
        failure: BeiweError | None = None
        for _ in range(attempts):
            # For some days of January 2026 servers broke on any registry that had a file without SHA-1.
            last = not request.halves()
            registry: dict[str, str] | None = self._registry(request)
            if isinstance(failure, ServerFailedError) and (last or not registry):
                registry = None
            fetched = self._send(request, registry)
            failure = fetched.failure
            if isinstance(failure, RequestTooLargeError) and last:
                fetched = self._send(request, None)
                failure = fetched.failure
            if failure is None:
                # While nothing has come at all, an hour without files does not mean that others will come.
                if fetched.listed or registry or self.result.fetched_files:
                    self._failures_in_a_row = 0
                self._note_checked(registry or {})
                self._follow_up(request, fetched)
                return None
            self._failures += 1
            self._failures_in_a_row += 1
            if isinstance(failure, RequestTooLargeError):
                break
        return failure

    def _registry(self, request: DownloadRequest) -> dict[str, str]:
        """What the server need not send: files held, and those that came before an earlier attempt broke off."""
        held = {} if self._list_all else registry_of(filter(self._downloader.keeps, self._held), request)
        for file in self.result.fetched_files.values():
            if request.covers(file.member.time, file.member.stream):
                held[listed_key(file)] = registry_hash(file.known_by, file.staged)
        return held

    def _send(
        self,
        request: DownloadRequest,
        registry: dict[str, str] | None,
        *,
        md5: bool = False,
        compressed: bool | None = None,
    ) -> RequestResult:
        fetched = self._downloader.download(request, registry, md5=md5, compressed=compressed)
        self.result.downloaded_bytes += fetched.downloaded_bytes
        self._take(fetched.fetched_files)
        return fetched

    def _take(self, files: Iterable[FetchedFile]) -> None:
        for file in files:
            earlier = self.result.fetched_files.get(file.key)
            if earlier is not None:
                self._downloader.discard(earlier)
            self.result.fetched_files[file.key] = file

    def _note_checked(self, registry: Mapping[str, str]) -> None:
        """Files that came before an archive broke off, and were not sent again now, have the server's hash."""
        if self._downloader.compares_hashes:
            for key, file in self.result.fetched_files.items():
                if listed_key(file) in registry:
                    self.result.fetched_files[key] = replace(file, checked=True, compared=True)

    def _follow_up(self, request: DownloadRequest, fetched: RequestResult) -> None:
        """Request again what came damaged, too large, or without a usable hash, and note what was not sent."""
        if self._list_all:
            held = {record.key for record in self._held if request.covers(record.moment, record.stream)}
            self.result.not_sent |= held - fetched.listed - self.result.fetched_files.keys()
        self._request_unpacked(request, fetched)
        names = [*fetched.unknown, *(damaged.name for damaged in fetched.damaged)]
        if not names:
            return
        again = request.around((name.time, name.stream) for name in names)
        if fetched.unknown:
            for file in _files_of(fetched.damaged):
                self._downloader.discard(file)
            self._download(again, attempts=self._policy.attempts)
        else:
            too_large = any(isinstance(damaged.error, FrameTooLargeError) for damaged in fetched.damaged)
            self._request_damaged(again, fetched.damaged, compressed=False if too_large else None)

    def _request_unpacked(self, request: DownloadRequest, fetched: RequestResult) -> None:
        """Request files that are listed but not packed, because another file has their name.

        Such servers leave out what a request lists with the hash that they gave themselves. The hours of files that are
        never packed are given up.
        """
        held = {record.key for record in self._held if record.present}
        places: dict[DownloadRequest, set[str]] = {}
        for key in fetched.unpacked - held - self.result.fetched_files.keys():
            stream, moment = place_of_key(key) or ("", request.window.start)
            known = request.covers(moment, stream)
            place = DownloadRequest.of_hour(request.participant, moment, stream) if known else request
            places.setdefault(place, set()).add(key)
        for place, keys in places.items():
            listed = {entry.key: entry.value for name, entry in fetched.entries if place.covers(name.time, name.stream)}
            missing, before = keys, 0
            while missing and len(missing) != before:  # as long as each request brings another one
                before = len(missing)
                again = self._send(place, listed)
                listed |= {entry.key: entry.value for _, entry in again.entries}
                missing = keys - self.result.fetched_files.keys()
            if missing:
                errors = [again.failure, *(damaged.error for damaged in again.damaged), _unpacked(len(missing))]
                self._give_up(place, next(error for error in errors if error))

    def _request_damaged(
        self, request: DownloadRequest, damaged: Sequence[DamagedMember], *, compressed: bool | None
    ) -> None:
        """Request damaged members once more, together; give up the hours of those that come damaged again."""
        registry = self._registry(request)
        if registry_size(registry) > self._policy.registry_bytes and (halves := request.halves()):
            for half in halves:
                if inside := [one for one in damaged if half.covers(one.name.time, one.name.stream)]:
                    self._request_damaged(half, inside, compressed=compressed)
            return
        again = self._send(request, registry, md5=True, compressed=compressed)
        earlier = {file.key: file for file in _files_of(damaged)}
        for second in again.damaged:
            if not self._accept(second, earlier):
                self._give_up(_hour(second.name), second.error)
        back = [file.member for file in again.fetched_files] + [second.name for second in again.damaged]
        places = {(name.folder, name.time) for name in back}
        for first in damaged:
            if (first.name.folder, first.name.time) not in places:
                self._give_up(_hour(first.name), again.failure or first.error)
        for file in earlier.values():
            self._downloader.discard(file)

    def _accept(self, damaged: DamagedMember, earlier: Mapping[str, FetchedFile]) -> bool:
        """Whether a file is stored although its hash was wrong again: if the same content came twice."""
        file = damaged.file
        if file is None:
            return False
        first = earlier.get(file.key)
        if first is None or first.staged.sha256 != file.staged.sha256:
            self._downloader.discard(file)
            return False
        logger.warning(
            "Participant %s, %s, %s: a file arrived twice with the same content and a different hash than the server "
            "lists. It is stored. If this continues, tell the server's operators.",
            file.member.participant,
            file.member.stream,
            file.member.time.isoformat(),
        )
        self._take([file])
        self.result.mislisted.add(file.key)
        return True

    def _give_up(self, request: DownloadRequest, error: BeiweError) -> None:
        self.result.failures[request] = bare(error)


def _files_of(damaged: Iterable[DamagedMember]) -> list[FetchedFile]:
    """The staged files of damaged members that are whole."""
    return [one.file for one in damaged if one.file]


def _hour(name: MemberName) -> DownloadRequest:
    return DownloadRequest.of_hour(name.participant, name.time, name.stream)


def _count_mismatch(name: MemberName) -> CountMismatchError:
    return CountMismatchError(
        "A file arrived twice with the same content, with a different hash than the server lists, and with a size "
        "that does not fit the bytes that the server counts for its day. It was not stored, and its hour stays "
        "incomplete. The next run requests it again. If this continues, tell the server's operators.",
        member=name.name,
    )


def _unpacked(number: int) -> UnpackedFileError:
    return UnpackedFileError(
        f"The server lists {number} more files of this hour than it packs, although those with the same name were "
        "listed as held. They were not stored, and the hour stays incomplete. The next run requests it again. Servers "
        "since April 2025 pack all files: ask the operators to update it."
    )
