"""Which streams and fields a server has. It lists them or refuses what it lacks; both are remembered.

Releases of the server add and remove streams, and forks have their own, so no list of ours decides.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from dagster_beiwe.client.answers import quantities_from
from dagster_beiwe.client.capabilities import ROUTES
from dagster_beiwe.client.http import Request, Transport
from dagster_beiwe.client.json_bodies import parse_json, parse_objects
from dagster_beiwe.client.statistics_query import ROW_FIELDS, ZONE_FIELD, count_field, streams_of_fields
from dagster_beiwe.errors import (
    BadAnswerError,
    NotFoundError,
    RedirectError,
    RequestRefusedError,
    RouteMissingError,
    ServerFailedError,
    UnknownStreamError,
)
from dagster_beiwe.streams import STREAM_NAMES, STREAMS, check_streams, is_stream_name, misspelled_streams

logger = logging.getLogger("dagster_beiwe")

_T = TypeVar("_T")

_TABLEAU_PAGE = "tableau/summary-statistics-wdc/v1"
"""A public page that lists the fields of the daily statistics, since May 2025."""

_UNAVAILABLE = (
    RouteMissingError,
    NotFoundError,
    RequestRefusedError,
    ServerFailedError,
    BadAnswerError,
    RedirectError,
)
"""Errors of one way to list the streams that the next way may not have."""


class ServerStreams:
    """Requests the streams of a server, and remembers them for the client's life. Several threads may use it.

    All studies of a server have the same streams, even without data. ``request`` makes a request with the client's keys
    from a route, a form, and a query.
    """

    def __init__(
        self, transport: Transport, request: Callable[[str, Mapping[str, str], Mapping[str, str]], Request]
    ) -> None:
        self._transport, self._request = transport, request
        self._lock = threading.Lock()
        self._reported: frozenset[str] = frozenset()
        self._asked: set[str] = set()
        self._refused: set[str] = set()
        self._refused_fields: set[str] = set()
        self._warned: set[str] = set()

    def learn(self, names: Iterable[str]) -> None:
        """Remember the whole list of streams from a response; an empty one is ignored."""
        given = set(names)
        usable = {name for name in given if is_stream_name(name)}
        with self._lock:
            self._reported = frozenset(usable) or self._reported
        if left_out := len(given) - len(usable):
            self._warn(f"The server has {left_out} data streams whose names cannot be folder names. They are left out.")
        if new := sorted(usable - STREAMS.keys()):
            self._warn(
                f"The server has data streams that this version does not describe: {', '.join(new)}. They are fetched "
                "and stored like the others."
            )

    def all(self, study_id: str, wanted: Iterable[str] = ()) -> tuple[str, ...]:
        """The streams of the server, sorted, as far as a response has listed them.

        If none does, those of the catalog and whatever is wanted, which get-data will refuse if need be.
        """
        for ask in (self._of_quantities, self._of_statistics, self._of_page):
            if self._reported or study_id in self._asked:
                break
            try:
                self.learn(ask(study_id))
            except _UNAVAILABLE as error:
                logger.debug("The server's streams are listed in another way: %s", error)
        with self._lock:
            self._asked.add(study_id)
            return tuple(sorted((self._reported or {*STREAM_NAMES, *wanted}) - self._refused))

    def reported(self, study_id: str) -> tuple[str, ...]:
        """The same; raises ``RouteMissingError`` if no response of the server lists them."""
        found = self.all(study_id)
        if not self._reported:
            raise RouteMissingError(
                "This server does not list its data streams: it is older than July 2024, or the study has no "
                "participant yet. The streams of the catalog are used instead."
            )
        return found

    def named(self, study_id: str, names: Iterable[str]) -> tuple[str, ...]:
        """Names of streams, checked. The server's own are requested only if one is not in the catalog."""
        found = check_streams(names)
        if all(name in STREAMS for name in found):
            return found
        return check_streams(found, available=self.all(study_id, found))

    def choose(self, study_id: str, wanted: tuple[str, ...]) -> tuple[str, ...]:
        """The wanted streams that the server has, or all of its streams if none is named. Warns once of what it lacks.

        Raises ``UnknownStreamError`` for a name that is neither the server's nor in the catalog, and if the server has
        none of the wanted streams.
        """
        available = self.all(study_id, wanted)
        names = check_streams(wanted, available={*available, *self._refused})
        missing = [name for name in names if name not in available]
        if names and len(missing) == len(names):
            raise UnknownStreamError(
                f"This server has none of the data streams {', '.join(missing)}. Nothing was requested. "
                f"It has: {', '.join(available)}. Correct the streams of the study."
            )
        if missing:
            self._warn_of_missing(missing)
        return tuple(name for name in names if name in available) or available

    def refused(self, accepts: Callable[[tuple[str, ...]], bool], streams: tuple[str, ...]) -> tuple[str, ...]:
        """The streams that get-data refuses, whatever the server lists; they are left out from now on.

        ``accepts`` says whether get-data accepts a request for some streams, or for all if none is named.
        """
        if not accepts(()):
            return ()
        found = tuple(_refused_of(accepts, streams))
        with self._lock:
            self._refused |= set(found)
        if found:
            self._warn_of_missing(found)
        return found

    def statistics(
        self,
        study_id: str,
        streams: Iterable[str],
        options: Mapping[str, str],
        read: Callable[[Iterator[dict[str, Any]]], list[_T]],
    ) -> list[_T]:
        """Rows of the daily statistics, without the fields that the server turns out to lack."""
        fields = [*ROW_FIELDS, ZONE_FIELD, *map(count_field, streams)]
        while True:
            with self._lock:
                left = [name for name in fields if name not in self._refused_fields]
            query = {"fields": ",".join(left), **options}
            try:
                return self.rows(study_id, query, lambda rows: read(self._noted(rows, fields)))
            except RequestRefusedError as error:
                refused = error.fields.intersection(left)
                if not refused or refused.intersection(ROW_FIELDS):
                    raise
                self._note_missing(refused)

    def _noted(self, rows: Iterator[dict[str, Any]], fields: Iterable[str]) -> Iterator[dict[str, Any]]:
        """The rows. A server may also omit fields that it lacks; all rows have the same fields."""
        for number, row in enumerate(rows):
            if not number:
                self._note_missing(set(fields) - row.keys() - set(ROW_FIELDS))
            yield row

    def _note_missing(self, fields: Collection[str]) -> None:
        with self._lock:
            new = sorted(set(fields) - self._refused_fields)
            self._refused_fields.update(new)
        if new:
            self._warn(f"The server's daily statistics lack {', '.join(new)}. The statistics are read without them.")

    @property
    def uncounted(self) -> frozenset[str]:
        """Streams that the daily statistics do not count."""
        with self._lock:
            return frozenset(streams_of_fields(self._refused_fields))

    def _of_quantities(self, study_id: str) -> Iterable[str]:
        answer = self._transport.read(self._request(ROUTES["data_quantities"], {"study_id": study_id}, {}))
        counts = quantities_from(parse_json(answer, ROUTES["data_quantities"]), ROUTES["data_quantities"])
        return {name for sizes in counts.values() for name in sizes}

    def _of_statistics(self, study_id: str) -> Iterable[str]:
        """One row, which has all fields if none are chosen."""
        rows: list[dict[str, Any]] = self.rows(study_id, {"limit": "1"}, list)
        return streams_of_fields(name for row in rows for name in row)

    def _of_page(self, study_id: str) -> Iterable[str]:
        page = self._transport.read(Request(path=f"{_TABLEAU_PAGE}/{study_id}", method="GET"))
        return streams_of_fields([page.decode("utf-8", errors="replace")])

    def rows(
        self, study_id: str, query: Mapping[str, str], read: Callable[[Iterator[dict[str, Any]]], list[_T]]
    ) -> list[_T]:
        """What ``read`` makes of the rows of the daily statistics that the options of ``query`` choose."""
        route = ROUTES["summary_statistics"]
        request = self._request(route, {"study_id": study_id}, query)
        return self._transport.consume(request, lambda chunks: read(parse_objects(chunks, route)))

    def _warn_of_missing(self, names: Iterable[str]) -> None:
        with self._lock:
            new = [name for name in names if name not in self._warned]
            self._warned.update(new)
        if not new:
            return
        hints = [f" Did you mean {meant!r} by {name!r}?" for name, meant in misspelled_streams(new).items()]
        self._warn(
            f"The server does not have the data streams {', '.join(new)}, or no longer has them. Their files stay in "
            f"the lake, and the other streams are fetched.{''.join(hints)}"
        )

    def _warn(self, text: str) -> None:
        with self._lock:
            first = text not in self._warned
            self._warned.add(text)
        if first:
            logger.warning("%s", text)


def _refused_of(
    accepts: Callable[[tuple[str, ...]], bool], streams: tuple[str, ...], *, refused: bool = False
) -> list[str]:
    """The refused streams, found by splitting the list. ``refused``: at least one of these is known to be refused."""
    if not streams or (not refused and accepts(streams)):
        return []
    middle = len(streams) // 2
    if not middle:
        return list(streams)
    first = _refused_of(accepts, streams[:middle])
    return first + _refused_of(accepts, streams[middle:], refused=not first)
