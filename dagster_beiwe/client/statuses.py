"""What the statuses of a Beiwe server mean.

The server explains little. Its error bodies are empty, except that a missing route has an HTML page, a route without
data may say so in a short text, and the daily statistics name the fields that they lack. So only the body distinguishes
the two kinds of 404. Messages quote nothing that the server sends, neither bodies nor the address of a redirect: a
server that echoes the keys, by mistake or on purpose, would put them into our logs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from dagster_beiwe.environment import BEIWE_URL
from dagster_beiwe.errors import (
    AccessDeniedError,
    BadAnswerError,
    NotFoundError,
    RedirectError,
    RequestRefusedError,
    RequestTooLargeError,
    RouteMissingError,
    ServerBusyError,
    ServerError,
    ServerFailedError,
)

BUSY_STATUSES = frozenset({429, 502, 503, 504})

_LONGEST_TEXT_BYTES = 1000
_REFUSED_FIELD = re.compile(r"(?P<name>[a-z][a-z0-9_-]{0,99}) is not a valid field")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Status, headers, cookies, and the beginning of the body of a response."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    cookies: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)

    def header(self, name: str) -> str | None:
        """A header's value, whatever the case of its name."""
        return next((value for key, value in self.headers.items() if key.lower() == name.lower()), None)

    @property
    def has_body(self) -> bool:
        return bool(self.body.strip())

    @property
    def is_short_text(self) -> bool:
        """Whether the body is a sentence, not a page. The content type does not tell, because it always says HTML."""
        text = self.body.strip()
        return 0 < len(text) <= _LONGEST_TEXT_BYTES and text.isascii() and not text.startswith(b"<")


def error_for_status(answer: Answer, what: str) -> ServerError | None:
    """The error that a response stands for, or None for status 200; ``what`` names the request in the message."""
    status = answer.status
    if status == 200:
        return None
    if 300 <= status < 400:
        return _redirect(answer, what)
    if status in BUSY_STATUSES:
        return ServerBusyError(
            f"{what} responded with status {status}: the server is overloaded, restarting, or in maintenance.",
            status=status,
            retry_after_seconds=retry_after_seconds(answer),
        )
    if 400 <= status < 500:
        return _refusal(answer, what)
    if status >= 500:
        return ServerFailedError(
            f"{what} responded with status {status}: an error inside the server. If this continues, the server's "
            "operators find the reason in its log at this time.",
            status=status,
        )
    return BadAnswerError(
        f"{what} responded with status {status} instead of 200. The response was not used.", status=status
    )


def _refusal(answer: Answer, what: str) -> ServerError:
    status = answer.status
    if status == 403:
        return AccessDeniedError(
            f"{what} denied access (status 403). Either the access key or secret key is wrong or deactivated, or the "
            "researcher has no access to this study. If the same keys can list studies, ask the study's administrator "
            "for access; otherwise create new keys on the website.",
            status=status,
        )
    if status == 404 and answer.has_body and not answer.is_short_text:
        return RouteMissingError(
            f"{what} does not exist (status 404). This version of the server lacks the endpoint, or {BEIWE_URL} is not "
            "the address of a Beiwe server.",
            status=status,
        )
    if status == 404:
        return NotFoundError(
            f"{what} responded with status 404: the study, a participant, or a stream in the request does not exist "
            "there, or no longer exists. Compare them with the lists of studies and participants.",
            status=status,
        )
    if status == 413:
        return RequestTooLargeError(
            f"{what} responded with status 413: the request exceeds the limit of a proxy in front of the server. List "
            "fewer files, or request a smaller window.",
            status=status,
        )
    return RequestRefusedError(
        f"{what} refused the request with status {status}. {_REFUSAL_HINTS.get(status, _OTHER_REFUSAL_HINT)}",
        status=status,
        fields=_refused_fields(answer),
    )


def _refused_fields(answer: Answer) -> list[str]:
    """The fields that a refusal names, as ``{"errors": ["<name> is not a valid field", ...]}``; nothing else of it."""
    try:
        errors = json.loads(answer.body)["errors"]
    except (ValueError, RecursionError, KeyError, TypeError):
        return []
    found = [_REFUSED_FIELD.match(text) for text in errors if isinstance(text, str)] if isinstance(errors, list) else []
    return [match["name"] for match in found if match]


_OTHER_REFUSAL_HINT = f"Check {BEIWE_URL} and the proxies in front of the server."
_REFUSAL_HINTS = {
    400: f"Check that the keys are complete, the ids are right, and {BEIWE_URL} is the server's own host name.",
    405: f"A proxy in front of the server changed the method of the request: check {BEIWE_URL} and the proxies.",
    407: "The proxy in the environment requires a login.",
}


def _redirect(answer: Answer, what: str) -> RedirectError:
    return RedirectError(
        f"{what} redirects to {_direction(answer.header('Location'))} (status {answer.status}). The redirect was not "
        f"followed, and no key was sent there. Open {BEIWE_URL} in a browser to see where it leads. If that is the "
        f"right address, set {BEIWE_URL} (or URL in the keyring) to it: https and the server's own host name.",
        status=answer.status,
    )


def _direction(location: str | None) -> str:
    """Where a Location leads, without quoting it."""
    try:
        host = urlsplit(location or "").hostname
    except ValueError:
        return "a malformed address"
    return "another address" if host else "another page of the same server"


def retry_after_seconds(answer: Answer) -> float | None:
    """How long the server asks to wait, in seconds or as an HTTP date; None if it does not say or cannot be read.

    A date is compared with the server's own clock (its ``Date``), because clocks may differ.
    """
    text = (answer.header("Retry-After") or "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:12])
    then = _http_date(text)
    if then is None:
        return None
    now = _http_date(answer.header("Date") or "") or datetime.now(timezone.utc)
    return max(0.0, (then - now).total_seconds())


def _http_date(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
