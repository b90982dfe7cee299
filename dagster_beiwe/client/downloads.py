"""get-data: the form of a request, and the archive on its way."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone

import requests

from dagster_beiwe.client.http import Body, Request, Transport
from dagster_beiwe.errors import ConfigurationError
from dagster_beiwe.ids import check_participant_id, check_study_id
from dagster_beiwe.member_names import CHUNKED_PREFIX
from dagster_beiwe.streams import check_streams
from dagster_beiwe.windows import Window, server_time_range

NO_DATA = Window(datetime(2000, 1, 1, tzinfo=timezone.utc), datetime(2000, 1, 1, 1, tzinfo=timezone.utc))
"""An hour before the first phones, but after 1970, where clocks are that were never set."""


class Download(Body):
    """An archive on its way; ``compressed`` if its files are zstd frames (get-data/v2)."""

    def __init__(self, transport: Transport, request: Request, response: requests.Response) -> None:
        super().__init__(transport, request, response)
        self.compressed = request.path.endswith("v2")


def check_participants(participants: Iterable[str]) -> tuple[str, ...]:
    """The ids, sorted and without duplicates, because the server responds with 404 if an id occurs twice.

    Raises ``ConfigurationError`` for a malformed id, and for no id, which the server takes as everybody.
    """
    if isinstance(participants, str):
        participants = (participants,)
    ids = tuple(sorted({check_participant_id(participant) for participant in participants}))
    if not ids:
        raise ConfigurationError(
            "No participant was named, so nothing was requested: the server takes an empty list as all participants. "
            "Name at least one."
        )
    return ids


def download_form(
    study_id: str,
    *,
    participants: Iterable[str],
    streams: Iterable[str],
    window: Window,
    registry: Mapping[str, str] | None,
) -> dict[str, str]:
    """The form fields of get-data, without keys.

    Lists are JSON, never empty: an empty one means everything, and a bare id of digits alone is refused. If no stream
    is named, the field is left out, which means all that the server has. Every server version reads the field
    ``user_ids``. Registry keys must not have the prefix ``CHUNKED_DATA/``, with which current servers leave out files
    that have changed.
    """
    start, end = server_time_range(window)
    form = {
        "study_id": check_study_id(study_id),
        "user_ids": json.dumps(check_participants(participants)),
        "time_start": start,
        "time_end": end,
    }
    if names := check_streams(streams):
        form["data_streams"] = json.dumps(names)
    if registry:
        prefixed = sum(1 for key in registry if key.startswith(CHUNKED_PREFIX))
        if prefixed:
            raise ConfigurationError(
                f"{prefixed} registry keys have the prefix {CHUNKED_PREFIX}, with which the server would leave out "
                "files that have changed. Nothing was requested. Remove the prefix."
            )
        form["registry"] = json.dumps(dict(registry), separators=(",", ":"))
    return form
