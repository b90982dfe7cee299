"""Turn plans into studies, participants, and files. Everything follows from the seed."""

from __future__ import annotations

import random
import string
import zlib
from collections.abc import Iterator
from datetime import datetime, timedelta

from dagster_beiwe.simulator.content import HOUR_MS, BlobCache, ContentPlan, moment_of, ms_of
from dagster_beiwe.simulator.files import StoredFile
from dagster_beiwe.simulator.people import Participant, Researcher, Study
from dagster_beiwe.simulator.plans import ParticipantPlan, StudyPlan
from dagster_beiwe.simulator.server_streams import extension_of, server_stream
from dagster_beiwe.simulator.surveys import Survey
from dagster_beiwe.streams import STREAM_NAMES, check_streams

_LETTERS = string.ascii_letters + string.digits
_KEY_LETTERS = _LETTERS + "+/"
_PARTICIPANT_LETTERS = string.digits[1:] + string.ascii_lowercase
_ONCE_A_DAY = frozenset({"survey_answers", "survey_timings", "calls", "texts", "ai_chat_logs"})
_ONCE_A_WEEK = frozenset({"audio_recordings", "ambient_audio", "image_survey"})
_DAY = timedelta(days=1)
_HOUR = timedelta(hours=1)


def grow_study(plan: StudyPlan, *, pk: int, seed: int, now: datetime, cache: BlobCache) -> Study:
    rng = random.Random(f"{seed}/study/{pk}/{plan.name}")
    study_id = plan.id or word(rng, _LETTERS, 24)
    start = plan.start or now - 3 * _DAY
    created = start - 14 * _DAY
    study = Study(
        id=study_id,
        pk=pk,
        name=plan.name,
        time_zone=plan.time_zone,
        created=created,
        interventions=list(plan.interventions),
        fields=list(plan.fields),
        hidden=plan.hidden,
        stopped=plan.stopped,
    )
    relative = tuple((name, 7, 36000) for name in plan.interventions[:1])
    study.surveys = [
        Survey(id=word(rng, _LETTERS, 24), name="Daily mood", created=created, relative_timings=relative),
        Survey(id=word(rng, _LETTERS, 24), name="Voice diary", created=created, audio=True, timings=((),) * 7),
        Survey(id=word(rng, _LETTERS, 24), name="Retired survey", created=created, deleted=True),
    ]
    for person in plan.participant_plans():
        participant_id = person.id or word(rng, _PARTICIPANT_LETTERS, 8)
        study.participants[participant_id] = grow_participant(
            person, plan, study, participant_id, seed=seed, now=now, cache=cache
        )
    return study


def grow_participant(
    person: ParticipantPlan,
    plan: StudyPlan,
    study: Study,
    participant_id: str,
    *,
    seed: int,
    now: datetime,
    cache: BlobCache,
) -> Participant:
    start = person.start or plan.start or now - 3 * _DAY
    end = min(person.end or plan.end or now, now)
    participant = Participant(
        id=participant_id,
        study_id=study.id,
        os=person.os,
        created=start - _DAY,
        first_registration=start if person.os else None,
        retired=person.retired,
        deleted=person.deleted,
        interventions=dict.fromkeys(study.interventions),
        fields=dict.fromkeys(study.fields, ""),
        zone=study.time_zone,
    )
    content = person.content or plan.content
    if study.interventions and person.os:
        participant.interventions[study.interventions[0]] = (start + 7 * _DAY).date()
    if person.os:
        hours = plan.hours if person.hours is None else person.hours
        wanted = person.streams if person.streams is not None else plan.streams
        streams = [
            name for name in check_streams(wanted or STREAM_NAMES) if person.os.lower() in server_stream(name).platforms
        ]
        for stream, hour in _moments(streams, start, end, tuple(hours)):
            file = make_file(study, participant, stream, hour, content=content, seed=seed, now=now, cache=cache)
            participant.files[file.key] = file
    if person.wrong_clock:
        for moment in (moment_of(-HOUR_MS), moment_of(0), (now + 365 * _DAY).replace(minute=0, second=0)):
            file = make_file(
                study, participant, "power_state", moment, content=content, seed=seed, now=now, cache=cache
            )
            participant.files[file.key] = file
    return participant


