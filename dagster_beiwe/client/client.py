"""The Beiwe data-access API as Python methods: one per endpoint, plus look-ups of studies."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date, datetime
from types import TracebackType
from typing import Any, TypeVar

from typing_extensions import Self

from dagster_beiwe.client import answers
from dagster_beiwe.client.analyses import columns_with_results, read_analyses
from dagster_beiwe.client.capabilities import ROUTES, RouteProbe, ServerCapabilities
from dagster_beiwe.client.downloads import NO_DATA, Download, check_participants, download_form
from dagster_beiwe.client.http import Request, Traffic, Transport
from dagster_beiwe.client.json_bodies import HISTORY_LIMIT, OBJECTS_LIMIT, parse_json, parse_objects, writable
from dagster_beiwe.client.server_streams import ServerStreams
from dagster_beiwe.client.statistics_query import batches, date_options
from dagster_beiwe.client.studies import StudyLookups
from dagster_beiwe.client.website import export_study_settings
from dagster_beiwe.credentials import Credentials, host_of
from dagster_beiwe.environment import BEIWE_PASSWORD, BEIWE_URL, BEIWE_USERNAME
from dagster_beiwe.errors import (
    BadAnswerError,
    NotFoundError,
    RouteMissingError,
    ServerFailedError,
)
from dagster_beiwe.ids import check_study_id
from dagster_beiwe.retries import HttpPolicy
from dagster_beiwe.streams import check_streams
from dagster_beiwe.windows import Window

logger = logging.getLogger("dagster_beiwe")

_T = TypeVar("_T")


class BeiweClient(StudyLookups):
    """Talks to one Beiwe server with one researcher's keys; knows nothing of Dagster, files, or encryption.

    Several threads may use it at once. Every method raises a ``ServerError`` that says what happened, after the retries
    of ``policy``. Malformed arguments raise a ``ConfigurationError`` before anything is sent, because the server does
    not explain its refusals. ``sleep`` waits between retries, in seconds::

        with BeiweClient(credentials_from_env()) as client:
            for study_id, name in client.studies().items():
                print(name, len(client.participants(study_id)))
    """

    def __init__(
        self,
        credentials: Credentials,
        *,
        policy: HttpPolicy | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.credentials = credentials
        self._transport = Transport(credentials.url, policy=policy or HttpPolicy(), sleep=sleep)
        self._probe = RouteProbe(self._transport)
        self._streams = ServerStreams(self._transport, self._request)

    def __repr__(self) -> str:
        return f"BeiweClient({self.credentials!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections. The client may be used again afterwards."""
        self._transport.close()

    @property
    def policy(self) -> HttpPolicy:
        """How patient this client is."""
        return self._transport.policy

    @property
    def traffic(self) -> Traffic:
        """Requests, retries and bytes so far."""
        return self._transport.traffic

    def capabilities(self) -> ServerCapabilities:
        """What the server can do. Requests each route once per client, without keys."""
        return self._probe.all()

    def supports(self, capability: str, *, otherwise: bool | None = None) -> bool:
        """Whether the server has one capability (a field of ``ServerCapabilities``); requests that route only.

        If the server fails to say so, returns ``otherwise``, or raises ``ServerFailedError`` if that is not given.
        """
        return self._probe.supports(capability, otherwise=otherwise)

    # Streams

    def streams(self, study_id: str) -> tuple[str, ...]:
        """Every stream that the server has, sorted, including streams outside the catalog.

        Requested once per client, of any study. If no response lists them, returns the catalog's streams.
        """
        check_study_id(study_id)
        return self._streams.all(study_id)

    def choose_streams(self, study_id: str, wanted: Iterable[str] = ()) -> tuple[str, ...]:
        """The wanted streams that the server has, or all that it has if none is named. Logs once what it lacks.

        Raises ``UnknownStreamError`` for a name that is neither the server's nor in the catalog, and if the server has
        none of the wanted streams.
        """
        return self._streams.choose(check_study_id(study_id), check_streams(wanted))

    def refused_streams(self, study_id: str, participant: str, streams: Iterable[str]) -> tuple[str, ...]:
        """The streams for which get-data responds with 404, found by splitting the list; left out from now on.

        Empty if it is the study or the participant that the server does not have.
        """

        def accepts(names: tuple[str, ...]) -> bool:
            try:
                with self.get_data(study_id, participants=[participant], streams=names, window=NO_DATA) as download:
                    return any(download)
            except NotFoundError:
                return False

        return self._streams.refused(accepts, check_streams(streams))

    def reported_streams(self, study_id: str) -> tuple[str, ...]:
        """The streams that the server lists; raises ``RouteMissingError`` if no response lists them."""
        return self._streams.reported(check_study_id(study_id))

    @property
    def uncounted_streams(self) -> frozenset[str]:
        """Streams that the daily statistics turned out not to count."""
        return self._streams.uncounted

    # Keys and studies

    def check_credentials(self) -> None:
        """Return if the keys are valid; raises ``AccessDeniedError`` if not.

        Lists the studies on older servers, which requires valid keys, too.
        """
        if not self.supports("check_credentials", otherwise=False):
            self.studies()
            return
        route = ROUTES["check_credentials"]
        if b"valid" not in self._transport.read(self._request(route))[:200]:
            raise BadAnswerError(
                f"{route} did not confirm the keys, although it responded with status 200. The keys were not checked. "
                f"Check that {BEIWE_URL} is a Beiwe server.",
                status=200,
            )

    @property
    def server(self) -> str:
        """Host and port of the server."""
        return host_of(self._transport.base_url)

    def studies(self) -> dict[str, str]:
        """{study id: study name} of all studies that the keys have access to, also stopped ones, sorted by name."""
        return answers.studies_from(*self._json("get-studies/v1"))

    # One study

    def participants(self, study_id: str) -> list[str]:
        """All participant ids of a study, sorted, including retired, deleted, and never registered participants.

        Malformed ids, which could lead out of a folder, are left out with a warning.
        """
        ids, refused = self.participant_ids(study_id)
        if refused:
            logger.warning(
                "The server lists %d participants of study %s with malformed ids. They are left out.", refused, study_id
            )
        return ids

    def participant_ids(self, study_id: str) -> tuple[list[str], int]:
        """The same without the warning, and the number of malformed ids that were left out."""
        form = {"study_id": check_study_id(study_id)}
        route = ROUTES["participant_ids"] if self.supports("participant_ids", otherwise=False) else "get-users/v1"
        return answers.participants_from(*self._json(route, form))

    def participant_table(self, study_id: str) -> list[dict[str, Any]]:
        """One object per participant that is not deleted, sorted by id; times are in the study's zone, with offset.

        Columns differ by server version and study. Interventions and custom fields are among them under their free
        names, and may shadow one another.
        """
        form = {"study_id": check_study_id(study_id), "data_format": "json"}
        return answers.table_from(*self._json(ROUTES["participant_table"], form))

    def settings(self, study_id: str, *, study_pk: int | None = None) -> dict[str, Any]:
        """``device_settings``, ``surveys``, ``interventions`` and, on newer servers, ``study_time_zone``.

        On servers before 2025-03 they come from the website, which requires user name and password in the credentials
        and ``study_pk``, the study's number in the addresses of the website (``.../view_study/12``), because no
        endpoint returns it. Raises ``RouteMissingError`` without it.
        """
        check_study_id(study_id)
        if self.supports("settings", otherwise=True):
            return answers.settings_from(*self._json(ROUTES["settings"], {"study_id": study_id}))
        if study_pk is None:
            raise RouteMissingError(
                f"This server lacks {ROUTES['settings']}, because it is older than 2025-03. The settings were not "
                f"read. Pass study_pk, the study's number in the addresses of the website, and set {BEIWE_USERNAME} "
                f"and {BEIWE_PASSWORD}."
            )
        return export_study_settings(self._transport, self.credentials, study_pk)

    def interventions(self, study_id: str) -> dict[str, Any]:
        """{participant: {survey id: {intervention: date or None}}}, only those that survey schedules use."""
        return self._study_object("interventions", study_id)

    def survey_history(self, study_id: str) -> dict[str, Any]:
        """{survey id: [{``archive_start``, ``survey_json``}, ...]}, oldest first, deleted surveys included."""
        return self._study_object("survey_history", study_id)

    def data_quantities(self, study_id: str) -> dict[str, dict[str, int]]:
        """{participant: {stream: bytes}} over all time, every participant and stream, 0 where there is nothing."""
        form = {"study_id": check_study_id(study_id)}
        found = answers.quantities_from(*self._json(ROUTES["data_quantities"], form))
        self._streams.learn(name for counts in found.values() for name in counts)
        return found

    def summary_statistics(
        self,
        study_id: str,
        *,
        start_date: date | None = None,
        end_date: date | None = None,
        participants: Iterable[str] = (),
        streams: Iterable[str] = (),
    ) -> list[answers.DailyBytes]:
        """Bytes per participant, day (of the zone that the study had when it was counted) and stream, sorted by
        participant and day.

        Both dates are inclusive; no participants and no streams mean all of them. Long lists of participants take
        several requests. Days on which only an unchunked stream arrived may lag behind. Streams that the server does
        not count are left out: see ``uncounted_streams``.
        """
        query = date_options(start_date, end_date)
        ids = check_participants(wanted) if (wanted := tuple(participants)) else ()
        names = self._streams.named(check_study_id(study_id), streams) or self.streams(study_id)
        route = ROUTES["summary_statistics"]
        found: list[answers.DailyBytes] = []
        for batch in batches(ids) or [""]:
            options = {**query, "participant_ids": batch} if batch else query
            found += self._streams.statistics(
                study_id, names, options, lambda rows: answers.daily_bytes_from(rows, route, names)
            )
        return sorted(found, key=lambda record: (record.participant, record.day))

    def forest_tasks(self, study_id: str) -> list[dict[str, Any]]:
        """The runs of Forest's analyses on the server, as sent. Raises ``RouteMissingError`` before July 2026."""
        form = {"study_id": check_study_id(study_id)}
        return answers.objects_from(*self._json(ROUTES["forest_tasks"], form))

    def forest_columns(self, study_id: str) -> tuple[str, ...]:
        """The columns of the daily statistics in which Forest's analyses left results (``jasmine_home_duration``)."""
        return columns_with_results(self._streams.rows, check_study_id(study_id))

    def forest_statistics(
        self, study_id: str, columns: Iterable[str], *, participants: Iterable[str] = ()
    ) -> list[answers.DailyAnalyses]:
        """Results of Forest's analyses per participant and day, for days that have any, sorted by participant and day.

        ``columns`` are some of ``forest_columns``. No participants mean all of them.
        """
        ids = check_participants(wanted) if (wanted := tuple(participants)) else ()
        found: list[answers.DailyAnalyses] = []
        for batch in batches(ids) or [""]:
            options = {"participant_ids": batch} if batch else {}
            found += read_analyses(self._streams.rows, check_study_id(study_id), columns, options)
        return sorted(found, key=lambda record: (record.participant, record.day))

    # One participant

    def upload_history(self, participant: str) -> list[answers.Upload]:
        """Every file that the participant's phone sent, oldest first."""
        return self.read_uploads(participant, list)

    def read_uploads(self, participant: str, read: Callable[[Iterator[answers.Upload]], _T]) -> _T:
        """What ``read`` makes of the upload history, which may be long. If the body breaks off, ``read`` is called
        again with a new one."""
        return self._long_history("upload_history", participant, lambda rows, at: read(answers.uploads_from(rows, at)))

    def heartbeat_history(self, participant: str) -> list[datetime]:
        """Times (UTC) at which the app reported that it runs, oldest first."""
        return self._long_history("heartbeat_history", participant, answers.moments_from)

    def version_history(self, participant: str) -> list[answers.AppVersion]:
        """Versions of app and system, one entry per change, oldest first."""
        return self._long_history("version_history", participant, answers.versions_from)

    def device_status_history(self, participant: str) -> list[dict[str, Any]]:
        """Reports of the app about itself, as sent; empty unless an experiment is enabled for the participant."""
        return self.read_device_status(participant, list)

    def read_device_status(self, participant: str, read: Callable[[Iterator[dict[str, Any]]], _T]) -> _T:
        """What ``read`` makes of these reports, as ``read_uploads`` does."""

        def checked(rows: Iterator[dict[str, Any]], route: str) -> _T:
            return read(writable(row, route) for row in rows)

        return self._long_history("device_status_history", participant, checked, most=OBJECTS_LIMIT)

    def notification_history(self, participant: str) -> dict[str, Any]:
        """{survey id: [notification, ...]} with times in UTC."""
        return answers.object_from(*self._history("notification_history", participant, utc="true"))

    def file_hashes(self, participant: str) -> dict[str, Any] | None:
        """{file name: hash}, or None if the server fails.

        Do not build on it: the endpoint fails with 500 for practically every participant with data (servers up to
        2026-03).
        """
        try:
            return answers.object_from(*self._history("file_hashes", participant))
        except ServerFailedError:
            return None

    # Files

    @contextmanager
    def get_data(
        self,
        study_id: str,
        *,
        participants: Iterable[str],
        streams: Iterable[str],
        window: Window,
        registry: Mapping[str, str] | None = None,
        compressed: bool | None = None,
    ) -> Iterator[Download]:
        """The archive of all files of the participants and streams whose hour lies in the window.

        No streams mean every stream that the server has; at least one participant must be named. ``registry`` lists
        files to leave out: {storage path without ``CHUNKED_DATA/``: base64 SHA-1 of the plain file held}.
        ``compressed`` chooses get-data/v2 (zstd) or v1; None chooses v2 if the server has it. Opening is retried. A
        body that breaks off is not: it raises ``ConnectionFailedError`` while it is read. Read fast, because what is
        not read yet waits in the server's memory.
        """
        names = [streams] if isinstance(streams, str) else list(streams)
        form = download_form(study_id, participants=participants, streams=names, window=window, registry=registry)
        self._streams.named(study_id, names)
        if compressed is None:
            compressed = self.supports("data_v2", otherwise=False)
        request = self._request("get-data/v2" if compressed else "get-data/v1", form)
        with self._transport.open(request) as response:
            yield Download(self._transport, request, response)

    def _request(
        self, route: str, form: Mapping[str, str] | None = None, query: Mapping[str, str] | None = None
    ) -> Request:
        keys = {"access_key": self.credentials.access_key, "secret_key": self.credentials.secret_key}
        return Request(path=route, form={**keys, **(form or {})}, query=query or {})

    def _json(
        self, route: str, form: Mapping[str, str] | None = None, query: Mapping[str, str] | None = None
    ) -> tuple[Any, str]:
        """The parsed response, and the route's name for messages about it."""
        return parse_json(self._transport.read(self._request(route, form, query)), route), route

    def _study_object(self, capability: str, study_id: str) -> dict[str, Any]:
        return answers.object_from(*self._json(ROUTES[capability], {"study_id": check_study_id(study_id)}))

    def _history(self, capability: str, participant: str, **form: str) -> tuple[Any, str]:
        (checked,) = check_participants([participant])
        return self._json(ROUTES[capability], {"participant_id": checked, **form})

    def _long_history(
        self,
        capability: str,
        participant: str,
        read: Callable[[Iterator[dict[str, Any]], str], _T],
        *,
        most: int = HISTORY_LIMIT,
    ) -> _T:
        (checked,) = check_participants([participant])
        route = ROUTES[capability]
        request = self._request(route, {"participant_id": checked})
        return self._transport.consume(request, lambda chunks: read(parse_objects(chunks, route, most=most), route))
