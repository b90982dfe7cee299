"""One participant: who they are and what their phone reported, as a table of rows of several kinds.

One table holds all kinds, so that a participant is one partition and one file. The server sends only complete
histories, and a year of uploads has some 100,000 rows, so they are read one by one and kept as numbers.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, Literal

import numpy as np
import pandas as pd

from dagster_beiwe.client import BeiweClient
from dagster_beiwe.client.answers import Upload, parse_moment
from dagster_beiwe.client.capabilities import ROUTES
from dagster_beiwe.client.json_bodies import wrong_shape
from dagster_beiwe.errors import RouteMissingError
from dagster_beiwe.member_names import parse_phone_file
from dagster_beiwe.studies.roster import Row
from dagster_beiwe.studies.time_zones import PHONES_COLUMN, is_time_zone

Kind = Literal["roster", "upload", "heartbeat", "app_version", "device_status", "notification"]

_TIME: Final = "datetime64[ms, UTC]"
TYPES: Mapping[str, str] = {
    "kind": "string",
    "time": _TIME,
    "stream": "string",
    "survey_id": "string",
    "opened": _TIME,
    "size_bytes": "Int64",
    "app_version_code": "string",
    "app_version_name": "string",
    "os_version": "string",
    "scheduled": _TIME,
    "confirmed": _TIME,
    "name": "string",
    "value": "string",
}
"""The columns in their order, and their types as pandas calls them."""

_MISSING: Final = int(np.iinfo(np.int64).min)
"""A missing number, which numpy reads as a missing time."""


@dataclass(frozen=True, kw_only=True)
class ParticipantHistory:
    """A participant's table, and the kinds of rows whose endpoints the server lacks."""

    frame: pd.DataFrame
    missing: tuple[Kind, ...] = ()

    def completed(self, before: pd.DataFrame) -> ParticipantHistory:
        """With what an earlier ``frame`` has of the kinds that the server does not return."""
        kept = before[before["kind"].isin(self.missing)]
        return replace(self, frame=pd.concat([self.frame, kept], ignore_index=True))

    def rows(self) -> dict[str, int]:
        """{kind: number of rows}"""
        return {str(kind): int(rows) for kind, rows in self.frame["kind"].value_counts().sort_index().items()}

    def last(self, kind: Kind) -> datetime | None:
        """The time (UTC) of the newest row of a kind."""
        newest = self.frame.loc[self.frame["kind"] == kind, "time"].max()
        return None if pd.isna(newest) else newest.to_pydatetime()


def reported_zone(table: pd.DataFrame) -> str | None:
    """The time zone that the phone last reported, as a participant's table has it; None if that is none."""
    reported = table.loc[(table["kind"] == "roster") & (table["name"] == PHONES_COLUMN), "value"]
    return next((str(name) for name in reported if isinstance(name, str) and is_time_zone(name)), None)


def read_participant(
    client: BeiweClient, participant: str, row: Row, *, lacking: Collection[Kind] = ()
) -> ParticipantHistory:
    """Everything that the server has about a participant, in five requests, and the row of the roster.

    Kinds that the server is known to be ``lacking`` are not requested. Raises ``ServerError``, among them
    ``NotFoundError`` for an id that the server does not have.
    """
    ask: dict[Kind, Callable[[], pd.DataFrame]] = {
        "upload": lambda: client.read_uploads(participant, _uploads),
        "heartbeat": lambda: _heartbeats(client.heartbeat_history(participant)),
        "app_version": lambda: _app_versions(client, participant),
        "device_status": lambda: client.read_device_status(participant, _device_statuses),
        "notification": lambda: _notifications(client.notification_history(participant)),
    }
    frames, missing = [_roster(row)], list(lacking)
    for kind, read in ask.items():
        try:
            frames += [] if kind in lacking else [read()]
        except RouteMissingError:
            missing.append(kind)
    return ParticipantHistory(frame=pd.concat(frames, ignore_index=True), missing=tuple(missing))


