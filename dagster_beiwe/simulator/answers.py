"""What an endpoint responds, before it becomes bytes on a socket."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dagster_beiwe.simulator.archives import Archive

HTML = "text/html; charset=utf-8"
JSON = "application/json"

_PAGE = """<!doctype html>
<html lang="en">
<head>
  <title>{title}</title>
</head>
<body>
{body}
</body>
</html>
"""
# The real error pages are large; a client that reads them whole to find out what happened should notice.
_FILLER = "  <p>Beiwe is a platform for digital phenotyping. This page is part of a simulated server.</p>\n" * 400


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Status, headers, and body. ``chunked`` answers are sent without a Content-Length.

    A download carries its ``archive`` instead of a body.
    """

    status: int = 200
    body: bytes = b""
    content_type: str = HTML
    headers: Mapping[str, str] = field(default_factory=dict)
    chunked: bool = False
    archive: Archive | None = None


class RefusedError(Exception):
    """A refused request, with its status. The body is empty, or an HTML page for 500."""

    def __init__(self, status: int) -> None:
        super().__init__(str(status))
        self.status = status


def html_page(title: str, body: str = "") -> bytes:
    return _PAGE.format(title=title, body=body).encode()


def refused(status: int) -> Answer:
    return server_error() if status == 500 else Answer(status=status)


def not_a_route() -> Answer:
    return Answer(status=404, body=html_page("404 Page Not Found", _FILLER))


def server_error() -> Answer:
    return Answer(status=500, body=html_page("500 Server Error", _FILLER))


def method_not_allowed(allowed: Iterable[str]) -> Answer:
    return Answer(status=405, headers={"Allow": ", ".join(allowed)})


def json_answer(value: Any, *, chunked: bool = False, content_type: str = JSON, **headers: str) -> Answer:
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return Answer(
        body=json.dumps(value, separators=(",", ":")).encode(),
        content_type=content_type,
        chunked=chunked,
        headers=named,
    )
