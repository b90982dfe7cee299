"""How the server reads a request: form bodies, lists, times, registries. Mistakes end in an ``Answer``."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from datetime import datetime, timezone
from email.message import Message
from email.parser import BytesParser
from typing import Any
from urllib.parse import parse_qsl

from dagster_beiwe.simulator.answers import RefusedError

KEY_PATTERN = re.compile(r"[A-Za-z0-9+/]+")
_TIME_FORMAT = "%Y-%m-%dT%H:%M:%S"


@dataclass(frozen=True, kw_only=True)
class Request:
    """One request as endpoints see it. ``form`` and ``query`` keep order and repetition; ``headers`` have lower-case
    names."""

    method: str
    path: str
    form: tuple[tuple[str, str], ...] = ()
    query: tuple[tuple[str, str], ...] = ()
    cookies: dict[str, str] = field(default_factory=dict, repr=False)
    headers: dict[str, str] = field(default_factory=dict, repr=False)

    @property
    def route(self) -> str:
        return self.path if self.path == "/" else self.path.rstrip("/")

    def value(self, name: str) -> str | None:
        """The last value of a form field, as the server takes it."""
        values = self.values(name)
        return values[-1] if values else None

    def values(self, name: str) -> list[str]:
        return [value for field_name, value in self.form if field_name == name]

    def option(self, name: str) -> str | None:
        """A value of the query string."""
        return dict(self.query).get(name)


def parse_form(content_type: str, body: bytes) -> tuple[tuple[str, str], ...]:
    """Fields of a urlencoded or multipart body. Any other body, including JSON, has none."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "application/x-www-form-urlencoded":
        return tuple(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))
    if kind != "multipart/form-data":
        return ()
    message = BytesParser().parsebytes(b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + body)
    parts = message.get_payload()
    fields = []
    for part in parts if isinstance(parts, list) else []:
        if not isinstance(part, Message):
            continue
        name = part.get_param("name", header="content-disposition")
        payload = part.get_payload(decode=True)
        if isinstance(name, str) and isinstance(payload, bytes):
            fields.append((name, payload.decode("utf-8", "replace")))
    return tuple(fields)


def read_list(values: list[str]) -> list[str] | None:
    """A list parameter; None (all) if it is absent or an empty JSON array.

    One value is read as JSON if it is JSON: a bare number is refused (400), a string falls apart into characters,
    ``null`` breaks the server (500). Repeated fields are taken as they are.
    """
    if not values:
        return None
    if len(values) > 1:
        return values
    try:
        parsed = json.loads(values[0])
    except ValueError:
        return values
    if parsed is None or isinstance(parsed, bool):
        raise RefusedError(500)
    if isinstance(parsed, (int, float)):
        raise RefusedError(400)
    return [str(item) for item in parsed] or None


def read_time(value: str | None) -> datetime | None:
    """A naive UTC time. Another form is 400; the right form with text after it is 500."""
    if value is None:
        return None
    try:
        return datetime.strptime(value, _TIME_FORMAT).replace(tzinfo=timezone.utc)
    except ValueError as error:
        raise RefusedError(500 if "unconverted data" in str(error) else 400) from None


def read_registry(value: str | None) -> dict[str, str]:
    """The registry in a request. Values that are not text break the server (500)."""
    if value is None:
        return {}
    try:
        parsed: Any = json.loads(value)
    except ValueError:
        raise RefusedError(400) from None
    if not isinstance(parsed, dict):
        raise RefusedError(400)
    if not all(isinstance(text, str) for text in parsed.values()):
        raise RefusedError(500)
    return {key: text.strip() for key, text in parsed.items()}
