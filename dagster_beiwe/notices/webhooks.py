"""Send a message to Slack, or to any other service, by posting JSON to an address that is a secret itself."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import requests

from dagster_beiwe.credentials import is_loopback
from dagster_beiwe.errors import ConfigurationError, NoticeNotSentError
from dagster_beiwe.notices.message import Message
from dagster_beiwe.text import error_in_words

_TIMEOUTS = (5, 20)
"""Seconds to connect, and to wait for the answer. Dagster gives a sensor 60 s."""


def post_to_slack(message: Message, url: str) -> None:
    """Post to an incoming webhook of Slack, which formats nothing of it. Raises ``NoticeNotSentError``."""
    text = f"{message.subject}\n\n{message.text}"
    for character, escape in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        text = text.replace(character, escape)
    _post({"text": text, "mrkdwn": False}, url, message.identity)


def post_to_webhook(message: Message, url: str) -> None:
    """Post subject, text, and facts as JSON. Raises ``NoticeNotSentError``."""
    _post({"subject": message.subject, "text": message.text, **message.facts}, url, message.identity)


def check_url(url: str, variable: str) -> str:
    """The address in a variable. Raises ``ConfigurationError``, which does not repeat it: it is a secret."""
    try:
        parts = urlsplit(url.strip())
        host = parts.hostname or ""
    except ValueError:
        host = ""
    if not host or not (parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host))):
        raise ConfigurationError(
            f"{variable} does not hold an address that begins with https:// (http only for this machine). Nothing was "
            "sent. Copy the webhook's address."
        )
    return url.strip()


def _post(body: dict[str, Any], url: str, identity: str) -> None:
    headers = {"Idempotency-Key": identity}
    try:
        with requests.post(
            url,
            json=body,
            headers=headers,
            timeout=_TIMEOUTS,
            allow_redirects=False,
            auth=_no_authentication,
            stream=True,
        ) as answer:
            if 200 <= answer.status_code < 300:
                return
            problem = f"it answered {answer.status_code}"
    except (requests.RequestException, OSError, ValueError) as error:  # ValueError: of a host that cannot be one
        problem = error_in_words(type(error).__name__)
    raise NoticeNotSentError(  # out here, without the error: its text has the address
        f"The webhook at {urlsplit(url).hostname} did not accept the notice: {problem}. It is sent again at the next "
        "evaluation."
    )


def _no_authentication(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Without this, ``requests`` would add what it finds in ~/.netrc."""
    return request
