"""Find out what a server can do by requesting each route, because no endpoint reports a version.

The response to an empty form without keys is an empty 400 if the route exists, and an HTML 404 if it does not.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, fields

from dagster_beiwe.client.http import Request, Transport
from dagster_beiwe.client.statuses import error_for_status
from dagster_beiwe.environment import BEIWE_URL
from dagster_beiwe.errors import BadAnswerError, RequestRefusedError, ServerFailedError

logger = logging.getLogger("dagster_beiwe")

ROUTES = {
    "check_credentials": "check-my-credentials/v1",
    "data_v2": "get-data/v2",
    "participant_ids": "get-participant-ids/v1",
    "participant_table": "get-participant-table-data/v1",
    "settings": "get-study-settings/v1",
    "interventions": "get-interventions/v1",
    "survey_history": "get-survey-history/v1",
    "data_quantities": "get-participant-data-quantities/v1",
    "summary_statistics": "get-summary-statistics/v1",
    "upload_history": "get-participant-upload-history/v1",
    "heartbeat_history": "get-participant-heartbeat-history/v1",
    "version_history": "get-participant-version-history/v1",
    "device_status_history": "get-participant-device-status-history/v1",
    "notification_history": "get-participant-notification-history/v1",
    "file_hashes": "get-participant-file-hashes/v1",
    "forest_tasks": "get-forest-tasks/v1",
}
"""Routes that some servers lack, by the name of the capability; all have get-studies, get-users and get-data/v1."""


@dataclass(frozen=True, kw_only=True)
class ServerCapabilities:
    """Which endpoints the server has; one field per route that was added after 2021."""

    check_credentials: bool
    data_v2: bool
    participant_ids: bool
    participant_table: bool
    settings: bool
    interventions: bool
    survey_history: bool
    data_quantities: bool
    summary_statistics: bool
    upload_history: bool
    heartbeat_history: bool
    version_history: bool
    device_status_history: bool
    notification_history: bool
    file_hashes: bool
    """The route fails for most participants, but was added with a change of get-data: servers that have it leave out
    files that the request lists by hash, and older ones send everything."""
    forest_tasks: bool

    @property
    def missing(self) -> tuple[str, ...]:
        """Names of the capabilities that the server lacks."""
        return tuple(f.name for f in fields(self) if not getattr(self, f.name))


class RouteProbe:
    """Requests each route once and remembers the response. Several threads may use it."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._lock = threading.Lock()
        self._routes = {capability: threading.Lock() for capability in ROUTES}
        self._known: dict[str, bool] = {}
        self._failed: set[str] = set()
        self._logged = False

    def supports(self, capability: str, *, otherwise: bool | None = None) -> bool:
        """Whether the server has the route of a capability (a key of ``ROUTES``).

        A server may fail instead of saying whether it has a route. With ``otherwise``, that is not an error: it is
        returned then, and from now on, so that the failure costs time only once.
        """
        with self._routes[capability]:
            if otherwise is not None and capability in self._failed:
                return otherwise
            if capability not in self._known:
                try:
                    self._known[capability] = self._exists(ROUTES[capability])
                except ServerFailedError as error:
                    if otherwise is None:
                        raise
                    self._failed.add(capability)
                    logger.warning(
                        "The server failed to say whether it has %s. This session assumes that it %s. %s",
                        ROUTES[capability],
                        "does" if otherwise else "does not",
                        error,
                    )
                    return otherwise
            return self._known[capability]

    def all(self) -> ServerCapabilities:
        """Every capability, requesting those not yet known. Logs them once."""
        found = ServerCapabilities(**{name: self.supports(name) for name in ROUTES})
        with self._lock:
            first, self._logged = not self._logged, True
        if first:
            lacks = f"lacks {', '.join(found.missing)}" if found.missing else "has every endpoint known to this client"
            logger.info("The Beiwe server %s.", lacks)
        return found

    def _exists(self, route: str) -> bool:
        answer = self._transport.answer(Request(path=route))
        if answer.status == 404:
            return False
        if answer.status == 400 and not answer.has_body:
            return True
        what = f"{route} at the server in {BEIWE_URL}"
        if answer.status == 400:
            raise RequestRefusedError(
                f"{what} refused the request with status 400 and a page: the server does not accept this host name. "
                f"Correct {BEIWE_URL}.",
                status=400,
            )
        raise error_for_status(answer, what) or BadAnswerError(
            f"{what} accepted a request without keys, so this is not a Beiwe server. No key was sent. Correct "
            f"{BEIWE_URL}.",
            status=200,
        )
