"""A small world for the simulator's tests, and a way to ask a server that serves it."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

import requests

from dagster_beiwe.simulator import ParticipantPlan, SimulatedServer, StudyPlan, World

NOW = datetime(2026, 10, 8, 12, tzinfo=timezone.utc)
DAY = datetime(2026, 10, 5, tzinfo=timezone.utc)
ALPHA = "Alpha0000000000000000001"
BETA = "Beta00000000000000000002"


def build_world(seed: int = 1) -> World:
    """Alpha: Android, iOS, an id of digits, one without a phone. Beta: in Kolkata, with a name outside ASCII."""
    alpha = StudyPlan(
        name="Alpha Study",
        id=ALPHA,
        start=DAY,
        hours=(0, 8, 16),
        participants=(
            ParticipantPlan(id="andr1aaa"),
            ParticipantPlan(id="iphn2aaa", os="IOS"),
            ParticipantPlan(id="12345678", hours=(8,)),
            ParticipantPlan(id="nodt4aaa", os=""),
        ),
    )
    beta = StudyPlan(
        name="Beta Étude", id=BETA, start=DAY, time_zone="Asia/Kolkata", interventions=(), participants=["andr1bbb"]
    )
    return World.build(alpha, beta, seed=seed, now=NOW)


@dataclass
class Client:
    """Asks one server with the keys of the researcher who sees everything."""

    server: SimulatedServer
    session: requests.Session

    def post(self, route: str, *, query: dict[str, str] | None = None, **form: Any) -> requests.Response:
        keys = {"access_key": self.server.access_key, "secret_key": self.server.secret_key}
        return self.session.post(
            f"{self.server.url}/{route}", data={**keys, **form}, params=query, allow_redirects=False, timeout=20
        )

    def get_data(self, version: str = "v1", **form: Any) -> requests.Response:
        return self.post(f"get-data/{version}", **{"study_id": ALPHA, **form})

    def archive(self, version: str = "v1", **form: Any) -> zipfile.ZipFile:
        answer = self.get_data(version, **form)
        assert answer.status_code == 200
        return zipfile.ZipFile(io.BytesIO(answer.content))

    def registry(self, **form: Any) -> dict[str, str | None]:
        found: dict[str, str | None] = json.loads(self.archive(**form).read("registry"))
        return found


def hour(number: int, *, day: int = 0) -> datetime:
    return DAY + timedelta(days=day, hours=number)


def wire_time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S")


def window(start: datetime, end: datetime) -> dict[str, str]:
    """Form fields of a half-open window."""
    return {"time_start": wire_time(start), "time_end": wire_time(end - timedelta(seconds=1))}
