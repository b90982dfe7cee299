"""The log's invariants with each process in a container: killed, cut off from the store, and with a wrong clock."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest
from container_actors import in_container
from object_helpers import S3
from real_schedules import STORE_FAULTS, Ways, play

from benchmarks.containers.podman import NoPodmanError, Podman, require_podman

PATIENT = {"AWS_MAX_ATTEMPTS": "10", "AWS_RETRY_MODE": "standard"}
"""As for a store that may be away for a minute: the client repeats its requests."""
FAULTS = (*STORE_FAULTS, "cut off")


@pytest.fixture(scope="module")
def podman() -> Iterator[Podman]:
    """Skips where there can be no containers."""
    try:
        require_podman()
    except NoPodmanError as error:
        pytest.skip(str(error))
    with Podman({}, {}) as engine:
        yield engine


@pytest.fixture
def patient(s3: S3, monkeypatch: pytest.MonkeyPatch) -> S3:
    environment = s3.environment | PATIENT
    monkeypatch.setattr(s3, "environment", environment)
    return s3


def ways(podman: Podman, *, away_seconds: float) -> Ways:
    return Ways(spawn=partial(in_container, podman), faults=FAULTS, away_seconds=away_seconds)


def test_the_invariants_hold_in_containers(podman: Podman, url: str, patient: S3) -> None:
    """A process is cut off from the store and comes back; a request arrives late; clocks are ten minutes off."""
    cut_off, late = FAULTS.index("cut off"), FAULTS.index("late")
    play((cut_off, late), url, patient, ways=ways(podman, away_seconds=2))


@pytest.mark.large
def test_fifty_schedules_in_containers(podman: Podman, url: str, patient: S3) -> None:
    """The same at length: cut off for a minute, which some processes outlast and others do not."""
    play(range(50), url, patient, ways=ways(podman, away_seconds=60))
