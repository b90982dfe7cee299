"""Studies, participants and researchers of a simulated world. A world changes them only under its lock."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from dagster_beiwe.simulator.counts import Counts
from dagster_beiwe.simulator.files import StoredFile
from dagster_beiwe.simulator.forest import ForestTask
from dagster_beiwe.simulator.lives import Life
from dagster_beiwe.simulator.plans import ParticipantPlan
from dagster_beiwe.simulator.surveys import Survey, default_device_settings


@dataclass(frozen=True, kw_only=True)
class Researcher:
    """A researcher: API keys, website login, and accessible studies (all of them for a site administrator)."""

    username: str
    password: str = field(repr=False)
    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    study_ids: frozenset[str] = frozenset()
    site_admin: bool = False
    active: bool = True

    def may_see(self, study_id: str) -> bool:
        return self.site_admin or study_id in self.study_ids


@dataclass(frozen=True, kw_only=True)
class Upload:
    """One file that a phone sent: its name on the phone, its size, and when it arrived (aware, UTC)."""

    file_name: str
    size_bytes: int
    arrived: datetime


@dataclass(kw_only=True)
class Participant:
    """A participant and their files by registry key. Times are aware UTC; None where there was no phone yet.

    ``counts`` are the rows of daily byte counts. They are None until they are requested or something changes; then the
    present files are counted, in the zone ``zone`` that the study had when they were made.

    What the phone records follows ``plan``; until ``grown_until`` it is among the files. A phone that is
    ``offline_since`` uploads nothing. ``heartbeat`` is the last time that it said that it lives, if that is after its
    last upload. ``life`` is what is known of the person, in a study of known lives.
    """

    id: str
    study_id: str
    os: str
    created: datetime
    first_registration: datetime | None = None
    retired: bool = False
    deleted: bool = False
    interventions: dict[str, date | None] = field(default_factory=dict)
    fields: dict[str, str] = field(default_factory=dict)
    files: dict[str, StoredFile] = field(default_factory=dict)
    counts: Counts | None = None
    zone: str = "UTC"
    late_uploads: list[Upload] = field(default_factory=list)
    experiment: bool = False
    forest_tasks: list[ForestTask] = field(default_factory=list)
    plan: ParticipantPlan = field(default_factory=ParticipantPlan)
    grown_until: datetime | None = None
    offline_since: datetime | None = None
    heartbeat: datetime | None = None
    life: Life | None = None

    @property
    def last_upload(self) -> datetime | None:
        return max((file.arrived for file in self.files.values()), default=None)

    @property
    def last_heartbeat(self) -> datetime | None:
        return max(filter(None, (self.last_upload, self.heartbeat)), default=None)


@dataclass(kw_only=True)
class Study:
    """A study with its surveys, settings and participants. ``time_zone`` is an IANA name."""

    id: str
    pk: int
    name: str
    time_zone: str
    created: datetime
    interventions: list[str] = field(default_factory=list)
    fields: list[str] = field(default_factory=list)
    surveys: list[Survey] = field(default_factory=list)
    device_settings: dict[str, Any] = field(default_factory=default_device_settings)
    participants: dict[str, Participant] = field(default_factory=dict)
    hidden: bool = False
    stopped: bool = False
