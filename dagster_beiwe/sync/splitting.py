"""Bring in a request whatever it takes: repeat, halve, and leave alone only what really does not come."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone

from dagster_beiwe.errors import BeiweError, DamagedMemberError, RequestTooLargeError, ServerFailedError
from dagster_beiwe.lake import FetchedFile, FileRecord
from dagster_beiwe.lake.staging import FrameTooLargeError
from dagster_beiwe.member_names import MemberName, place_of_key
from dagster_beiwe.sync.downloader import (
    CountMismatchError,
    Downloader,
    HashMismatchError,
    RequestResult,
    UnpackedFileError,
)
from dagster_beiwe.sync.registry import registry_hash
from dagster_beiwe.sync.requests import DownloadRequest, registry_of, registry_size
from dagster_beiwe.sync.results import FetchPolicy
from dagster_beiwe.sync.staging_pool import bare
from dagster_beiwe.windows import Window

logger = logging.getLogger("dagster_beiwe")

Damage = tuple[MemberName, DamagedMemberError]

_HOUR = timedelta(hours=1)
_PATIENCE = 200
"""Failures in all after which what fails is given up as it is: enough to find some fifteen bad hours of a month."""
_HOPELESS = 32
"""More failures in a row than it takes to halve three centuries of all streams down to one hour and stream."""


@dataclass
class DownloadResult:
    """What was brought in.

    ``not_sent`` are keys of held files that did not come although they were asked for: the server may have lost them,
    and the lake keeps them. ``deleted_upstream`` are those that are proven to be deleted. ``mislisted`` are keys of
    fetched files that have another hash than the server lists, each time. ``counted_in`` has the row of daily counts
    that is known to have counted a file, by key."""

    fetched_files: dict[str, FetchedFile] = field(default_factory=dict)
    failures: dict[DownloadRequest, BeiweError] = field(default_factory=dict)
    not_sent: set[str] = field(default_factory=set)
    deleted_upstream: set[str] = field(default_factory=set)
    mislisted: set[str] = field(default_factory=set)
    counted_in: dict[str, str] = field(default_factory=dict)
    downloaded_bytes: int = 0
    begun_at: datetime = field(default_factory=lambda: datetime.now(timezone.utc))

    def mark_deleted(self, keys: set[str]) -> None:
        """Count files that were not sent as deleted upstream."""
        self.deleted_upstream |= keys
        self.not_sent -= keys


class SplittingDownloader:
    """Fetches requests and copes with what fails.

    A request that breaks off is asked for again, without what has already come; then it is halved. ``held`` are the
    records of what the lake holds; with ``relist`` the server is asked for everything, to see what it leaves out, and
    only then ``not_sent`` is known. After many failures, or some in a row, what fails is given up as it is.
    """

    def __init__(
        self,
        downloader: Downloader,
        policy: FetchPolicy,
        held: Sequence[FileRecord],
        *,
        result: DownloadResult | None = None,
        relist: bool = False,
    ) -> None:
        self._downloader, self._policy, self._held, self._relist = downloader, policy, held, relist
        self._failures = self._failures_in_a_row = 0
        self.result = result or DownloadResult()

    def bring(self, request: DownloadRequest) -> None:
        """Add a request to the result. Raises errors that no smaller request would escape."""
        self._bring(request, attempts=self._policy.attempts)

    def leave_out(self, span: Window) -> None:
        """Drop what came from outside a span: it was only looked at."""
        for key, fetched_file in [*self.result.fetched_files.items()]:
            if fetched_file.member.time not in span:
                self._downloader.discard(fetched_file)
                del self.result.fetched_files[key]

    def _bring(self, request: DownloadRequest, *, attempts: int) -> None:
        halves = request.halves()
        if halves and registry_size(self._registry(request)) > self._policy.registry_bytes:
            failure: BeiweError | None = None
        else:
            failure = self._try(request, attempts=attempts if halves else self._policy.attempts)
            if failure is None:
                return
        if failure and (self._failures_in_a_row >= _HOPELESS or self._failures >= _PATIENCE):
            self._give_up(request, failure)
        elif halves:
            for half in halves:
                self._bring(half, attempts=1)
        elif failure:
            self._give_up(request, failure)

    def _try(self, request: DownloadRequest, *, attempts: int) -> BeiweError | None:
        """Ask for a request as it is; the failure if it does not come."""
        failure: BeiweError | None = None
        for _ in range(attempts):
            # For some days of January 2026 servers broke on any registry where a file had no SHA-1.
            last = not request.halves()
            registry: dict[str, str] | None = self._registry(request)
            if isinstance(failure, ServerFailedError) and (last or not registry):
                registry = None
            fetched = self._fetch(request, registry)
            failure = fetched.failure
            if isinstance(failure, RequestTooLargeError) and last:
                fetched = self._fetch(request, None)
                failure = fetched.failure
            if failure is None:
                # While nothing has come at all, an hour without files does not tell that others will come.
                if fetched.listed or registry or self.result.fetched_files:
                    self._failures_in_a_row = 0
                self._note_checked(registry or {})
                self._look_after(request, fetched)
                return None
            self._failures += 1
            self._failures_in_a_row += 1
            if isinstance(failure, RequestTooLargeError):
                break
        return failure

    def _registry(self, request: DownloadRequest) -> dict[str, str]:
        """What not to send: files held, and those that came before an earlier try broke off."""
        held = {} if self._relist else registry_of(filter(self._downloader.keeps, self._held), request)
        for fetched_file in self.result.fetched_files.values():
            if request.covers(fetched_file.member.time, fetched_file.member.stream):
                held[fetched_file.key] = registry_hash(fetched_file.known_by, fetched_file.staged)
        return held

    def _fetch(
        self,
        request: DownloadRequest,
        registry: dict[str, str] | None,
        *,
        md5: bool = False,
        compressed: bool | None = None,
    ) -> RequestResult:
        fetched = self._downloader.fetch(request, registry, md5=md5, compressed=compressed)
        self.result.downloaded_bytes += fetched.downloaded_bytes
        self._take(fetched.fetched_files)
        return fetched

    def _take(self, fetched_files: Iterable[FetchedFile]) -> None:
        for fetched_file in fetched_files:
            earlier = self.result.fetched_files.get(fetched_file.key)
            if earlier is not None:
                self._downloader.discard(earlier)
            self.result.fetched_files[fetched_file.key] = fetched_file

    def _note_checked(self, registry: Mapping[str, str]) -> None:
        """What came before an archive broke off, and was not sent again now, has the hash that the server has."""
        if self._downloader.compares_hashes:
            for key in registry.keys() & self.result.fetched_files.keys():
                self.result.fetched_files[key] = replace(self.result.fetched_files[key], checked=True, compared=True)

    def _look_after(self, request: DownloadRequest, fetched: RequestResult) -> None:
        """Ask again for members that came damaged, too large or to be compared by MD5, and note what is left out."""
        if self._relist:
            here = {record.key for record in self._held if request.covers(record.moment, record.stream)}
            self.result.not_sent |= here - fetched.listed - self.result.fetched_files.keys()
        self._ask_for_unpacked(request, fetched)
        names = [*fetched.unknown, *(name for name, _ in fetched.damaged)]
        if fetched.unknown:
            for _, error in fetched.damaged:
                if isinstance(error, HashMismatchError):
                    self._downloader.discard(error.fetched_file)
            self._bring(_around(request, names), attempts=self._policy.attempts)
        elif fetched.damaged:
            too_large = any(isinstance(error, FrameTooLargeError) for _, error in fetched.damaged)
            self._ask_again(_around(request, names), fetched.damaged, compressed=False if too_large else None)

    def _ask_for_unpacked(self, request: DownloadRequest, fetched: RequestResult) -> None:
        """Ask for files that are listed and not packed, because another file has their name; such servers leave out
        what a request lists with the hash that they told themselves. What never is packed is given up by its hour."""
        held = {record.key for record in self._held if record.present}
        places: dict[DownloadRequest, set[str]] = {}
        for key in fetched.unpacked - held - self.result.fetched_files.keys():
            stream, moment = place_of_key(key) or ("", request.window.start)
            known = request.covers(moment, stream)
            place = DownloadRequest(request.participant, _hour_of(moment), (stream,)) if known else request
            places.setdefault(place, set()).add(key)
        for place, keys in places.items():
            told = {entry.key: entry.value for name, entry in fetched.entries if place.covers(name.time, name.stream)}
            missing, before = keys, 0
            while missing and len(missing) != before:  # as long as each request brings another one
                before = len(missing)
                again = self._fetch(place, told)
                told |= {entry.key: entry.value for _, entry in again.entries}
                missing = keys - self.result.fetched_files.keys()
            if missing:
                damage = [error for _, error in again.damaged]
                self._give_up(place, again.failure or next(iter(damage), UnpackedFileError(len(missing))))

    def refuse(self, key: str) -> None:
        """Take back a file that was accepted with another hash than the server lists, and leave its hour open."""
        fetched_file = self.result.fetched_files.pop(key)
        self.result.mislisted.discard(key)
        self._downloader.discard(fetched_file)
        place = DownloadRequest(
            fetched_file.member.participant, _hour_of(fetched_file.member.time), (fetched_file.member.stream,)
        )
        self._give_up(place, CountMismatchError(fetched_file.member))

    def _ask_again(self, request: DownloadRequest, firsts: Sequence[Damage], *, compressed: bool | None = None) -> None:
        """Ask once more, in one request, for members that came damaged; give up the hours of those that fail again."""
        registry = self._registry(request)
        if registry_size(registry) > self._policy.registry_bytes and (halves := request.halves()):
            for half in halves:
                if inside := [one for one in firsts if half.covers(one[0].time, one[0].stream)]:
                    self._ask_again(half, inside, compressed=compressed)
            return
        again = self._fetch(request, registry, md5=True, compressed=compressed)
        mismatches = {
            error.fetched_file.key: error.fetched_file for _, error in firsts if isinstance(error, HashMismatchError)
        }
        for name, error in again.damaged:
            if not self._accept(error, mismatches):
                self._give_up(_only(request, name), error)
        back = [fetched_file.member for fetched_file in again.fetched_files] + [name for name, _ in again.damaged]
        places = {(name.folder, name.time) for name in back}
        for name, first in firsts:
            if (name.folder, name.time) not in places:
                self._give_up(_only(request, name), again.failure or first)
        for fetched_file in mismatches.values():
            self._downloader.discard(fetched_file)

    def _accept(self, error: BeiweError, earlier: Mapping[str, FetchedFile]) -> bool:
        """Whether a file is taken although its hash was wrong again: if the same content came twice."""
        if not isinstance(error, HashMismatchError):
            return False
        first, second = earlier.get(error.fetched_file.key), error.fetched_file
        if first is None or first.staged.sha256 != second.staged.sha256:
            self._downloader.discard(second)
            return False
        logger.warning(
            "Participant %s, %s, %s: a file came twice with the same content, and another hash than the server lists; "
            "it is stored. If it stays so, tell the server's operators.",
            second.member.participant,
            second.member.stream,
            second.member.time.isoformat(),
        )
        self._take([second])
        self.result.mislisted.add(second.key)
        return True

    def _give_up(self, request: DownloadRequest, error: BeiweError) -> None:
        self.result.failures[request] = bare(error)


def _only(request: DownloadRequest, name: MemberName) -> DownloadRequest:
    """The request of one member's hour and stream."""
    return DownloadRequest(request.participant, _hour_of(name.time), (name.stream,))


def _hour_of(moment: datetime) -> Window:
    """The full hour around a bin time."""
    hour = moment.replace(minute=0, second=0)
    return Window(hour, hour + _HOUR)


def _around(request: DownloadRequest, names: Sequence[MemberName]) -> DownloadRequest:
    """The hours and streams of a request in which the members lie."""
    hours = [name.time.replace(minute=0, second=0) for name in names]
    streams = {name.stream for name in names}
    return DownloadRequest(
        request.participant,
        Window(min(hours), max(hours) + _HOUR),
        tuple(stream for stream in request.streams if stream in streams),
    )
