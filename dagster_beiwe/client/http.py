"""Send a request to the Beiwe server: check its status, retry it if waiting may help, read its body.

Nothing here knows an endpoint. ``statuses`` says what the server's statuses mean.
"""

from __future__ import annotations

import functools
import importlib.metadata
import logging
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NoReturn, TypeVar
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError

from dagster_beiwe.client.statuses import Answer, error_for_status
from dagster_beiwe.client.transport_failures import describe_failure
from dagster_beiwe.errors import (
    BadAnswerError,
    ConnectionFailedError,
    PermanentConnectionError,
    ServerBusyError,
    ServerError,
)
from dagster_beiwe.retries import HttpPolicy

logger = logging.getLogger("dagster_beiwe")

_T = TypeVar("_T")

ERROR_BODY_LIMIT_BYTES = 256 * 1024
"""Enough to drain the server's 169 kB error pages, so that the connection can be used again."""

_CHUNK_BYTES = 128 * 1024


class Traffic:
    """What a client has sent and received so far. Other threads may download while it is read."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests_sent = 0
        self._retries = 0
        self._bytes_received = self._bytes_sent = 0

    @property
    def requests_sent(self) -> int:
        """Requests sent, including retries and probes."""
        return self._requests_sent

    @property
    def retries(self) -> int:
        """Requests that repeated a failed one."""
        return self._retries

    @property
    def bytes_received(self) -> int:
        """Bytes of bodies received, without headers."""
        return self._bytes_received

    @property
    def bytes_sent(self) -> int:
        """Bytes of bodies sent, without headers."""
        return self._bytes_sent

    def add(self, *, requests_sent: int = 0, retries: int = 0, bytes_received: int = 0, bytes_sent: int = 0) -> None:
        """Add to the counts. Safe to call from several threads."""
        with self._lock:
            self._requests_sent += requests_sent
            self._retries += retries
            self._bytes_received += bytes_received
            self._bytes_sent += bytes_sent

    def __repr__(self) -> str:
        return (
            f"Traffic(requests_sent={self._requests_sent}, retries={self._retries}, "
            f"bytes_received={self._bytes_received}, bytes_sent={self._bytes_sent})"
        )


@dataclass(frozen=True, kw_only=True)
class Request:
    """One request. ``form`` and ``headers`` may hold secrets, so they are never shown, and it cannot be pickled."""

    path: str
    form: Mapping[str, str] = field(default_factory=dict, repr=False)
    query: Mapping[str, str] = field(default_factory=dict, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    method: str = "POST"

    def __reduce__(self) -> NoReturn:
        raise TypeError("A request cannot be pickled, because its keys would be readable in the pickle.")


@functools.cache
def user_agent() -> str:
    try:
        version = importlib.metadata.version("dagster-beiwe")
    except importlib.metadata.PackageNotFoundError:
        version = "0"
    return f"dagster-beiwe/{version}"


def _no_further_authentication(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """No authentication. Without this, ``requests`` would add what it finds in ~/.netrc."""
    return request


def _is_identity(response: requests.Response) -> bool:
    """Whether the body is not compressed; the request accepts "identity" only."""
    return response.headers.get("Content-Encoding", "").strip().lower() in ("", "identity")


class _Session(requests.Session):
    """Sees no redirects.

    Even if it must not follow them, ``requests`` reads their whole bodies and prepares a second request to the address,
    which fails with errors of its own if the address is malformed.
    """

    def get_redirect_target(self, resp: requests.Response) -> None:  # noqa: ARG002  # the signature is the base class's
        return None


class Body:
    """The body of a response on its way. Iterate over it once, in chunks of at least 64 KiB except the last.

    ``received_bytes`` counts what has been read so far. Whatever arrived before the connection broke is yielded before
    ``ConnectionFailedError`` is raised. An end without an error does not mean that the body is complete: some proxies
    hide that the server gave up.
    """

    def __init__(self, transport: Transport, request: Request, response: requests.Response) -> None:
        self._response, self._traffic, self._what = response, transport.traffic, transport.name_of(request)
        self.received_bytes = 0

    def __iter__(self) -> Iterator[bytes]:
        chunks: list[bytes] = []
        pending = 0
        failure: str | None = None
        try:
            for chunk in self._response.iter_content(_CHUNK_BYTES):
                self._traffic.add(bytes_received=len(chunk))
                chunks.append(chunk)
                pending += len(chunk)
                if pending >= _CHUNK_BYTES // 2:
                    self.received_bytes += pending
                    yield chunks[0] if len(chunks) == 1 else b"".join(chunks)
                    chunks, pending = [], 0
        except (OSError, HTTPError) as error:
            failure = describe_failure(error, while_reading=True).text
        if chunks:
            self.received_bytes += pending
            yield b"".join(chunks)
        if failure is not None:
            raise ConnectionFailedError(
                f"{self._what} did not send its whole response: {failure}. What arrived is incomplete. Send the "
                "request again; if this continues, request less at a time."
            )


class Transport:
    """Sends requests to one server, with one reused connection per thread.

    Redirects are never followed. Proxies and certificate bundles of the environment are used for https only: on
    loopback, keys travel in clear text and must not leave the machine. ``sleep`` is called with the seconds to wait
    between attempts.
    """

    def __init__(
        self,
        base_url: str,
        *,
        policy: HttpPolicy,
        sleep: Callable[[float], None] = time.sleep,
        traffic: Traffic | None = None,
    ) -> None:
        self.base_url = base_url
        self.policy = policy
        self.traffic = traffic or Traffic()
        self._sleep = sleep
        self._local = threading.local()
        self._lock = threading.Lock()
        self._sessions: list[requests.Session] = []

    def close(self) -> None:
        """Close the connections of all threads; the next request opens new ones."""
        with self._lock:
            sessions, self._sessions = self._sessions, []
            self._local = threading.local()
        for session in sessions:
            session.close()

    def open(self, request: Request) -> requests.Response:
        """A response with status 200 and its body unread; the caller closes it.

        Raises the fitting subclass of ``ServerError`` after the policy's retries.
        """
        return self._retried(lambda: self._open_once(request))

    def read(self, request: Request) -> bytes:
        """The whole body of a response with status 200; raises ``BadAnswerError`` over ``json_limit_bytes``."""
        return self._consumed(request, b"".join, limit_bytes=self.policy.json_limit_bytes)

    def consume(self, request: Request, reader: Callable[[Iterator[bytes]], _T]) -> _T:
        """What ``reader`` returns for the chunks of the body of a response with status 200.

        If a body breaks off, ``reader`` is called again with a new response. Raises ``BadAnswerError`` over
        ``array_limit_bytes``.
        """
        return self._consumed(request, reader, limit_bytes=self.policy.array_limit_bytes)

    def _consumed(self, request: Request, reader: Callable[[Iterator[bytes]], _T], *, limit_bytes: int) -> _T:
        def once() -> _T:
            with self._open_once(request) as response:
                return reader(self._limited(response, request, limit_bytes))

        return self._retried(once)

    def answer(self, request: Request, *, retry: bool = True) -> Answer:
        """The response whatever its status, with the beginning of its body; only busy servers are retried."""

        def once() -> Answer:
            answer = self._answer_of(self._send(request))
            error = error_for_status(answer, self.name_of(request))
            if isinstance(error, ServerBusyError):
                raise error
            return answer

        return self._retried(once) if retry else once()

    # One attempt

    def _open_once(self, request: Request) -> requests.Response:
        response = self._send(request)
        if response.status_code == requests.codes.ok and _is_identity(response):
            return response
        raise self._failure(response, request)  # held by no name here: error and frame would keep each other

    def _failure(self, response: requests.Response, request: Request) -> ServerError:
        error = error_for_status(self._answer_of(response), self.name_of(request))
        return error or BadAnswerError(
            f"The response of {self.name_of(request)} is compressed, although the request excludes compression. It was "
            "not read, because a small body can unpack to any size. Switch off compression in the proxy before the "
            "server.",
            status=response.status_code,
        )

    def _limited(self, response: requests.Response, request: Request, limit_bytes: int) -> Iterator[bytes]:
        received = 0
        for chunk in Body(self, request, response):
            received += len(chunk)
            if received > limit_bytes:
                raise BadAnswerError(
                    f"The response of {self.name_of(request)} exceeds {limit_bytes:,} bytes, so reading was stopped. "
                    "Request less at a time, or raise the limit in the client's policy.",
                    status=response.status_code,
                )
            yield chunk

    def _answer_of(self, response: requests.Response) -> Answer:
        """Status, headers, and the beginning of the body as it was sent, without unpacking it.

        A body that breaks off is good enough for an error.
        """
        body = bytearray()
        with response:
            try:
                for chunk in response.raw.stream(16 * 1024, decode_content=False):
                    body += chunk
                    if len(body) >= ERROR_BODY_LIMIT_BYTES:
                        break
            except (OSError, HTTPError) as error:
                logger.debug("The body of a response with status %s broke off: %s", response.status_code, type(error))
        self.traffic.add(bytes_received=len(body))
        return Answer(
            status=response.status_code,
            headers=dict(response.headers),
            cookies=dict(response.cookies),
            body=bytes(body),
        )

    def _send(self, request: Request) -> requests.Response:
        self.traffic.add(requests_sent=1)
        try:
            response = self._session().request(
                request.method,
                f"{self.base_url}/{request.path}",
                data=dict(request.form) if request.method == "POST" else None,
                params=dict(request.query) or None,
                headers=dict(request.headers),
                timeout=(self.policy.connect_timeout_seconds, self.policy.read_timeout_seconds),
                allow_redirects=False,
                stream=True,
            )
        except (OSError, HTTPError) as error:
            failure = describe_failure(error)
        else:
            self.traffic.add(bytes_sent=len(response.request.body or b""))
            return response
        # Raised outside of the except block: the exceptions of requests hold the request, hence the keys, and would
        # travel along as the context of ours.
        kind = ConnectionFailedError if failure.transient else PermanentConnectionError
        raise kind(f"There was no response from {self.name_of(request)}: {failure.text}.")

    def _session(self) -> requests.Session:
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = _Session()
            session.auth = _no_further_authentication
            session.trust_env = self.base_url.startswith("https://")
            session.headers.update({"User-Agent": user_agent(), "Accept": "*/*", "Accept-Encoding": "identity"})
            session.mount("http://", HTTPAdapter(max_retries=0))
            session.mount("https://", HTTPAdapter(max_retries=0))
            self._local.session = session
            with self._lock:
                self._sessions.append(session)
        # The API needs no cookies, and the website's are sent on purpose only.
        session.cookies.clear()
        return session

    # Several attempts

    def _retried(self, once: Callable[[], _T]) -> _T:
        attempts, opened = self.policy.attempts, self._local
        for failures in range(1, attempts + 1):
            try:
                return once()
            except ServerError as error:
                if not self.policy.retries(error):
                    raise
                if failures == attempts:
                    if attempts > 1:
                        error.args = (f"{error} Gave up after {attempts} attempts. Try again later.",)
                    raise
                asked = error.retry_after_seconds if isinstance(error, ServerBusyError) else None
                chance = random.random()  # noqa: S311  # spreads retries, protects nothing
                wait = self.policy.wait_seconds(failures, asked_seconds=asked, chance=chance)
                logger.info("Attempt %d of %d failed, the next in %.1f s: %s", failures, attempts, wait, error)
                self.traffic.add(retries=1)
                self._sleep(wait)
                if self._local is not opened:  # the client was closed: nobody waits for this any more
                    raise
        raise AssertionError("unreachable: the last attempt returns or raises")

    def name_of(self, request: Request) -> str:
        """The request as messages may name it: without query and body."""
        return f"{request.path} at {urlsplit(self.base_url).netloc}"
