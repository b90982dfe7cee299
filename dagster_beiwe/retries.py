"""How often the package tries again, and how long it waits: every such number, for every caller.

Which errors are worth another attempt is an attribute of their class: see ``transient`` in ``errors``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from dagster_beiwe.errors import ConfigurationError, ServerError, ServerFailedError


@dataclass(frozen=True, kw_only=True)
class HttpPolicy:
    """How patient the client is.

    ``attempts`` includes the first one. Waits double from ``backoff_first_seconds`` up to ``backoff_cap_seconds``; each
    is shortened by a random share of up to ``jitter`` (0 to 1), so that clients do not all return at once. A
    ``Retry-After`` header is honored up to ``retry_after_cap_seconds``. The client retries transient errors: failed
    connections, and statuses 429, 502, 503, and 504. It retries 500 only with ``retry_server_errors``, because on Beiwe
    servers a 500 mostly repeats itself. ``read_timeout_seconds`` is the longest silence allowed; proxies in front of
    the server give up after 60 to 120 s.

    Two limits bound the memory that a response can take: ``json_limit_bytes`` for one that is read whole (the largest
    known has 3 MB), and ``array_limit_bytes`` for long arrays, which are read object by object (a year of daily counts
    of a hundred participants has 26 MB).
    """

    connect_timeout_seconds: float = 10.0
    read_timeout_seconds: float = 150.0
    attempts: int = 5
    backoff_first_seconds: float = 1.0
    backoff_cap_seconds: float = 60.0
    retry_after_cap_seconds: float = 300.0
    jitter: float = 0.5
    retry_server_errors: bool = False
    json_limit_bytes: int = 16 * 1024 * 1024
    array_limit_bytes: int = 128 * 1024 * 1024

    def __post_init__(self) -> None:
        limits = ("json_limit_bytes", "array_limit_bytes")
        for name in ("connect_timeout_seconds", "read_timeout_seconds", "attempts", *limits):
            if getattr(self, name) <= 0:
                raise ConfigurationError(f"{name} must be above 0, not {getattr(self, name)}.")
        for name in ("backoff_first_seconds", "backoff_cap_seconds", "retry_after_cap_seconds"):
            if getattr(self, name) < 0:
                raise ConfigurationError(f"{name} must be 0 or more, not {getattr(self, name)}.")
        if not 0 <= self.jitter <= 1:
            raise ConfigurationError(f"jitter must be between 0 and 1, not {self.jitter}.")

    def wait_seconds(self, failures: int, *, asked_seconds: float | None, chance: float) -> float:
        """How long to wait after the given number of failures; ``chance`` is a random number from 0 to 1."""
        backoff = min(self.backoff_first_seconds * 2.0 ** min(failures - 1, 60), self.backoff_cap_seconds)
        backoff *= 1 - self.jitter * chance
        if asked_seconds is None:
            return backoff
        return max(backoff, min(asked_seconds, self.retry_after_cap_seconds))

    def retries(self, error: ServerError) -> bool:
        """Whether the same request may succeed later."""
        return error.transient or (self.retry_server_errors and isinstance(error, ServerFailedError))


HTTP_IN_SENSORS: Final = HttpPolicy(connect_timeout_seconds=5, read_timeout_seconds=20, attempts=1)
"""Dagster gives a sensor 60 s: enough for two such requests and Dagster's own work."""

HTTP_WHILE_LOADING: Final = HttpPolicy(connect_timeout_seconds=3, read_timeout_seconds=10, attempts=1)
"""While a code location loads, somebody waits, and there is a last known answer."""

HTTP_IN_COMMANDS: Final = HttpPolicy(connect_timeout_seconds=5, read_timeout_seconds=30, attempts=2)
"""Somebody waits at the terminal, and can run the command again."""

DOWNLOAD_ATTEMPTS: Final = 2
"""For a request whose archive breaks off, before it is split; the halves are requested once each."""

DOWNLOAD_FAILURES: Final = 200
"""After so many failures, what fails is not split any more: enough to find some fifteen bad hours of a month."""

DOWNLOAD_FAILURES_IN_A_ROW: Final = 32
"""The same for failures in a row: more than it takes to split three centuries of all streams down to one hour."""

COMPARISON_FAILURES_IN_A_ROW: Final = 6
"""After so many, a comparison that fails is not split any more."""

COMPARISON_CONNECTION_FAILURES: Final = 3
"""After so many in a row the server is out of reach, since the client makes several attempts each time."""

WINDOW_COMMIT_ATTEMPTS: Final = 3
"""For a window that another run commits at the same time: it is downloaded again for each attempt."""

TABLE_COMMIT_ATTEMPTS: Final = 5
"""For a table that another run commits at the same time: it is only written again."""

SNAPSHOT_ATTEMPTS: Final = 3
"""If a collection removes what the snapshot was to keep, a newer state is taken."""

CREATE_ATTEMPTS: Final = 3
"""For the creation of a record, as long as nobody can tell whether it was created."""

OBJECT_CONFLICT_ATTEMPTS: Final = 5
OBJECT_CONFLICT_FIRST_WAIT_SECONDS: Final = 0.1
"""If S3 reports that another request for the same object is on its way; the wait doubles each time."""

STEP_RETRIES: Final = 2
STEP_FIRST_WAIT_SECONDS: Final = 30
"""For Dagster steps: the client has waited and retried by then. The wait doubles each time."""

CHANGE_REQUESTED_AGAIN_SECONDS: Final = 6 * 3600
"""The changes sensor requests a window again for the same change this long after its last run, which may have failed.
"""

PARTICIPANT_REQUESTED_AGAIN_SECONDS: Final = 6 * 3600
"""The histories sensor requests a participant again this long after a run that did not record it."""