def _moments(
    streams: list[str], start: datetime, end: datetime, hours: tuple[int, ...]
) -> Iterator[tuple[str, datetime]]:
    start = start.replace(minute=0, second=0, microsecond=0)
    midnight = start.replace(hour=0)
    number = 0
    if "identifiers" in streams and start < end:
        yield "identifiers", start
    while midnight < end:
        covered = [midnight + hour * _HOUR for hour in hours if start <= midnight + hour * _HOUR < end]
        for stream in streams:
            if stream == "identifiers" or not covered:
                continue
            if stream in _ONCE_A_WEEK:
                chosen = covered[-1:] if number % 7 == 0 else []
            else:
                chosen = covered[:1] if stream in _ONCE_A_DAY else covered
            for hour in chosen:
                yield stream, hour
        midnight, number = midnight + _DAY, number + 1


def make_file(
    study: Study,
    participant: Participant,
    stream: str,
    moment: datetime,
    *,
    content: ContentPlan,
    seed: int,
    now: datetime,
    cache: BlobCache,
    survey_id: str | None = None,
    rows: int | None = None,
    suffix: str = "",
) -> StoredFile:
    """The file of a stream that begins at ``moment``; unchunked files of a full hour begin within it."""
    entry = server_stream(stream)
    owner = "shared" if content.shared else f"{study.id}/{participant.id}"
    start_ms = ms_of(moment)
    if survey_id is None and entry.survey_folder:
        survey_id = study.surveys[1 if entry.audio else 0].id
    file_seed = f"{seed}/{owner}/{stream}/{participant.os}/{survey_id or ''}/{start_ms}{suffix}"
    chance = zlib.crc32(file_seed.encode())  # a random generator per file would take most of a large world's time
    if not entry.chunked and start_ms % HOUR_MS == 0:
        start_ms += 60_000 + chance % (HOUR_MS - 61_000)
    delay = timedelta(minutes=5 + chance % 50)
    return StoredFile(
        study_id=study.id,
        participant_id=participant.id,
        stream=stream,
        os=participant.os,
        start_ms=start_ms,
        rows=content.rows_of(stream) if rows is None else rows,
        seed=file_seed,
        survey_id=survey_id or "",
        extension=extension_of(stream),
        suffix=suffix,
        audio_bytes=content.audio_bytes if entry.audio else 0,
        arrived=max(min(moment_of(start_ms) + _HOUR + delay, now), participant.created),
        cache=cache,
    )


def grow_researchers(seed: int, studies: list[Study]) -> list[Researcher]:
    """One with every study, one with the first study only, one with none, an administrator, and one deactivated."""
    every = frozenset(study.id for study in studies)
    reach = {
        "researcher": every,
        "restricted": frozenset(list(every & {studies[0].id})) if studies else frozenset(),
        "outsider": frozenset[str](),
        "administrator": frozenset[str](),
        "deactivated": every,
    }
    people = []
    for username, study_ids in reach.items():
        rng = random.Random(f"{seed}/researcher/{username}")
        people.append(
            Researcher(
                username=username,
                password=word(rng, _LETTERS, 16),
                access_key=_key(rng),
                secret_key=_key(rng),
                study_ids=study_ids,
                site_admin=username == "administrator",
                active=username != "deactivated",
            )
        )
    return people


def word(rng: random.Random, letters: str, length: int) -> str:
    return "".join(rng.choices(letters, k=length))


def _key(rng: random.Random) -> str:
    """64 characters, including both that a form must percent-encode."""
    letters = list(word(rng, _KEY_LETTERS, 64))
    letters[rng.randrange(10, 20)], letters[rng.randrange(20, 30)] = "+", "/"
    return "".join(letters)
