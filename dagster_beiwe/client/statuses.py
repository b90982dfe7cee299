"""What the statuses of a Beiwe server mean.

The server explains little: its error bodies are empty, except that a missing route has an HTML page, a route that has
nothing may say so in a short text, and the daily statistics name the fields that they lack. Both kinds of 404 therefore
have to be told apart by their bodies. Nothing that the server sends is quoted, neither bodies nor the address of a
redirect: a server that echoes the keys, by mistake or on purpose, would put them into our logs.
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
    """Status, headers, cookies and the beginning of the body of an answer."""

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
        """Whether the body is a sentence and not a page. The content type does not tell: all is called HTML."""
        text = self.body.strip()
        return 0 < len(text) <= _LONGEST_TEXT_BYTES and text.isascii() and not text.startswith(b"<")


def error_for_status(answer: Answer, what: str) -> ServerError | None:
    """The error that an answer stands for, or None for status 200; ``what`` names the request in the message."""
    status = answer.status
    if status == 200:
        return None
    if 300 <= status < 400:
        return _redirect(answer, what)
    if status in BUSY_STATUSES:
        return ServerBusyError(
            f"Expected {what} to answer, got status {status}: the server is overloaded, restarting or in maintenance.",
            status=status,
            retry_after_seconds=retry_after_seconds(answer),
        )
    if 400 <= status < 500:
        return _refusal(answer, what)
    if status >= 500:
        return ServerFailedError(
            f"Expected {what} to answer, got status {status}: an error inside the server. If it repeats itself, "
            "the server's operators find the reason in its log at this time.",
            status=status,
        )
    return BadAnswerError(f"Expected status 200 from {what}, got {status}; the answer was not used.", status=status)


def _refusal(answer: Answer, what: str) -> ServerError:
    status = answer.status
    if status == 403:
        return AccessDeniedError(
            f"Expected {what} to allow the request, got status 403: the access or secret key is wrong or deactivated, "
            "or the researcher is not on this study. If the list of studies can be read with the same keys, it is "
            "the study: ask its administrator; otherwise make new keys on the website.",
            status=status,
        )
    if status == 404 and answer.has_body and not answer.is_short_text:
        return RouteMissingError(
            f"Expected {what} to exist, got the server's page for unknown addresses (404). This version of the server "
            f"lacks the endpoint, or {BEIWE_URL} is not the address of a Beiwe server.",
            status=status,
        )
    if status == 404:
        return NotFoundError(
            f"Expected {what} to know the study, participants and streams named, got status 404: one of them does not "
            "exist there (any more). Compare them with the lists of studies and participants.",
            status=status,
        )
    if status == 413:
        return RequestTooLargeError(
            f"Expected {what} to accept the request, got status 413: its body is over the limit of a proxy before the "
            "server. Send a shorter list of known files, or a smaller window.",
            status=status,
        )
    return RequestRefusedError(
        f"Expected {what} to accept the request, got status {status}. "
        f"{_REFUSAL_HINTS.get(status, _OTHER_REFUSAL_HINT)}",
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


_REFUSAL_HINTS = {
    400: f"Check that the keys are complete, the ids right, and {BEIWE_URL} the server's own host name.",
    405: f"Something between here and the server changed the method of the request: check {BEIWE_URL} and proxies.",
    407: "The proxy named in the environment wants a login.",
}
_OTHER_REFUSAL_HINT = f"Check {BEIWE_URL} and what lies between here and the server."


def _redirect(answer: Answer, what: str) -> RedirectError:
    return RedirectError(
        f"Expected {what} to answer itself, got status {answer.status}, a redirect to "
        f"{_direction(answer.header('Location'))}. It was not followed and no key was sent there. Open {BEIWE_URL} "
        f"in a browser to see where it leads. If that is the right address, correct {BEIWE_URL} (or URL in the "
        "keyring): https and the server's own host name.",
        status=answer.status,
    )


def _direction(location: str | None) -> str:
    """Where a Location leads, in our words."""
    try:
        host = urlsplit(location or "").hostname
    except ValueError:
        return "a malformed address"
    return "another address" if host else "another page of the same server"


def retry_after_seconds(answer: Answer) -> float | None:
    """How long the server asks to wait, from seconds or an HTTP date; None where it does not say or is unreadable.

    A date is compared with the server's own clock (its ``Date``), so that clocks may differ.
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
