"""The world behind the simulated server: studies, participants, researchers and files, and how they change.

Deterministic: the same seed, plans and ``now`` give the same bytes. All methods may be called from any thread while
a server uses the world. A response that has begun keeps the state it began with.
"""

from __future__ import annotations

import math
import random
import threading
from collections.abc import Iterable
from dataclasses import replace
from datetime import date, datetime, timedelta, timezone
from typing import Any, Literal
from zoneinfo import ZoneInfo

from dagster_beiwe.simulator.content import BlobCache, ms_of
from dagster_beiwe.simulator.counts import CountedDay, Counts, count_days
from dagster_beiwe.simulator.faulty_rows import spoiled
from dagster_beiwe.simulator.files import StoredFile
from dagster_beiwe.simulator.forest import ForestTask, Tree
from dagster_beiwe.simulator.growing import (
    grow_participant,
    grow_researchers,
    grow_study,
    later_files,
    make_file,
    word,
)
from dagster_beiwe.simulator.histories import phone_name
from dagster_beiwe.simulator.people import Participant, Researcher, Study, Upload
from dagster_beiwe.simulator.plans import ParticipantPlan, StudyPlan

_HOUR = timedelta(hours=1)


class World:
    """Everything the server knows. Build one with ``World.demo()`` or ``World.build(...)``.

    ``now`` is the world's clock (aware UTC), which stands still unless it is set. Uploads arrive at that time, and the
    participant table measures activity against it. ``unchunked_lag`` is the server's habit of not counting survey
    answers and recordings that arrive without sensor data of their day. With ``counts_wait``, the
    daily counts change only with ``count``. ``processing``: the server's background processing ran
    lately.
    """

    def __init__(self, *, seed: int, now: datetime, cache_bytes: int = 128 * 1024 * 1024) -> None:
        self.seed = seed
        self.now = now
        self.lock = threading.RLock()
        self.studies: dict[str, Study] = {}
        self.researchers: list[Researcher] = []
        self.unchunked_lag = True
        self.counts_wait = False
        self._uncounted: dict[str, list[StoredFile]] = {}
        self.processing = True
        self._plans: dict[str, StudyPlan] = {}
        self._cache = BlobCache(cache_bytes)

    @classmethod
    def build(
        cls,
        *plans: StudyPlan,
        seed: int = 1,
        now: datetime | None = None,
        cache_bytes: int = 128 * 1024 * 1024,
    ) -> World:
        """A world of the given studies (one small one if none is given); ``now`` defaults to the running hour."""
        now = now or datetime.now(timezone.utc).replace(minute=0, second=0, microsecond=0)
        world = cls(seed=seed, now=now, cache_bytes=cache_bytes)
        for pk, plan in enumerate(plans or (StudyPlan(),), start=1):
            study = grow_study(plan, pk=pk, seed=seed, now=now, cache=world._cache)
            world.studies[study.id] = study
            world._plans[study.id] = plan
        world.researchers = grow_researchers(seed, list(world.studies.values()))
        return world

    @classmethod
    def demo(cls, *, seed: int = 1, now: datetime | None = None) -> World:
        """Three studies on three continents with some weeks of data each, a few thousand small files in all."""
        from dagster_beiwe.simulator.demo import demo_plans

        now = now or datetime.now(timezone.utc).replace(minute=0, second=0, microsecond=0)
        return cls.build(*demo_plans(now), seed=seed, now=now)

    def study(self, study_id: str) -> Study:
        return self.studies[study_id]

    def participant(self, participant_id: str) -> Participant:
        """Participant ids are unique on a server, so the study need not be named."""
        found = self.find_participant(participant_id)
        if found is None:
            raise KeyError(participant_id)
        return found

    def find_participant(self, participant_id: str) -> Participant | None:
        for study in self.studies.values():
            if participant_id in study.participants:
                return study.participants[participant_id]
        return None

    def files(
        self,
        study_id: str,
        *,
        participants: Iterable[str] | None = None,
        streams: Iterable[str] | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
    ) -> list[StoredFile]:
        """The stored files of a study with their bin in [start, end), in order of their keys."""
        wanted = None if participants is None else set(participants)
        named = None if streams is None else set(streams)
        first_ms = -math.inf if start is None else ms_of(start)
        last_ms = math.inf if end is None else ms_of(end)
        with self.lock:
            people = list(self.studies[study_id].participants.values())
            found = [
                file
                for person in people
                if wanted is None or person.id in wanted
                for file in person.files.values()
                if (named is None or file.stream in named) and first_ms <= file.bin_ms < last_ms
            ]
        return sorted(found, key=lambda file: file.key)

    def file(self, participant_id: str, stream: str, hour: datetime) -> StoredFile:
        """The first file of a stream whose bin lies in the hour; raises ``KeyError`` if there is none."""
        for file in self.participant(participant_id).files.values():
            if file.stream == stream and hour <= file.bin < hour + _HOUR:
                return file
        raise KeyError(f"{participant_id}/{stream}/{hour.isoformat()}")

    def add_rows(self, participant_id: str, stream: str, hour: datetime, *, rows: int = 10) -> StoredFile:
        """Add late rows: the hour's file grows, is sorted again, and has another hash."""
        with self.lock:
            file = self.file(participant_id, stream, hour)
            grown = self._put(replace(file, extra=(*file.extra, rows), arrived=self.now, _facts={}))
            late = Upload(
                file_name=phone_name(file, opened_ms=41 + len(file.extra)),
                size_bytes=max(1, grown.size_bytes - file.size_bytes),
                arrived=self.now,
            )
            self.participant(participant_id).late_uploads.append(late)
            return grown

    def add_hour(self, participant_id: str, stream: str, hour: datetime, *, rows: int | None = None) -> StoredFile:
        """Add a file. For unchunked streams, ``hour`` may be any moment, to the millisecond."""
        with self.lock:
            return self._put(self._make(participant_id, stream, hour, rows=rows))

    def set_content(self, participant_id: str, stream: str, hour: datetime, content: bytes) -> StoredFile:
        """Give a file these bytes, for tests that search for them elsewhere afterwards."""
        with self.lock:
            file = self.file(participant_id, stream, hour)
            return self._put(replace(file, content=content, arrived=self.now, _facts={}))

    def spoil(self, participant_id: str, stream: str, hour: datetime, fault: str, **options: str) -> StoredFile:
        """Give a file's rows a fault of ``faulty_rows.FAULTS``, such as ``repeated_timestamps``."""
        return self.set_content(
            participant_id, stream, hour, spoiled(self.file(participant_id, stream, hour).read(), fault, **options)
        )

    def add_answers(self, participant_id: str, moment: datetime, *, copies: int = 1) -> list[StoredFile]:
        """Submit surveys within the second of ``moment``. Several share a name and get ``_2``, ``_3``."""
        with self.lock:
            made = []
            for number in range(copies):
                repeat = number == copies - 1 and copies > 2
                mark = word(random.Random(f"{moment}{number}"), "abcdefghij0123", 10)
                suffix = f"-duplicate-{mark}" if repeat else ""
                at = moment + timedelta(milliseconds=100 + 200 * (number - (1 if repeat else 0)))
                made.append(self._put(self._make(participant_id, "survey_answers", at, suffix=suffix)))
            return made

    def delete_files(self, participant_id: str, *, stream: str | None = None, hour: datetime | None = None) -> int:
        """Delete data at a researcher's request: all, one stream, or one hour. Returns the number of files.

        The id stays. The days are counted again; a stream without files on a day keeps its count, as on real servers.
        """
        with self.lock:
            person = self.participant(participant_id)
            deleted = [
                file
                for file in person.files.values()
                if (stream is None or file.stream == stream) and (hour is None or hour <= file.bin < hour + _HOUR)
            ]
            self._counts(person)
            for file in deleted:
                del person.files[file.key]
            self._processed(person, deleted)
            return len(deleted)

    def lose_object(self, participant_id: str, stream: str, hour: datetime) -> StoredFile:
        """Lose an object from storage: it is left out silently from now on, and the server forgets its SHA-1."""
        with self.lock:
            return self._store(replace(self.file(participant_id, stream, hour), lost=True, has_sha1=False))

    def restore_object(self, participant_id: str, stream: str, hour: datetime) -> StoredFile:
        """Restore an object. Its SHA-1 stays forgotten, so registries contain the MD5."""
        with self.lock:
            return self._store(replace(self.file(participant_id, stream, hour), lost=False))

    def forget_sha1(self, participant_id: str) -> None:
        """Forget the SHA-1 of all files of the participant, as for data unchanged since before 2025-03."""
        with self.lock:
            for file in list(self.participant(participant_id).files.values()):
                self._store(replace(file, has_sha1=False))

    def reprocess(
        self,
        participant_id: str,
        start: datetime,
        end: datetime,
        *,
        stream: str | None = None,
        fraction: float = 0.25,
    ) -> list[StoredFile]:
        """Add ``fraction`` more rows to chunked files in [start, end), as a server-side repair does."""
        with self.lock:
            person = self.participant(participant_id)
            self._counts(person)
            grown = [
                self._store(
                    replace(file, extra=(*file.extra, max(1, int(file.rows * fraction))), arrived=self.now, _facts={})
                )
                for file in list(person.files.values())
                if file.chunked and start <= file.bin < end and stream in (None, file.stream)
            ]
            self._processed(person, grown)
            return grown

    def add_participant(self, study_id: str, plan: ParticipantPlan | None = None) -> str:
        """Enroll a participant, without data unless the plan has a ``start``. Returns the id."""
        plan = plan or ParticipantPlan()
        with self.lock:
            study = self.studies[study_id]
            rng = random.Random(f"{self.seed}/{study_id}/late/{len(study.participants)}")
            participant_id = plan.id or word(rng, "123456789abcdefghijklmnopqrstuvwxyz", 8)
            enrolled_now = plan.start is None
            plan = replace(plan, start=self.now) if enrolled_now else plan
            study.participants[participant_id] = grow_participant(
                plan, self._plans[study_id], study, participant_id, seed=self.seed, now=self.now, cache=self._cache
            )
            if enrolled_now:
                study.participants[participant_id].created = self.now
            return participant_id

    def register(self, participant_id: str, *, os: Literal["ANDROID", "IOS"] = "ANDROID") -> None:
        """Register a phone now, which the server writes to ``identifiers``."""
        with self.lock:
            person = self.participant(participant_id)
            person.os, person.first_registration = os, person.first_registration or self.now
            person.grown_until = self.now
            hour = self.now.replace(minute=0, second=0, microsecond=0)
            self._put(self._make(participant_id, "identifiers", hour))

    def retire(self, participant_id: str) -> None:
        with self.lock:
            self.participant(participant_id).retired = True

    def flag_deleted(self, participant_id: str) -> None:
        """Flag a participant as deleted: still in the list of ids, no longer in the participant table."""
        with self.lock:
            self.participant(participant_id).deleted = True

    def change_settings(self, study_id: str, **settings: Any) -> None:
        with self.lock:
            self.studies[study_id].device_settings.update(settings)

    def rename_study(self, study_id: str, name: str) -> None:
        with self.lock:
            self.studies[study_id].name = name

    def hide_study(self, study_id: str) -> None:
        """Delete a study in Beiwe's sense: it is missing from every study-level endpoint."""
        with self.lock:
            self.studies[study_id].hidden = True

    def set_intervention(self, participant_id: str, name: str, day: date | None) -> None:
        with self.lock:
            self.participant(participant_id).interventions[name] = day

    def analyze(self, participant_id: str, tree: Tree, first: date, last: date) -> None:
        """Run an analysis of Forest over some days, both inclusive. Its results appear in the daily statistics."""
        with self.lock:
            self.participant(participant_id).forest_tasks.append(
                ForestTask(tree=tree, first=first, last=last, ran=self.now)
            )

    def advance(self, by: timedelta) -> None:
        """Advance the world's clock. No data appears by itself."""
        with self.lock:
            self.now += by

    def live(self, until: datetime) -> list[StoredFile]:
        """Let time pass until then: phones record and upload as planned. Returns the files that came meanwhile.

        It makes no difference in how many steps time passes.
        """
        with self.lock:
            since, self.now = self.now, until
            came = []
            for person in [person for study in self.studies.values() for person in study.participants.values()]:
                if person.offline_since is not None:
                    person.heartbeat = until
                elif not (person.retired or person.deleted):
                    recorded = self._recorded(person, since)
                    came += self._uploaded(person, [file for file in recorded if since < file.arrived <= until])
            return came

    def go_offline(self, participant_id: str) -> None:
        """From now on the phone records and says that it lives, but uploads nothing, as without WiFi."""
        with self.lock:
            self.participant(participant_id).offline_since = self.now

    def go_online(self, participant_id: str) -> list[StoredFile]:
        """Upload now what a phone recorded while it was offline. Returns these files."""
        with self.lock:
            person = self.participant(participant_id)
            since, person.offline_since = person.offline_since or self.now, None
            recorded = [replace(file, arrived=self.now) for file in self._recorded(person, since)]
            return self._uploaded(person, [file for file in recorded if file.start_ms < ms_of(self.now)])

    def _recorded(self, person: Participant, since: datetime) -> list[StoredFile]:
        plan, study = self._plans[person.study_id], self.studies[person.study_id]
        return later_files(plan, study, person, since, self.now, seed=self.seed, cache=self._cache)

    def _uploaded(self, person: Participant, files: list[StoredFile]) -> list[StoredFile]:
        self._counts(person)
        for file in files:
            self._store(file)
        if counted := [file for file in files if file.chunked or not self.unchunked_lag]:
            self._processed(person, counted)
        return files

    def _make(self, participant_id: str, stream: str, moment: datetime, **options: Any) -> StoredFile:
        person = self.participant(participant_id)
        study = self.studies[person.study_id]
        file = make_file(
            study,
            person,
            stream,
            moment,
            content=self._plans[study.id].content,
            seed=self.seed,
            now=self.now,
            cache=self._cache,
            **options,
        )
        return replace(file, arrived=self.now)

    def counts(self, participant_id: str) -> Counts:
        """The rows of daily byte counts of a participant, by day, as they are now."""
        with self.lock:
            rows = self._counts(self.participant(participant_id))
            return {day: CountedDay(zone=row.zone, sizes=dict(row.sizes)) for day, row in rows.items()}

    def count(self) -> None:
        """Update the daily counts with what waits for it (``counts_wait``)."""
        with self.lock:
            waiting, self._uncounted = self._uncounted, {}
            for participant_id, files in waiting.items():
                self._count(self.participant(participant_id), files)

    def change_zone(self, study_id: str, time_zone: str) -> None:
        """Change the study's zone. Rows stay as they are; files processed from now on count in the new zone."""
        with self.lock:
            self.studies[study_id].time_zone = time_zone

    def _put(self, file: StoredFile) -> StoredFile:
        """Store a file that was processed just now."""
        self._uploaded(self.participant(file.participant_id), [file])
        return file

    def _store(self, file: StoredFile) -> StoredFile:
        self.participant(file.participant_id).files[file.key] = file
        return file

    def _counts(self, person: Participant) -> Counts:
        """The table itself. Before the first change, it is written from the present files."""
        if person.counts is None:
            person.counts = {}
            count_days(person.counts, person.files.values(), person.zone)
        return person.counts

    def _processed(self, person: Participant, files: list[StoredFile]) -> None:
        if self.counts_wait:
            self._uncounted.setdefault(person.id, []).extend(files)
        else:
            self._count(person, files)

    def _count(self, person: Participant, files: list[StoredFile]) -> None:
        zone = self.studies[person.study_id].time_zone
        days = {file.bin.astimezone(ZoneInfo(zone)).date() for file in files}
        count_days(self._counts(person), person.files.values(), zone, days)
