"""What a simulated world contains: the arguments of ``World.build``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, Literal

from dagster_beiwe.simulator.content import ContentPlan

OperatingSystem = Literal["ANDROID", "IOS", ""]
_SYSTEMS: tuple[OperatingSystem, ...] = ("ANDROID", "IOS")


@dataclass(frozen=True, kw_only=True)
class ParticipantPlan:
    """One participant. None means: as in the study's plan.

    ``os`` is empty for a participant who never registered a phone and so has no data. Data covers [``start``, ``end``),
    aware times, on the given ``hours`` of each UTC day, of which the phone records the ``share``; ``stream_ends`` ends
    single streams earlier. A phone that is ``offline_since`` then still records and says that it lives, but uploads
    nothing. ``wrong_clock`` adds a few files dated 1969, 1970 and next year; ``clock`` is how far the phone's clock is
    ahead at other times, or behind if it is negative. ``interventions`` and ``fields`` are
    values in the participant table; the study's first intervention is a week after ``start`` unless it is given.
    """

    id: str | None = None
    os: OperatingSystem = "ANDROID"
    start: datetime | None = None
    end: datetime | None = None
    hours: Sequence[int] | None = None
    streams: Sequence[str] | None = None
    content: ContentPlan | None = None
    retired: bool = False
    deleted: bool = False
    wrong_clock: bool = False
    clock: timedelta = timedelta()
    share: float = 1.0
    stream_ends: Mapping[str, datetime] = field(default_factory=dict)
    offline_since: datetime | None = None
    interventions: Mapping[str, date] = field(default_factory=dict)
    fields: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class StudyPlan:
    """One study. ``participants`` is their number (alternately Android and iOS), their ids, or plans for each.

    Default range of the data: the three days before the world's ``now``, every hour, every stream of the phone's
    system. Surveys, calls and texts get one file a day and recordings one a week, whatever ``hours`` says.
    ``settings`` are device settings that differ from the usual ones. With ``lives``, participants live lives that are
    known (``Participant.life``), and GPS, acceleration, calls, texts, and surveys tell of them.
    """

    name: str = "Loopback Study"
    id: str | None = None
    time_zone: str = "America/New_York"
    participants: int | Sequence[str | ParticipantPlan] = 2
    start: datetime | None = None
    end: datetime | None = None
    hours: Sequence[int] = tuple(range(24))
    streams: Sequence[str] | None = None
    content: ContentPlan = field(default_factory=ContentPlan)
    interventions: Sequence[str] = ("Surgery", "Discharge")
    fields: Sequence[str] = ("cohort",)
    settings: Mapping[str, Any] = field(default_factory=dict)
    lives: bool = False
    hidden: bool = False
    stopped: bool = False

    def participant_plans(self) -> tuple[ParticipantPlan, ...]:
        """One plan for each participant."""
        wanted = self.participants
        if isinstance(wanted, int):
            return tuple(ParticipantPlan(os=_SYSTEMS[number % 2]) for number in range(wanted))
        plans = []
        for number, one in enumerate(wanted):
            plans.append(ParticipantPlan(id=one, os=_SYSTEMS[number % 2]) if isinstance(one, str) else one)
        return tuple(plans)
