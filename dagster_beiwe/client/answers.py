"""From the server's JSON to the client's facts; what does not fit the protocol raises ``BadAnswerError``.

Messages tell counts and types only: an answer may hold participants' data.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timezone
from types import MappingProxyType
from typing import Any

from dagster_beiwe.errors import BadAnswerError
from dagster_beiwe.names import is_participant_id, is_study_id

_NOT_SPACE = re.compile(r"[^ \t\r\n]")
_OBJECT_LIMIT = 1024 * 1024
"""Characters of one object in an array that is read piece by piece; the largest known has some 4,000."""


@dataclass(frozen=True, kw_only=True)
class DailyBytes:
    """What the server counted for one participant and one day.

    ``day`` is a calendar day in the study's time zone. ``bytes_by_stream`` holds the plain sizes of that day's files,
    summed; streams without any are left out.
    """

    participant: str
    day: date
    bytes_by_stream: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class Upload:
    """One file that a phone has sent: its raw name, its plain size, and when it arrived (UTC)."""

    file_name: str
    size_bytes: int
    arrived: datetime


@dataclass(frozen=True, kw_only=True)
class AppVersion:
    """Versions of app and system on a participant's phone, from ``since`` (UTC) on."""

    since: datetime
    app_version_code: str | None
    app_version_name: str | None
    os_version: str | None


def parse_json(body: bytes, route: str) -> Any:
    """The body as JSON; HTML with status 200 comes from login pages of networks and from wrong URLs."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        kind = "an HTML page" if body.lstrip()[:1] == b"<" else "something else"
    # Outside of the except block: the decoder's exception holds the whole body.
    raise BadAnswerError(
        f"Expected JSON from {route}, got {kind} ({len(body):,} bytes) with status 200; it was not used. "
        "Check that BEIWE_URL is a Beiwe server and that no login page of a network lies between.",
        status=200,
    )


def parse_objects(chunks: Iterable[bytes], route: str) -> Iterator[dict[str, Any]]:
    """The objects of a JSON array one by one, so that a study of many years need not be in memory as text."""
    decoder = json.JSONDecoder()
    text, at, expected = "", 0, "["
    for piece in _decoded(chunks):
        text, at = text[at:] + piece, 0
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
            yield row
            expected = ",]"
        if len(text) - at > _OBJECT_LIMIT:
            raise wrong_shape(route, f"objects of at most {_OBJECT_LIMIT:,} characters")
    if expected:
        raise wrong_shape(route, "an array of objects", " that ends too early")


def _decoded(chunks: Iterable[bytes]) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    for chunk in chunks:
        yield decoder.decode(chunk)
    yield decoder.decode(b"", final=True)


def wrong_shape(route: str, expected: str, detail: str = "") -> BadAnswerError:
    """The error for JSON that is not what the endpoint promises."""
    return BadAnswerError(
        f"Expected {expected} from {route}, got JSON of another shape{detail}; it was not used. The server may be "
        "newer than this client.",
        status=200,
    )


def studies_from(answer: Any, route: str) -> dict[str, str]:
    """{study id: study name}, sorted by name."""
    if not isinstance(answer, dict) or not all(isinstance(name, str) for name in answer.values()):
        raise wrong_shape(route, "an object of study ids and names")
    _check_ids(is_study_id, answer, route, "study ids of 24 letters and digits")
    return dict(sorted(answer.items(), key=lambda item: (item[1], item[0])))


def participants_from(answer: Any, route: str) -> list[str]:
    """Participant ids, sorted and each once: the server's order is arbitrary."""
    if not isinstance(answer, list):
        raise wrong_shape(route, "an array of participant ids")
    _check_ids(is_participant_id, answer, route, "participant ids of letters, digits, _ and -")
    return sorted(set(answer))


def _check_ids(fits: Callable[[str], bool], values: Iterable[Any], route: str, expected: str) -> None:
    bad = sum(1 for value in values if not isinstance(value, str) or not fits(value))
    if bad:
        raise wrong_shape(route, expected, f" ({bad} of the values are not)")


