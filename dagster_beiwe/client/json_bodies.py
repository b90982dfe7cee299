"""Parse JSON in bounded memory, and accept only what can be written later.

A parsed value takes up to 240 bytes, however short its text: ``[{},{},...]`` grows 24 times. So the number of values is
bounded as well as the bytes (``HttpPolicy``). Texts must be valid UTF-8, and values nested a few levels only, since
anything else would fail when it is written.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any, NoReturn, TypeGuard

from dagster_beiwe.environment import BEIWE_URL
from dagster_beiwe.errors import BadAnswerError

_VALUES_LIMIT = 500_000
"""In one body that is parsed whole. A participant table has some 30 per participant."""

OBJECTS_LIMIT = 400_000
"""In one array that is read chunk by chunk: daily counts of a hundred participants over ten years."""

HISTORY_LIMIT = 4_000_000
"""In the history of a participant, which the server sends only as a whole: ten years of a file per stream every half
hour."""

_OBJECT_LIMIT = 1024 * 1024
"""Characters of one object in an array that is read chunk by chunk; the largest known has some 4,000."""

_DEEPEST = 60
"""Levels; questions of surveys have some ten."""

_NOT_SPACE = re.compile(r"[^ \t\r\n]")


def parse_json(body: bytes, route: str) -> Any:
    """The body as JSON. HTML with status 200 comes from login pages of networks and from wrong URLs."""
    if sum(map(body.count, (b",", b"[", b"{"))) > _VALUES_LIMIT:
        raise wrong_shape(route, f"at most {_VALUES_LIMIT:,} values")
    try:
        value = json.loads(body.decode("utf-8-sig"), parse_constant=_no_number)
    except (ValueError, RecursionError):
        kind = "an HTML page" if body.lstrip()[:1] == b"<" else "something else"
    else:
        return writable(value, route)
    # Outside of the except block: the decoder's exception holds the whole body.
    raise BadAnswerError(
        f"{route} responded with status 200 and {kind} ({len(body):,} bytes) instead of JSON. The response was not "
        f"used. Check that {BEIWE_URL} is a Beiwe server, and that no login page of a network intercepts requests.",
        status=200,
    )


def parse_objects(chunks: Iterable[bytes], route: str, *, most: int = OBJECTS_LIMIT) -> Iterator[dict[str, Any]]:
    """The objects of a JSON array one by one, so that a study of many years is never in memory as text.

    Their contents are not checked. Raises ``BadAnswerError`` for more objects than ``most``.
    """
    decoder = json.JSONDecoder()
    text, at, expected, objects = "", 0, "[", 0
    for chunk in _decoded(chunks):
        text, at = text[at:] + chunk, 0
        while mark := _NOT_SPACE.search(text, at):
            at = mark.start()
            if mark[0] not in expected:
                raise wrong_shape(route, "an array of objects")
            if mark[0] != "{":
                expected = {"[": "{]", ",": "{", "]": ""}[mark[0]]
                at += 1
                continue
            try:
                row, at = decoder.raw_decode(text, at)
            except (ValueError, RecursionError):
                break  # the rest of this object is still to come
            objects += 1
            if objects > most:
                raise wrong_shape(route, f"at most {most:,} objects", ": ask for less at a time")
            yield row
            expected = ",]"
        if len(text) - at > _OBJECT_LIMIT:
            raise wrong_shape(route, f"objects of at most {_OBJECT_LIMIT:,} characters")
    if expected:
        raise wrong_shape(route, "an array of objects", " that ends too early")


def is_text(value: object) -> TypeGuard[str]:
    """Whether it is text that can be written: JSON allows halves of characters (``\\ud800``), UTF-8 does not."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def wrong_shape(route: str, expected: str, detail: str = "") -> BadAnswerError:
    """The error for JSON that is not what the endpoint promises."""
    return BadAnswerError(
        f"{route} should return {expected}, but its JSON has a different shape{detail}. It was not used. The server "
        "may be newer than this client.",
        status=200,
    )


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def writable(value: Any, route: str) -> Any:
    """The value, if its texts can be written and it is not nested too deeply; else raises ``BadAnswerError``."""
    level = [value]
    for _ in range(_DEEPEST):
        if not all(is_text(each) for each in level if isinstance(each, str)):
            raise wrong_shape(route, "text in UTF-8")
        level = list(chain.from_iterable(map(_children, level)))
        if not level:
            return value
    raise wrong_shape(route, f"values nested at most {_DEEPEST} deep")


def _children(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return chain(value, value.values())
    return value if isinstance(value, list) else ()


def _decoded(chunks: Iterable[bytes]) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    for chunk in chunks:
        yield decoder.decode(chunk)
    yield decoder.decode(b"", final=True)
