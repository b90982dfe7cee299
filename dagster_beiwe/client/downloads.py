"""get-data: the form of a request, and the archive as a stream of bytes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timezone

import requests

from dagster_beiwe.client.http import Request, Transport
from dagster_beiwe.errors import ConfigurationError
from dagster_beiwe.ids import check_participant_id, check_study_id
from dagster_beiwe.member_names import CHUNKED_PREFIX
from dagster_beiwe.streams import check_streams
from dagster_beiwe.windows import Window, server_time_range

NO_DATA = Window(datetime(2000, 1, 1, tzinfo=timezone.utc), datetime(2000, 1, 1, 1, tzinfo=timezone.utc))
"""An hour after 1970, where clocks are that were never set, and before the first phones."""


class DataStream:
    """An archive on its way: iterate over it once for its bytes, in chunks of 64 KiB or more.

    ``compressed`` tells whether its files are zstd frames (get-data/v2). ``received_bytes`` counts what
    has been read so far. Iteration raises ``ConnectionFailedError`` when the connection breaks; an end without an
    error does not mean that the archive is whole, since some proxies hide that the server gave up.
    """

    def __init__(self, transport: Transport, request: Request, response: requests.Response) -> None:
        self.compressed = request.path.endswith("v2")
        self.received_bytes = 0
        self._chunks = transport.chunks(response, request)

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._chunks:
            self.received_bytes += len(chunk)
            yield chunk


def check_participants(participants: Iterable[str]) -> tuple[str, ...]:
    """The ids without repetition, sorted: the server answers 404 if one is named twice.

    Raises ``ConfigurationError`` for a malformed id, and for none at all, which the server takes as everybody.
    """
    if isinstance(participants, str):
        participants = (participants,)
    ids = tuple(sorted({check_participant_id(participant) for participant in participants}))
    if not ids:
        raise ConfigurationError(
            "Expected at least one participant, got none; nothing was requested. The server takes an empty list as "
            "all participants: name them."
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

    Lists go out as JSON, never empty: an empty one means everything, and a bare id of digits alone is refused. Where no
    stream is named, the field is left out, which means all that the server has. The field ``user_ids`` is the one that
    every server version reads. Registry keys must not have the prefix ``CHUNKED_DATA/``, with which current servers
    leave out files that have changed.
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
                f"Expected registry keys without {CHUNKED_PREFIX}, got {prefixed} with it; nothing was requested. "
                "The server would leave out files that have changed: remove the prefix."
            )
        form["registry"] = json.dumps(dict(registry), separators=(",", ":"))
    return form
