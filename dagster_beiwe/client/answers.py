"""Convert the server's JSON to the client's types. What does not fit the protocol raises ``BadAnswerError``.

Messages contain counts and types only, because a response may hold participants' data.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timezone
from types import MappingProxyType
from typing import Any, TypeVar

from msgspec import Struct

from dagster_beiwe.client.json_bodies import is_text, wrong_shape
from dagster_beiwe.client.statistics_query import ZONE_FIELD, count_field
from dagster_beiwe.ids import is_participant_id, is_study_id

logger = logging.getLogger("dagster_beiwe")

_T = TypeVar("_T")

_FIRST_DAY, _LAST_DAY = date(1900, 1, 2), date(2199, 12, 30)
"""Phones with a wrong clock reach far, but no window holds what lies beyond (``windows.out_of_range_windows``)."""

_LONGEST_ZONE = 40

_IDS = "participant ids of letters, digits, _ and -"

_COUNT_TYPES = {int, type(None)}
_COUNT_LIMIT = 1 << 40
"""Bytes of one stream. More than a terabyte of one participant is not credible, and sums stay within 64 bits."""

_NUMBER_LIMIT = 1e300


class DailyBytes(Struct, frozen=True, kw_only=True, gc=False):
    """What the server counted for one participant and one day: a large study has hundreds of thousands.

    ``day`` is a calendar day of ``zone``, the abbreviation (``EDT``) of the study's time zone when the day was counted,
    or None if the server does not report it. ``bytes_by_stream`` are the summed plain sizes of that day's files;
    streams without any are left out.
    """

    participant: str
    day: date
    bytes_by_stream: Mapping[str, int]
    zone: str | None = None


@dataclass(frozen=True, kw_only=True)
class DailyAnalyses:
    """What Forest's analyses on the server found for one participant and one day.

    ``day`` is a calendar day of the study, and ``zone`` the abbreviation of its time zone in the same row, or None if
    the server does not report it. ``values`` are the results by column (``jasmine_home_duration``), without missing
    ones.
    """

    participant: str
    day: date
    values: Mapping[str, int | float | str]
    zone: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Upload:
    """One file that a phone uploaded: its raw name, its plain size, and when it arrived (UTC)."""

    file_name: str
    size_bytes: int
    arrived: datetime


@dataclass(frozen=True, kw_only=True)
class AppVersion:
    """Versions of app and operating system on a participant's phone, from ``since`` (UTC) on."""

    since: datetime
    app_version_code: str | None
    app_version_name: str | None
    os_version: str | None


def studies_from(answer: Any, route: str) -> dict[str, str]:
    """{study id: study name}, sorted by name; malformed ids are left out as by ``participants_from``."""
    if not isinstance(answer, dict) or not all(isinstance(name, str) for name in answer.values()):
        raise wrong_shape(route, "an object of study ids and names")
    studies = _usable(answer.items(), lambda item: is_study_id(item[0]), route, "study ids of 24 letters and digits")
    return dict(sorted(studies, key=lambda item: (item[1], item[0])))


def participants_from(answer: Any, route: str) -> tuple[list[str], int]:
    """Participant ids, sorted and without duplicates, and the number of malformed ids that were left out.

    One malformed id must not hide everybody else. A response with nothing but malformed ids is refused.
    """
    if not isinstance(answer, list) or not all(isinstance(each, str) for each in answer):
        raise wrong_shape(route, "an array of participant ids")
    good = {each for each in answer if is_participant_id(each)}
    if answer and not good:
        raise wrong_shape(route, _IDS, f" (all {len(answer)} are not)")
    return sorted(good), len(set(answer) - good)


def _usable(values: Iterable[_T], fits: Callable[[_T], bool], route: str, expected: str) -> list[_T]:
    """The values that fit. One that does not must not hide the others. Refused if none fits."""
    every = list(values)
    good = [value for value in every if fits(value)]
    if every and not good:
        raise wrong_shape(route, expected, f" (all {len(every)} are not)")
    if left_out := len(every) - len(good):
        logger.warning(
            "%s: %d of %d entries were left out, because they are not %s.", route, left_out, len(every), expected
        )
    return good


def table_from(answer: Any, route: str) -> list[dict[str, Any]]:
    """The participant table as it is. Days of creation must lie in a possible window, because windows begin there.

    Other texts are accepted, since a custom field of that name shadows the server's own.
    """
    rows = objects_from(answer, route)
    if any(_is_outside(row.get("Created On")) for row in rows):
        raise wrong_shape(route, f"days between {_FIRST_DAY} and {_LAST_DAY} as 'Created On'")
    return rows


def settings_from(answer: Any, route: str) -> dict[str, Any]:
    """A study's settings as they are; each part may be missing or null."""
    settings = object_from(answer, route)
    parts: dict[str, type] = {"device_settings": dict, "surveys": list, "interventions": list}
    wrong = [name for name, kind in parts.items() if not isinstance(settings.get(name), (kind, type(None)))]
    if wrong:
        raise wrong_shape(route, "an object as device_settings, arrays as surveys and interventions")
    return settings


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
    """{participant: {stream: bytes}}, all streams, all participants but those with a malformed id.

    Fields that do not end in ``_bytes`` count no stream.
    """
    rows = object_from(answer, route)
    found: dict[str, dict[str, int]] = {}
    for participant, counts in _usable(rows.items(), lambda item: is_participant_id(item[0]), route, _IDS):
        if not isinstance(counts, dict):
            raise wrong_shape(route, "byte counts per stream")
        sizes = {name.removesuffix("_bytes"): value for name, value in counts.items() if name.endswith("_bytes")}
        if not all(_is_count(value) for value in sizes.values()):
            raise wrong_shape(route, "byte counts per stream")
        found[participant] = {stream: value or 0 for stream, value in sizes.items()}
    return found


