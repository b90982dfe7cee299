"""What the tests of faults share: where they strike, what is missing then, and that a refresh mends it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from core_helpers import DAY, HOUR, PERSON, START, cells_of, check_lake, contents, sync, truth

from dagster_beiwe.client import BeiweClient
from dagster_beiwe.lake import FetchFailure, StudyLake
from dagster_beiwe.simulator import SimulatedServer, World
from dagster_beiwe.simulator.misbehavior import Switch
from dagster_beiwe.sync import WindowReport

BAD = START + 2 * DAY + 5 * HOUR
DOWNLOADS = "*get-data/v*"


def failures_of(reports: list[WindowReport]) -> list[FetchFailure]:
    return [failure for report in reports for failure in report.failures]


def missing(world: World, lake: StudyLake) -> set[str]:
    """Keys that the server has and the lake has not, or in another version."""
    held = contents(lake)
    return {key for key, digest in truth(world).items() if held.get(key) != digest}


def assert_mended(world: World, server: SimulatedServer, client: BeiweClient, lake: StudyLake, folder: Path) -> None:
    """Once the fault is gone, one refresh brings what is missing and closes every failure."""
    check_lake(folder, lake)
    server.behave()
    reports = sync(client, lake, cells_of(PERSON))
    assert all(report.complete and not report.failures for report in reports)
    assert all(manifest.complete for manifest in lake.manifests(PERSON))
    assert check_lake(folder, lake) == truth(world)


def misbehave(server: SimulatedServer, options: dict[str, Any]) -> Switch:
    """Switch on the misbehavior that ``name`` and the other options say."""
    return server.misbehave(options["name"], **{key: value for key, value in options.items() if key != "name"})
