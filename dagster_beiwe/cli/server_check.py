"""What the server answers to real requests: its streams, and the data and counts of each study."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from dagster_beiwe.archive import read_archive
from dagster_beiwe.cli.output import Diagnosis
from dagster_beiwe.client import BeiweClient
from dagster_beiwe.errors import BeiweError, NotFoundError, RouteMissingError
from dagster_beiwe.streams import STREAM_NAMES, stream_named
from dagster_beiwe.text import one_line
from dagster_beiwe.windows import Window


def check_studies(client: BeiweClient, studies: Mapping[str, str]) -> Iterator[Diagnosis]:
    """The studies, whether their data and counts can be downloaded, and the server's streams."""
    yield Diagnosis(
        subject="studies",
        text=f"Studies     {len(studies) or 'none: ask the administrator of the study to add the researcher'}",
        passed=bool(studies),
        facts={"studies": len(studies)},
    )
    for study_id, name in sorted(studies.items(), key=lambda item: item[1]):
        yield _check_study(client, study_id, name)
    if studies:
        yield _check_streams(client, min(studies, key=lambda study_id: studies[study_id]))


def _check_study(client: BeiweClient, study_id: str, name: str) -> Diagnosis:
    """Whether a study's data and counts can be downloaded, proven by a request for each."""
    participants, counts, error = None, None, None
    try:
        participants = client.participants(study_id)
        if participants:
            _ask_for_data(client, study_id, participants[0])
            counts = _ask_for_counts(client, study_id, participants[0])
    except BeiweError as failure:
        error = one_line(f"{type(failure).__name__}: {failure}")
    size = "" if participants is None else f"{len(participants):5d} participants  "
    verdict = (
        error or (counts and f"data is sent, {_in_words(counts)}") or "no participants yet, so no data was requested"
    )
    return Diagnosis(
        subject="study",
        text=f"  {study_id}  {size}{one_line(name)}\n  {' ' * len(study_id)}  {verdict}",
        passed=error is None,
        facts={
            "study_id": study_id,
            "study": name,
            "participants": None if participants is None else len(participants),
            "counts": counts and counts.counted,
            "uncounted_streams": list(counts.uncounted) if counts else [],
            "error": error,
        },
    )


@dataclass(frozen=True)
class _Counts:
    """Whether the server counts bytes per day, and the streams that it does not count."""

    counted: bool
    uncounted: tuple[str, ...] = ()


def _in_words(counts: _Counts) -> str:
    if not counts.counted:
        return "bytes per day are not counted (older than June 2024)"
    but = f", but not of {', '.join(counts.uncounted)}" if counts.uncounted else ""
    return f"bytes per day are counted{but}"


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


def _ask_for_counts(client: BeiweClient, study_id: str, participant: str) -> _Counts:
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
        return _Counts(counted=False)
    return _Counts(counted=True, uncounted=tuple(sorted(client.uncounted_streams)))


def _check_streams(client: BeiweClient, study_id: str) -> Diagnosis:
    try:
        streams = client.reported_streams(study_id)
    except RouteMissingError:
        text = "Streams     not listed by this server: all known streams are requested"
        return Diagnosis(subject="streams", text=text, facts={"streams": None, "new": [], "missing": []})
    new = [name for name in streams if not stream_named(name).known]
    missing = [name for name in STREAM_NAMES if name not in streams]
    lines = [f"Streams     {len(streams)}"]
    if new:
        lines.append(
            f"  new       {', '.join(new)}: downloaded and stored like the others, read with their columns as text"
        )
    if missing:
        lines.append(f"  missing   {', '.join(missing)}: not on this server; the lake keeps what it holds of them")
    facts = {"streams": list(streams), "new": new, "missing": missing}
    return Diagnosis(subject="streams", text="\n".join(lines), facts=facts)
