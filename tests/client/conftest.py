"""A small world, its server, and a client that does not wait between retries."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone

import pytest
from client_helpers import OTHER_STUDY, STUDY, credentials_for

from dagster_beiwe.client import BeiweClient
from dagster_beiwe.simulator import ParticipantPlan, SimulatedServer, StudyPlan, World

NOW = datetime(2026, 3, 4, tzinfo=timezone.utc)


@pytest.fixture
def world() -> World:
    streams = ("gps", "power_state", "survey_answers")
    return World.build(
        StudyPlan(
            id=STUDY,
            name="Loopback Study Alpha",
            hours=(1, 13),
            streams=streams,
            participants=(
                ParticipantPlan(id="12345678"),
                ParticipantPlan(id="iphn2aaa", os="IOS"),
                ParticipantPlan(id="retd5aaa", retired=True),
                ParticipantPlan(id="delt7aaa", deleted=True),
                ParticipantPlan(id="nodt6aaa", os=""),
            ),
        ),
        StudyPlan(id=OTHER_STUDY, name="Beta Étude 2", hours=(1,), streams=streams, participants=("andr9aaa",)),
        now=NOW,
    )


@pytest.fixture
def server(world: World) -> Iterator[SimulatedServer]:
    with SimulatedServer(world) as running:
        yield running


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def client(server: SimulatedServer, waits: list[float]) -> Iterator[BeiweClient]:
    with BeiweClient(credentials_for(server), sleep=waits.append) as ready:
        yield ready
