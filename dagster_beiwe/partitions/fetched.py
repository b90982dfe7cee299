"""What Dagster has recorded of participants: which facts a partition was made with, and when, in tags of its events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Final

import dagster as dg

from dagster_beiwe.coverage.enrollment import enrollments
from dagster_beiwe.partitions.events import newest_events
from dagster_beiwe.runs.dagster_private import DATA_VERSION_TAG
from dagster_beiwe.studies.roster import Row, person_version
from dagster_beiwe.studies.study import Study

_UPLOAD_TAG: Final = "beiwe/last_upload"
_FETCHED_TAG: Final = "beiwe/fetched_at"


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """What the server said of a participant when the partition was fetched: the version of the person's lasting facts,
    and the last upload (UTC; None if there was none)."""

    version: str
    last_upload: datetime | None
    at: datetime

    @classmethod
    def now(cls, row: Row, *, now: datetime) -> Fetched:
        """From a row of the roster."""
        (enrollment,) = enrollments([row]).values()
        uploaded = enrollment.last_upload
        return cls(
            version=person_version(row),
            last_upload=uploaded.replace(microsecond=0) if uploaded else None,
            at=now,
        )

    @classmethod
    def from_tags(cls, tags: Mapping[str, str]) -> Fetched:
        """From the tags of a materialization."""
        return cls(
            version=tags.get(DATA_VERSION_TAG, ""),
            last_upload=_moment(tags[_UPLOAD_TAG]) if _UPLOAD_TAG in tags else None,
            at=_moment(tags.get(_FETCHED_TAG, "0")),
        )

    @property
    def tags(self) -> Mapping[str, str]:
        """Tags of the partition's materialization, beside its data version."""
        last = {_UPLOAD_TAG: _seconds(self.last_upload)} if self.last_upload else {}
        return {_FETCHED_TAG: _seconds(self.at), **last}


def fetched_participants(instance: dg.DagsterInstance, study: Study) -> dict[str, Fetched]:
    """{participant: what was last fetched}, from the newest event of each partition."""
    events = newest_events(instance, study.asset_key("participant"))
    return {participant: Fetched.from_tags(event.tags or {}) for participant, event in events.items()}


def _seconds(moment: datetime) -> str:
    return f"{moment.timestamp():.6f}"  # whole seconds would be before a request of the same second


def _moment(seconds: str) -> datetime:
    return datetime.fromtimestamp(float(seconds), timezone.utc)