def daily_bytes_from(rows: Iterable[dict[str, Any]], route: str, streams: Iterable[str]) -> list[DailyBytes]:
    """One record per participant and day, in the order of the rows. Rows are left out and refused as by ``_daily``."""
    fields = {count_field(stream): stream for stream in streams}
    found: list[DailyBytes] = []
    for participant, day, row in _daily(rows, route):
        values = list(map(row.get, fields))
        counts = {stream: value for stream, value in zip(fields.values(), values, strict=True) if value}
        sizes = counts.values() or (0,)
        if not ({*map(type, values)} <= _COUNT_TYPES and 0 <= min(sizes) <= max(sizes) < _COUNT_LIMIT):
            raise wrong_shape(route, "byte counts per stream")
        present = MappingProxyType(counts)
        found.append(DailyBytes(participant=participant, day=day, bytes_by_stream=present, zone=_zone(row)))
    return found


def analyses_from(rows: Iterable[dict[str, Any]], route: str, columns: Iterable[str]) -> list[DailyAnalyses]:
    """One record per participant and day with results, in the order of the rows. Rows are left out and refused as by
    ``_daily``."""
    names = tuple(columns)
    found: list[DailyAnalyses] = []
    for participant, day, row in _daily(rows, route):
        values = {name: value for name in names if (value := row.get(name)) is not None}
        if not all(is_text(value) or _is_number(value) for value in values.values()):
            raise wrong_shape(route, "numbers and texts as results of analyses")
        if values:
            found.append(DailyAnalyses(participant=participant, day=day, values=values, zone=_zone(row)))
    return found


def _daily(rows: Iterable[dict[str, Any]], route: str) -> Iterator[tuple[str, date, dict[str, Any]]]:
    """Participant, day and fields of each row of the daily statistics.

    Rows with a malformed id, or a day that no window holds, are left out, so that they do not hide everybody else's.
    Refused if there are no other rows.
    """
    left_out, others = 0, False
    for row in rows:
        participant, day = row.get("participant_id"), _day(row.get("date"))
        if not isinstance(participant, str) or not is_participant_id(participant) or day is None:
            left_out += 1
            continue
        others = True
        yield participant, day, row
    if left_out and not others:
        raise wrong_shape(route, "a participant and a date in each object", f" (all {left_out} have not)")
    if left_out:
        logger.warning("%s: %d rows with malformed ids or impossible days were left out.", route, left_out)


def uploads_from(rows: Iterable[dict[str, Any]], route: str) -> Iterator[Upload]:
    """The upload history, oldest first as sent."""
    for row in rows:
        name, size, arrived = row.get("file_name"), row.get("file_size"), parse_moment(row.get("timestamp"))
        if not is_text(name) or not _is_count(size) or arrived is None:
            raise wrong_shape(route, "file_name, file_size and timestamp in each object")
        yield Upload(file_name=name, size_bytes=size or 0, arrived=arrived)


def moments_from(rows: Iterable[dict[str, Any]], route: str) -> list[datetime]:
    """The times of a heartbeat history, oldest first as sent."""
    found: list[datetime] = []
    for row in rows:
        moment = parse_moment(row.get("timestamp"))
        if moment is None:
            raise wrong_shape(route, "a timestamp in each object")
        found.append(moment)
    return found


def versions_from(rows: Iterable[dict[str, Any]], route: str) -> list[AppVersion]:
    """The version history, oldest first as sent."""
    found: list[AppVersion] = []
    for row in rows:
        since = parse_moment(row.get("created_on"))
        texts = {name: _text(row.get(name)) for name in ("app_version_code", "app_version_name", "os_version")}
        if since is None or not all(text is None or is_text(text) for text in texts.values()):
            raise wrong_shape(route, "created_on and versions in each object")
        found.append(AppVersion(since=since, **texts))
    return found


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _is_count(value: Any) -> bool:
    return value is None or (isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _COUNT_LIMIT)


def _is_number(value: Any) -> bool:
    """Whether it is a number that a table can hold."""
    return isinstance(value, (int, float)) and abs(value) < _NUMBER_LIMIT


def _day(value: Any) -> date | None:
    """A day that a window can hold; None for anything else."""
    try:
        day = date.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    return day if _FIRST_DAY <= day <= _LAST_DAY else None


def _zone(row: Mapping[str, Any]) -> str | None:
    """The abbreviation of the time zone in a row, if there is one."""
    value = row.get(ZONE_FIELD)
    return value if isinstance(value, str) and 0 < len(value) <= _LONGEST_ZONE and value.isprintable() else None


def _is_outside(value: Any) -> bool:
    """Whether it is a day that no window can hold."""
    try:
        day = date.fromisoformat(value[:10])
    except (TypeError, ValueError):
        return False
    return not _FIRST_DAY <= day <= _LAST_DAY


def parse_moment(value: Any) -> datetime | None:
    """An aware UTC time from ISO 8601 with ``Z`` or an offset; None for anything else."""
    try:
        moment = datetime.fromisoformat(value.replace("Z", "+00:00"))
    except (AttributeError, TypeError, ValueError):
        return None
    if moment.tzinfo is None or not _FIRST_DAY <= moment.date() <= _LAST_DAY:
        return None
    return moment.astimezone(timezone.utc)
