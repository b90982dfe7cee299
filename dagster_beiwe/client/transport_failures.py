"""Describe failures below HTTP. The library's own messages are not used: they may hold URLs and proxy passwords."""

from __future__ import annotations

import socket
from dataclasses import dataclass

import requests
from urllib3.exceptions import NameResolutionError, ReadTimeoutError

from dagster_beiwe.environment import BEIWE_URL


@dataclass(frozen=True, kw_only=True)
class Failure:
    """``text`` is a clause without a period; ``transient`` means that waiting may help."""

    text: str
    transient: bool = True


def describe_failure(error: Exception, *, while_reading: bool = False) -> Failure:
    """The failure in one clause without a period."""
    causes = list(_causes(error))
    if isinstance(error, requests.exceptions.SSLError):
        return Failure(
            text="the encrypted connection could not be set up: the server's certificate is not trusted, or TLS "
            f"failed. Check the host in {BEIWE_URL}, and REQUESTS_CA_BUNDLE if the network has its own certificate "
            "authority",
            transient=False,
        )
    if isinstance(error, requests.exceptions.ProxyError):
        return Failure(text="the proxy in the environment (HTTPS_PROXY) did not let the request through")
    if isinstance(error, (requests.exceptions.InvalidProxyURL, requests.exceptions.InvalidURL)):
        return Failure(text="the URL of the server or of the proxy (HTTPS_PROXY) is malformed", transient=False)
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return Failure(text="no connection was made within the connect timeout")
    if isinstance(error, requests.exceptions.Timeout) or any(isinstance(cause, ReadTimeoutError) for cause in causes):
        return Failure(text="nothing arrived within the read timeout")
    if any(isinstance(cause, (NameResolutionError, socket.gaierror)) for cause in causes):
        return Failure(text=f"the host name could not be found. Check {BEIWE_URL} and the network")
    if any(isinstance(cause, ConnectionRefusedError) for cause in causes):
        return Failure(text=f"the connection was refused. Check host and port in {BEIWE_URL}")
    if not isinstance(error, requests.exceptions.RequestException) and isinstance(error, OSError):
        return Failure(
            text="the connection could not be prepared. If REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE is set, check that "
            "the file exists",
            transient=while_reading,
        )
    return Failure(
        text="the connection broke off in the middle of the response" if while_reading else "the connection broke off"
    )


def _causes(error: BaseException) -> list[BaseException]:
    """The error and its causes, which ``requests`` puts into ``args`` and ``urllib3`` into ``reason``."""
    found: list[BaseException] = []
    pending: list[object] = [error]
    while pending:
        current = pending.pop()
        if not isinstance(current, BaseException) or current in found:
            continue
        found.append(current)
        pending += [current.__cause__, current.__context__, getattr(current, "reason", None), *current.args]
    return found
