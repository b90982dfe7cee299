"""What the server answers to real requests: its streams, and the data and counts of each study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone

from dagster_beiwe.archive import read_archive
from dagster_beiwe.client import BeiweClient
from dagster_beiwe.errors import BeiweError, NotFoundError, RouteMissingError
from dagster_beiwe.streams import STREAM_NAMES, stream_named
from dagster_beiwe.text import one_line
from dagster_beiwe.windows import Window


def check_studies(client: BeiweClient, studies: Mapping[str, str]) -> bool:
    """Print the studies, whether their data and counts can be downloaded, and the server's streams. True if all can."""
    print(f"Studies     {len(studies) or 'none: ask the administrator of the study to add the researcher'}")
    usable = True
    for study_id, name in sorted(studies.items(), key=lambda item: item[1]):
        try:
            participants = client.participants(study_id)
        except BeiweError as error:
            print(f"  {study_id}  {one_line(name)}")
            answers, verdict = False, one_line(f"{type(error).__name__}: {error}")
        else:
            print(f"  {study_id}  {len(participants):5d} participants  {one_line(name)}")
            answers, verdict = _check_study(client, study_id, participants)
        usable = usable and answers
        print(f"  {' ' * len(study_id)}  {verdict}")
    if studies:
        _print_streams(client, min(studies, key=lambda study_id: studies[study_id]))
    return usable


def _check_study(client: BeiweClient, study_id: str, participants: Sequence[str]) -> tuple[bool, str]:
    """Whether a study's data and counts can be downloaded, proven by a request for each, and a verdict in words."""
    if not participants:
        return True, "no participants yet, so no data was requested"
    try:
        _ask_for_data(client, study_id, participants[0])
        counts = _ask_for_counts(client, study_id, participants[0])
    except BeiweError as error:
        return False, one_line(f"{type(error).__name__}: {error}")
    return True, f"data is sent, {counts}"


def _ask_for_data(client: BeiweClient, study_id: str, participant: str) -> None:
    """Request the last hour of every stream, and read the archive to its end."""
    now = datetime.now(timezone.utc).replace(minute=0, second=0, microsecond=0)
    last_hour = Window(now - timedelta(hours=1), now)
    try:
        _read(client, study_id, participant, last_hour)
    except NotFoundError:
        if not client.refused_streams(study_id, participant, client.streams(study_id)):
            raise
        _read(client, study_id, participant, last_hour)


def _read(client: BeiweClient, study_id: str, participant: str, window: Window) -> None:
    streams = client.streams(study_id)
    with client.get_data(study_id, participants=[participant], streams=streams, window=window) as download:
        for _ in read_archive(download):
            pass


def _ask_for_counts(client: BeiweClient, study_id: str, participant: str) -> str:
    today = datetime.now(timezone.utc).date()
    try:
        client.summary_statistics(
            study_id,
            participants=[participant],
            streams=client.streams(study_id),
            start_date=today - timedelta(days=1),
            end_date=today,
        )
    except RouteMissingError:
        return "bytes per day are not counted (older than June 2024)"
    if uncounted := client.uncounted_streams:
        return f"bytes per day are counted, but not of {', '.join(sorted(uncounted))}"
    return "bytes per day are counted"


def _print_streams(client: BeiweClient, study_id: str) -> None:
    try:
        streams = client.reported_streams(study_id)
    except RouteMissingError:
        print("Streams     not listed by this server: all known streams are requested")
        return
    print(f"Streams     {len(streams)}")
    if new := [name for name in streams if not stream_named(name).known]:
        print(f"  new       {', '.join(new)}: downloaded and stored like the others, read with their columns as text")
    if missing := [name for name in STREAM_NAMES if name not in streams]:
        print(f"  missing   {', '.join(missing)}: not on this server; the lake keeps what it holds of them")
