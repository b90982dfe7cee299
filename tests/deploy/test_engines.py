"""docs/deploy.md as it stands, on real engines: Postgres, an object store, runs in containers or Celery's workers."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest

from benchmarks.containers.engines import CeleryWorkers, Containers, Engine, Kubernetes
from benchmarks.containers.podman import NoPodmanError, require_podman
from benchmarks.containers.postgres import Postgres
from benchmarks.containers.rabbitmq import NoRabbitMQError, require_rabbitmq
from benchmarks.containers.scenario import Size, play

LARGE = [pytest.param(name, marks=pytest.mark.large) for name in ("Celery", "Kubernetes")]


@pytest.fixture(params=["containers", *LARGE])
def engine(request: pytest.FixtureRequest) -> Engine:
    """Skips where an engine can't be had."""
    try:
        if request.param == "Celery":
            require_rabbitmq()
            return CeleryWorkers()
        require_podman()
        return Containers() if request.param == "containers" else Kubernetes()
    except (NoPodmanError, NoRabbitMQError) as error:
        pytest.skip(str(error))


def test_a_backfill(engine: Engine, postgres: Postgres, s3_environment: dict[str, str], tmp_path: Path) -> None:
    """One run is killed in its middle, and the clock of another is wrong: the lake is what the server has."""
    folder = tmp_path / f"engine-{type(engine).__name__.lower()}"
    folder.mkdir()
    outcome = play(folder, Size(participants=4, weeks=2), engine, postgres=postgres, store=s3_environment)
    assert (outcome.recorded, outcome.twice) == (8, 0)
    assert outcome.runs == {"SUCCESS": 3, "FAILURE": 1}  # the roster, one, and the retry
    assert outcome.peak_downloads <= 2
    assert outcome.clocks_ahead >= 1
    assert (outcome.different, outcome.findings) == (0, [])


@pytest.mark.large
@pytest.mark.parametrize("away", ["database", "store"])
def test_containers_are_cut_off(
    away: Literal["database", "store"], postgres: Postgres, s3_environment: dict[str, str], tmp_path: Path
) -> None:
    """From Dagster's history, or from the lake, for two minutes: what they lose is done again."""
    folder = tmp_path / f"engine-without-{away}"
    folder.mkdir()
    size = Size(participants=4, weeks=3, cut_off_from=away, cut_off_seconds=120)
    outcome = play(folder, size, Containers(), postgres=postgres, store=s3_environment)
    assert (outcome.recorded, outcome.twice) == (12, 0)
    assert outcome.runs["SUCCESS"] == 4
    assert (outcome.different, outcome.findings) == (0, [])
