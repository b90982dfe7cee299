"""Turn plans into studies, participants, and files. Everything follows from the seed."""

from __future__ import annotations

import random
import string
import zlib
from collections.abc import Iterator
from datetime import datetime, timedelta

from dagster_beiwe.simulator.content import HOUR_MS, BlobCache, ContentPlan, moment_of, ms_of
from dagster_beiwe.simulator.files import StoredFile
from dagster_beiwe.simulator.lives import LIVED_STREAMS, Life, moments, sitting_in
from dagster_beiwe.simulator.people import Participant, Researcher, Study
from dagster_beiwe.simulator.plans import ParticipantPlan, StudyPlan
from dagster_beiwe.simulator.server_streams import extension_of, server_stream
from dagster_beiwe.simulator.surveys import QUESTIONS, WELCOME, Survey
from dagster_beiwe.streams import STREAM_NAMES, check_streams

_LETTERS = string.ascii_letters + string.digits
_KEY_LETTERS = _LETTERS + "+/"
_PARTICIPANT_LETTERS = string.digits[1:] + string.ascii_lowercase
_ONCE_A_DAY = frozenset({"survey_answers", "survey_timings", "calls", "texts", "ai_chat_logs"})
_ONCE_A_WEEK = frozenset({"audio_recordings", "ambient_audio", "image_survey"})
_DAY = timedelta(days=1)
_HOUR = timedelta(hours=1)
_SLOWEST_UPLOAD = 3 * _HOUR
"""From the beginning of an hour to the upload of its last file."""
_SESSION_MS = 60_000
"""Longer than anybody takes for a survey."""


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
    study.device_settings.update(plan.settings)
    relative = tuple((name, 7, 36000) for name in plan.interventions[:1])
    study.surveys = [
        Survey(id=word(rng, _LETTERS, 24), name="Daily mood", created=created, relative_timings=relative),
        Survey(id=word(rng, _LETTERS, 24), name="Voice diary", created=created, audio=True, timings=((),) * 7),
        Survey(
            id=word(rng, _LETTERS, 24),
            name="Retired survey",
            created=created,
            deleted=True,
            questions=(WELCOME, QUESTIONS[0]),
        ),
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
    end = min(person.offline_since or now, now)
    participant = Participant(
        id=participant_id,
        study_id=study.id,
        os=person.os,
        created=start - _DAY,
        first_registration=start if person.os else None,
        retired=person.retired,
        deleted=person.deleted,
        interventions=dict.fromkeys(study.interventions),
        fields={**dict.fromkeys(study.fields, ""), **person.fields},
        zone=study.time_zone,
        plan=person,
        grown_until=end,
        offline_since=person.offline_since,
        heartbeat=now if person.offline_since else None,
    )
    if plan.lives:
        seeded = f"{seed}/{study.id}/{participant_id}"
        participant.life = Life.of(seeded, zone=study.time_zone, settings=study.device_settings)
    if study.interventions and person.os:
        participant.interventions[study.interventions[0]] = (start + 7 * _DAY).date()
    participant.interventions.update(person.interventions)
    for file in _recorded(plan, study, participant, end, seed=seed, now=now, cache=cache):
        participant.files[file.key] = file
    if person.wrong_clock:
        for moment in (moment_of(-HOUR_MS), moment_of(0), (now + 365 * _DAY).replace(minute=0, second=0)):
            file = make_file(
                study,
                participant,
                "power_state",
                moment,
                content=person.content or plan.content,
                seed=seed,
                now=now,
                cache=cache,
            )
            participant.files[file.key] = file
    return participant


def later_files(
    plan: StudyPlan,
    study: Study,
    participant: Participant,
    since: datetime,
    until: datetime,
    *,
    seed: int,
    cache: BlobCache,
) -> list[StoredFile]:
    """What a phone recorded and did not upload before ``since``; ``arrived`` is when it would upload by itself."""
    first = max(since - _SLOWEST_UPLOAD, participant.grown_until or since)
    midnight = until.replace(hour=0, minute=0) + _DAY  # whole days, or it would matter at which hour one looks
    files = _recorded(
        plan, study, participant, midnight, since=first, seed=seed, now=midnight + _SLOWEST_UPLOAD, cache=cache
    )
    return [file for file in files if file.key not in participant.files]


def _recorded(
    plan: StudyPlan,
    study: Study,
    participant: Participant,
    end: datetime,
    *,
    since: datetime | None = None,
    seed: int,
    now: datetime,
    cache: BlobCache,
) -> Iterator[StoredFile]:
    """What a phone records from its registration, or ``since``, until ``end``, as the plans say."""
    own, start = participant.plan, participant.first_registration
    if start is None:
        return
    end = min(end, own.end or plan.end or end)
    hours = plan.hours if own.hours is None else own.hours
    wanted = own.streams if own.streams is not None else plan.streams
    system = participant.os.lower()
    streams = [name for name in check_streams(wanted or STREAM_NAMES) if system in server_stream(name).platforms]
    life = participant.life
    for stream, hour in _planned(streams, start, end, tuple(hours), life):
        if since is not None and hour < since:
            continue
        if hour >= own.stream_ends.get(stream, end):
            continue
        if stream != "identifiers" and _chance(f"{seed}/{participant.id}/{ms_of(hour)}") >= own.share:
            continue
        yield make_file(
            study,
            participant,
            stream,
            hour,
            content=own.content or plan.content,
            seed=seed,
            now=now,
            cache=cache,
            life=life if stream in LIVED_STREAMS else None,
        )


def _planned(
    streams: list[str], start: datetime, end: datetime, hours: tuple[int, ...], life: Life | None
) -> Iterator[tuple[str, datetime]]:
    """What is recorded when. Known lives decide for the streams that tell of them."""
    if life is None:
        yield from _moments(streams, start, end, hours)
        return
    yield from _moments([stream for stream in streams if stream not in LIVED_STREAMS], start, end, hours)
    for stream in sorted(LIVED_STREAMS.intersection(streams)):
        first = start.replace(minute=0, second=0, microsecond=0)
        yield from ((stream, moment) for moment in moments(life, stream, first, end) if moment.hour in hours)


def _chance(text: str) -> float:
    """A number in [0, 1) that follows from the text."""
    return zlib.crc32(text.encode()) / 2**32


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
    life: Life | None = None,
) -> StoredFile:
    """The file of a stream that begins at ``moment``; unchunked files of a full hour begin within it."""
    entry = server_stream(stream)
    owner = "shared" if content.shared else f"{study.id}/{participant.id}"
    start_ms = ms_of(moment)
    if survey_id is None and entry.survey_folder:
        survey_id = study.surveys[1 if entry.audio else 0].id
    file_seed = f"{seed}/{owner}/{stream}/{participant.os}/{survey_id or ''}/{start_ms}{suffix}"
    chance = zlib.crc32(file_seed.encode())  # a random generator per file would take most of a large world's time
    offset_ms = _SESSION_MS + chance % (HOUR_MS - _SESSION_MS - 1000)
    if stream in ("survey_answers", "survey_timings"):  # both tell of one submission
        file_seed = f"{seed}/{owner}/{survey_id}/{start_ms}{suffix}"
        session = zlib.crc32(f"{seed}/{owner}/{survey_id}/{start_ms}".encode())
        offset_ms = _SESSION_MS + session % (HOUR_MS - _SESSION_MS - 1000)
    if life is not None and stream == "survey_timings":
        offset_ms = ms_of(sitting_in(life, moment).submitted) - start_ms
    if not entry.chunked and start_ms % HOUR_MS == 0:
        start_ms += offset_ms
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
        submitted_ms=offset_ms if stream == "survey_timings" else 0,
        life=life,
        audio_bytes=content.audio_bytes if entry.audio else 0,
        arrived=max(min(moment_of(start_ms) - participant.plan.clock + _HOUR + delay, now), participant.created),
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