def object_from(answer: Any, route: str) -> dict[str, Any]:
    """A JSON object as it is."""
    if not isinstance(answer, dict):
        raise wrong_shape(route, "a JSON object")
    return answer


def objects_from(answer: Any, route: str) -> list[dict[str, Any]]:
    """An array of JSON objects as it is."""
    if not isinstance(answer, list) or not all(isinstance(row, dict) for row in answer):
        raise wrong_shape(route, "an array of objects")
    return answer


def quantities_from(answer: Any, route: str) -> dict[str, dict[str, int]]:
    """{participant: {stream: bytes}}, all participants, all streams."""
    rows = object_from(answer, route)
    _check_ids(is_participant_id, rows, route, "participant ids of letters, digits, _ and -")
    found: dict[str, dict[str, int]] = {}
    for participant, counts in rows.items():
        if not isinstance(counts, dict) or not all(_is_count(value) for value in counts.values()):
            raise wrong_shape(route, "byte counts per stream")
        found[participant] = {name.removesuffix("_bytes"): value or 0 for name, value in counts.items()}
    return found


def daily_bytes_from(rows: Iterable[dict[str, Any]], route: str, streams: Iterable[str]) -> list[DailyBytes]:
    """One record per participant and day, in the order of the rows."""
    fields = {f"beiwe_{stream}_bytes": stream for stream in streams}
    found: list[DailyBytes] = []
    for row in rows:
        participant, day = row.get("participant_id"), _day(row.get("date"))
        if not isinstance(participant, str) or not is_participant_id(participant) or day is None:
            raise wrong_shape(route, "a participant and a date in each object")
        counts = {stream: row.get(name) for name, stream in fields.items()}
        if not all(_is_count(value) for value in counts.values()):
            raise wrong_shape(route, "byte counts per stream")
        present = {stream: value for stream, value in counts.items() if value}
        found.append(DailyBytes(participant=participant, day=day, bytes_by_stream=MappingProxyType(present)))
    return found


def uploads_from(answer: Any, route: str) -> list[Upload]:
    """The upload history, oldest first as sent."""
    found: list[Upload] = []
    for row in objects_from(answer, route):
        name, size, arrived = row.get("file_name"), row.get("file_size"), _moment(row.get("timestamp"))
        if not isinstance(name, str) or not _is_count(size) or arrived is None:
            raise wrong_shape(route, "file_name, file_size and timestamp in each object")
        found.append(Upload(file_name=name, size_bytes=size or 0, arrived=arrived))
    return found


def moments_from(answer: Any, route: str) -> list[datetime]:
    """The times of a heartbeat history, oldest first as sent."""
    moments = [_moment(row.get("timestamp")) for row in objects_from(answer, route)]
    known = [moment for moment in moments if moment is not None]
    if len(known) != len(moments):
        raise wrong_shape(route, "a timestamp in each object")
    return known


def versions_from(answer: Any, route: str) -> list[AppVersion]:
    """The version history, oldest first as sent."""
    found: list[AppVersion] = []
    for row in objects_from(answer, route):
        since = _moment(row.get("created_on"))
        if since is None:
            raise wrong_shape(route, "created_on in each object")
        found.append(
            AppVersion(
                since=since,
                app_version_code=_text(row.get("app_version_code")),
                app_version_name=_text(row.get("app_version_name")),
                os_version=_text(row.get("os_version")),
            )
        )
    return found


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _is_count(value: Any) -> bool:
    return value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 0)


def _day(value: Any) -> date | None:
    try:
        return date.fromisoformat(value)
    except (TypeError, ValueError):
        return None


def _moment(value: Any) -> datetime | None:
    """An aware UTC time from ISO 8601 with ``Z`` or an offset; None for anything else."""
    try:
        moment = datetime.fromisoformat(value.replace("Z", "+00:00"))
    except (AttributeError, ValueError):
        return None
    return moment.astimezone(timezone.utc) if moment.tzinfo else None