class _Rows:
    """Rows of one kind, column by column. Times are milliseconds since 1970 (UTC)."""

    def __init__(self, kind: Kind, *columns: str) -> None:
        self._kind = kind
        self._values: dict[str, Any] = {name: [] if TYPES[name] == "string" else array("q") for name in columns}

    def add(self, *values: str | int | None) -> None:
        for column, value in zip(self._values.values(), values, strict=True):
            column.append(_MISSING if value is None and isinstance(column, array) else value)

    def frame(self) -> pd.DataFrame:
        count = len(next(iter(self._values.values())))
        columns: dict[str, Any] = {name: self._column(name, count) for name in TYPES}
        table: pd.DataFrame = pd.DataFrame({**columns, "kind": pd.array([self._kind] * count, dtype="string")})
        return table

    def _column(self, name: str, count: int) -> Any:
        values = self._values.get(name)
        if TYPES[name] == "string":
            return pd.array([None] * count if values is None else values, dtype="string")
        numbers = np.full(count, _MISSING) if values is None else np.frombuffer(values, dtype=np.int64)
        if TYPES[name] == _TIME:
            return pd.DatetimeIndex(numbers.view("datetime64[ms]")).tz_localize("UTC")
        return pd.arrays.IntegerArray(np.where(numbers == _MISSING, 0, numbers), numbers == _MISSING)


def _roster(row: Row) -> pd.DataFrame:
    rows = _Rows("roster", "name", "value")
    for name, value in row.items():
        rows.add(name, value)
    return rows.frame()


def _uploads(uploads: Iterator[Upload]) -> pd.DataFrame:
    rows = _Rows("upload", "time", "stream", "survey_id", "opened", "size_bytes", "name")
    once: dict[str | None, str | None] = {}
    for upload in uploads:
        arrived, size_bytes = _ms(upload.arrived), upload.size_bytes
        file = parse_phone_file(upload.file_name)
        if file is None:
            rows.add(arrived, None, None, None, size_bytes, upload.file_name)
        else:
            survey_id = once.setdefault(file.survey_id, file.survey_id)
            rows.add(arrived, file.stream, survey_id, file.opened_ms, size_bytes, None)
    return rows.frame()


def _heartbeats(moments: list[datetime]) -> pd.DataFrame:
    rows = _Rows("heartbeat", "time")
    for moment in moments:
        rows.add(_ms(moment))
    return rows.frame()


def _app_versions(client: BeiweClient, participant: str) -> pd.DataFrame:
    rows = _Rows("app_version", "time", "app_version_code", "app_version_name", "os_version")
    for version in client.version_history(participant):
        rows.add(_ms(version.since), version.app_version_code, version.app_version_name, version.os_version)
    return rows.frame()


def _device_statuses(reports: Iterator[dict[str, Any]]) -> pd.DataFrame:
    rows = _Rows("device_status", "time", "os_version", "value")
    for report in reports:
        time, os_version = report.pop("created_on", None), report.pop("os_version", None)
        rows.add(_ms(parse_moment(time)), _text(os_version), _text(report))
    return rows.frame()


def _notifications(surveys: Mapping[str, Any]) -> pd.DataFrame:
    rows = _Rows("notification", "time", "survey_id", "scheduled", "confirmed", "name", "value")
    for survey_id, sent in surveys.items():
        if not isinstance(sent, list) or not all(isinstance(each, dict) for each in sent):
            raise wrong_shape(ROUTES["notification_history"], "an array of notifications for each survey")
        for each in sent:
            time, scheduled, confirmed = (
                _ms(parse_moment(each.pop(name, None)))
                for name in ("timestamp", "scheduled_time", "confirmed_received")
            )
            rows.add(time, survey_id, scheduled, confirmed, _text(each.pop("type", None)), _text(each))
    return rows.frame()


def _ms(moment: datetime | None) -> int | None:
    return None if moment is None else round(moment.timestamp() * 1000)


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value, sort_keys=True)
