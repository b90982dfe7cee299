"""Every fault of the server in the middle of a synchronisation: recovered, one open hour, or an error by name.

A lake holds part of a study. The server has moved on. A run over everything meets the fault at one hour of one stream
of the second participant; then the server is well again, and the next run must bring what was missing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

import pytest
from fault_endpoints import DOWNLOAD_CASES
from fault_matrix import Outcome, ServerFault, Times
from fault_scene import (
    BAD_HOUR,
    BAD_STREAM,
    FIRST,
    HOUR,
    SECOND,
    CheckLosses,
    Elsewhere,
    cells,
    check_lake,
    check_message,
    client_of,
    completes,
    everything_in,
    held,
    move_on,
    new_world,
    open_lake,
    run,
    secrets_of,
    truth,
)

from dagster_beiwe import errors
from dagster_beiwe.client import BeiweClient
from dagster_beiwe.errors import BeiweError
from dagster_beiwe.simulator import SimulatedServer
from dagster_beiwe.sync import WindowReport

CASES = [pytest.param(*case, id=f"v{case[1]}-{case[0].name}-{case[2]}") for case in DOWNLOAD_CASES]
PROFILES = {1: "2025-03", 2: "2026-03"}
"""The newest server that has get-data/v1 only, and the newest of all."""


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[int, SimulatedServer]]:
    """One server for each version of get-data, with the same world; each case switches off what it switched on."""
    world = new_world()
    move_on(world)
    running = {version: SimulatedServer(world, profile=profile) for version, profile in PROFILES.items()}
    for server in running.values():
        server.start()
    yield running
    for server in running.values():
        server.stop()


@pytest.fixture(scope="module")
def before(filled_lake: Path) -> dict[str, str]:
    """What was committed before the fault."""
    return held(filled_lake)


@pytest.mark.parametrize(("fault", "version", "times", "outcome"), CASES)
def test_a_download(
    fault: ServerFault,
    version: int,
    times: Times,
    outcome: Outcome,
    servers: dict[int, SimulatedServer],
    lake_folder: Path,
    before: dict[str, str],
    elsewhere: Elsewhere,
    check_losses: CheckLosses,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The outcome is the table's; the lake is intact at every step, and whole when the server is well again."""
    caplog.set_level(logging.DEBUG)
    server = servers[version]
    waits: list[float] = []
    with client_of(server, waits, **_patience(fault)) as client:
        for capability in ("data_v2", "file_hashes", "summary_statistics"):
            client.supports(capability)
        try:
            _inflict(fault, server, times, client, elsewhere)
            incomplete, said = _run(client, lake_folder, outcome)
        finally:
            server.behave()
            server.start()
        check_lake(lake_folder)
        after = check_losses(lake_folder, server.world, before)
        if outcome.kind == "recovered":
            assert not incomplete, [failure for report in incomplete for failure in report.failures]
            assert after == truth(server.world)
        elif outcome.kind == "incomplete":
            said = _check_incomplete(incomplete, truth(server.world).items() - after.items(), outcome)
        assert [path.name for path in lake_folder.parent.iterdir()] == ["lake"]
        assert elsewhere.came == []
        for text in said:
            check_message(text, secrets_of(server))
        if fault.misbehavior.get("retry_after"):
            assert set(waits) == {77.0}
        for record in caplog.records:
            if record.name == "dagster_beiwe":
                check_message(record.getMessage(), secrets_of(server))
        if outcome.kind != "recovered":
            completes(client, lake_folder, server.world)


def _run(client: BeiweClient, folder: Path, outcome: Outcome) -> tuple[list[WindowReport], list[str]]:
    """Run over everything: the incomplete windows, and what an error said."""
    if outcome.kind != "error":
        return [report for report in run(client, open_lake(folder), cells()) if not report.complete], []
    with pytest.raises(BeiweError) as caught:
        run(client, open_lake(folder), cells())
    assert isinstance(caught.value, getattr(errors, outcome.error)), everything_in(caught.value)
    return [], [str(caught.value), everything_in(caught.value)]


def _check_incomplete(
    incomplete: list[WindowReport], missing: AbstractSet[tuple[str, str]], outcome: Outcome
) -> list[str]:
    """Exactly the bad hour of the bad stream stays incomplete and is reported; nothing else can be missing."""
    (report,) = incomplete
    (failure,) = report.failures
    where = (report.cell.participant, failure.window.start, failure.window.end, failure.streams)
    assert where == (SECOND, BAD_HOUR, BAD_HOUR + HOUR, (BAD_STREAM,))
    assert failure.error in _names_of(outcome.error), failure
    assert {key.split("/", 1)[1] for key, _ in missing} <= {f"{SECOND}/{BAD_STREAM}/{BAD_HOUR:%Y-%m-%dT%H:%M:%S}.csv"}
    return [failure.message]


def _names_of(error: str) -> set[str]:
    """The class and those below it."""
    base = getattr(errors, error)
    below = {name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, base)}
    return {error, *below}


def _patience(fault: ServerFault) -> dict[str, Any]:
    if fault.misbehavior.get("what") == "hang":
        return {"attempts": 2, "read_timeout_seconds": 0.3}
    return {"attempts": 3}


def _inflict(fault: ServerFault, server: SimulatedServer, times: Times, client: BeiweClient, host: Elsewhere) -> None:
    if not fault.misbehavior:
        server.stop()
        if times == "once":  # somebody starts it again while the client waits

            def start(_seconds: float) -> None:
                server.start()

            client._transport._sleep = start
        return
    options: dict[str, Any] = {**fault.misbehavior, "times": 1 if times == "once" else None}
    place: dict[str, Any] = {"participant": SECOND, "stream": BAD_STREAM, "start": BAD_HOUR, "end": BAD_HOUR + HOUR}
    if options["what"] == "redirect":
        options["location"] = host.url
    server.misbehave(**options, **place, route="/get-data/*")


def test_the_first_participant_is_done_before_the_fault(lake_folder: Path) -> None:
    """What a run had committed when an error ended it is there: the faults really come in the middle."""
    world = new_world()
    with SimulatedServer(world) as server, client_of(server, [], attempts=1) as client:
        server.misbehave("reset", participant=SECOND, stream=BAD_STREAM, start=BAD_HOUR, end=BAD_HOUR + HOUR)
        with pytest.raises(errors.ConnectionFailedError):
            run(client, open_lake(lake_folder), cells())
        assert {key for key in truth(world) if f"/{FIRST}/" in key} <= held(lake_folder).keys()
