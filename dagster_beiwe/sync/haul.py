"""Bring in a piece whatever it takes: repeat, halve, and leave alone only what really does not come."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from dagster_beiwe.errors import BeiweError, RequestTooLargeError
from dagster_beiwe.lake import Arrival, FileRecord
from dagster_beiwe.names import MemberName
from dagster_beiwe.sync.facts import FetchPolicy, Problem
from dagster_beiwe.sync.fetch import Fetched, Fetcher, HashMismatchError
from dagster_beiwe.sync.pairing import base64_of
from dagster_beiwe.sync.pieces import Piece, registry_of, registry_size
from dagster_beiwe.windows import Window

logger = logging.getLogger("dagster_beiwe")

_HOPELESS = 32
"""More failures in a row than it takes to halve three centuries of all streams down to one hour and stream."""


@dataclass
class Haul:
    """What was brought in. ``missing`` are keys of held files that the server no longer has."""

    arrivals: dict[str, Arrival] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    missing: set[str] = field(default_factory=set)
    downloaded_bytes: int = 0


class Hauler:
    """Fetches pieces and copes with what fails.

    A piece that breaks off is asked for again, without what has already come; then it is halved. ``held`` are the
    records of what the lake holds; with ``relist`` the server is asked for everything, to see what it no longer has,
    and only then ``missing`` is known. After many failures in a row without a success the rest is given up as it is.
    """

    def __init__(
        self,
        fetcher: Fetcher,
        policy: FetchPolicy,
        held: Sequence[FileRecord],
        *,
        haul: Haul | None = None,
        relist: bool = False,
    ) -> None:
        self._fetcher, self._policy, self._held, self._relist = fetcher, policy, held, relist
        self._failures_in_a_row = 0
        self.haul = haul or Haul()

    def bring(self, piece: Piece) -> None:
        """Add a piece to the haul. Raises errors that no smaller request would escape."""
        self._bring(piece, attempts=self._policy.attempts)

    def _bring(self, piece: Piece, *, attempts: int) -> None:
        halves = piece.halves()
        if halves and registry_size(self._registry(piece)) > self._policy.registry_bytes:
            failure: BeiweError | None = None
        else:
            failure = self._try(piece, attempts=attempts if halves else self._policy.attempts)
            if failure is None:
                return
        if failure and self._failures_in_a_row >= _HOPELESS:
            self._give_up(piece, failure)
        elif halves:
            for half in halves:
                self._bring(half, attempts=1)
        elif failure:
            self._give_up(piece, failure)

    def _try(self, piece: Piece, *, attempts: int) -> BeiweError | None:
        """Ask for a piece as it is; the failure if it does not come."""
        failure: BeiweError | None = None
        for _ in range(attempts):
            fetched = self._fetch(piece, self._registry(piece))
            failure = fetched.failure
            if isinstance(failure, RequestTooLargeError) and not piece.halves():
                fetched = self._fetch(piece, {})
                failure = fetched.failure
            if failure is None:
                self._failures_in_a_row = 0
                self._look_after(piece, fetched)
                return None
            self._failures_in_a_row += 1
            if isinstance(failure, RequestTooLargeError):
                break
        return failure

    def _registry(self, piece: Piece) -> dict[str, str]:
        """What not to send: files held, and those that came before an earlier try broke off."""
        held = {} if self._relist else registry_of(self._held, piece)
        for arrival in self.haul.arrivals.values():
            if piece.covers(arrival.member.time, arrival.member.stream):
                held[arrival.key] = base64_of(arrival.staged.sha1)
        return held

    def _fetch(self, piece: Piece, registry: dict[str, str], *, compressed: bool | None = None) -> Fetched:
        fetched = self._fetcher.fetch(piece, registry, compressed=compressed)
        self.haul.downloaded_bytes += fetched.downloaded_bytes
        self._take(fetched.arrivals)
        return fetched

    def _take(self, arrivals: Iterable[Arrival]) -> None:
        for arrival in arrivals:
            earlier = self.haul.arrivals.get(arrival.key)
            if earlier is not None:
                self._fetcher.discard(earlier)
            self.haul.arrivals[arrival.key] = arrival

    def _look_after(self, piece: Piece, fetched: Fetched) -> None:
        """Ask again for members that came damaged or too large, and note what the server no longer has."""
        if self._relist:
            here = {record.key for record in self._held if piece.covers(record.moment, record.stream)}
            self.haul.missing |= here - fetched.listed - self.haul.arrivals.keys()
        for name in fetched.oversized:
            small = _only(piece, name)
            again = self._fetch(small, self._registry(small), compressed=False)
            if again.failure:
                self._give_up(small, again.failure)
            for _, error in again.damaged:
                self._give_up(small, error)
        for name, error in fetched.damaged:
            small = _only(piece, name)
            again = self._fetch(small, self._registry(small))
            if again.failure:
                self._give_up(small, again.failure)
            for _, second in again.damaged:
                self._judge(small, error, second)
            if isinstance(error, HashMismatchError) and error.arrival is not self.haul.arrivals.get(error.arrival.key):
                self._fetcher.discard(error.arrival)

    def _judge(self, piece: Piece, first: BeiweError, second: BeiweError) -> None:
        """Store a file whose hash was wrong twice over the same content; give up anything else."""
        if isinstance(second, HashMismatchError):
            if isinstance(first, HashMismatchError) and _same_content(first.arrival, second.arrival):
                logger.warning("A file came twice with the same content, and another hash than listed: it is stored.")
                self._take([second.arrival])
                return
            self._fetcher.discard(second.arrival)
        self._give_up(piece, second)

    def _give_up(self, piece: Piece, error: BeiweError) -> None:
        self.haul.problems.append(
            Problem(
                participant=piece.participant,
                window=piece.window,
                streams=piece.streams,
                error=type(error).__name__,
                message=str(error),
            )
        )


def _only(piece: Piece, name: MemberName) -> Piece:
    """The piece of one member's hour and stream."""
    hour = name.time.replace(minute=0, second=0)
    return Piece(piece.participant, Window(hour, hour + timedelta(hours=1)), (name.stream,))


def _same_content(first: Arrival, second: Arrival) -> bool:
    return (first.key, first.staged.sha256) == (second.key, second.staged.sha256)
