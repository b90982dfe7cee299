"""Every fault of the server in the middle of a synchronisation: recovered, one open hour, or an error by name.

A lake holds part of a study. The server has moved on. A run over everything meets the fault at one hour of one stream
of the second participant; then the server is well again, and the next run must bring what was missing.
"""

from __future__ import annotations

import logging
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
    copied,
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
from dagster_beiwe.simulator import SimulatedServer, World
from dagster_beiwe.sync import WindowReport

CASES = [pytest.param(*case, id=f"v{case[1]}-{case[0].name}-{case[2]}") for case in DOWNLOAD_CASES]
PROFILES = {1: "2025-03", 2: "2026-03"}
"""The newest server that has get-data/v1 only, and the newest of all."""


@pytest.mark.parametrize(("fault", "version", "times", "outcome"), CASES)
def test_a_download(
    fault: ServerFault,
    version: int,
    times: Times,
    outcome: Outcome,
    filled_lake: Path,
    tmp_path: Path,
    elsewhere: Elsewhere,
    check_losses: CheckLosses,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The outcome is the table's; the lake is intact at every step, and whole when the server is well again."""
    caplog.set_level(logging.DEBUG)
    world = new_world()
    move_on(world)
    waits: list[float] = []
    with (
        copied(filled_lake, tmp_path / "lake") as folder,
        SimulatedServer(world, profile=PROFILES[version]) as server,
        client_of(server, waits, **_patience(fault)) as client,
    ):
        before = held(folder)
        client.capabilities()
        _inflict(fault, server, times, client, elsewhere)
        said = _run_and_check(client, folder, world, outcome)
        check_lake(folder)
        check_losses(folder, world, before)
        assert [path.name for path in tmp_path.iterdir()] == ["lake"]
        assert elsewhere.came == []
        for text in said:
            check_message(text, secrets_of(server))
        if fault.misbehaviour.get("retry_after"):
            assert set(waits) == {77.0}
        for record in caplog.records:
            if record.name == "dagster_beiwe":
                check_message(record.getMessage(), secrets_of(server))

        if outcome.kind == "recovered":
            return
        server.behave()
        server.start()
        assert all(report.complete for report in run(client, open_lake(folder), cells()))
        check_lake(folder)
        assert held(folder) == truth(world)


def _run_and_check(client: BeiweClient, folder: Path, world: World, outcome: Outcome) -> list[str]:
    """Run, compare with the outcome, and return everything that was said about it."""
    if outcome.kind == "error":
        with pytest.raises(BeiweError) as caught:
            run(client, open_lake(folder), cells())
        assert isinstance(caught.value, getattr(errors, outcome.error)), everything_in(caught.value)
        return [str(caught.value), everything_in(caught.value)]
    reports = run(client, open_lake(folder), cells())
    open_windows = [report for report in reports if not report.complete]
    if outcome.kind == "recovered":
        assert not open_windows, [failure for report in open_windows for failure in report.failures]
        assert held(folder) == truth(world)
        return []
    return _check_incomplete(open_windows, folder, world, outcome)


def _check_incomplete(open_windows: list[WindowReport], folder: Path, world: World, outcome: Outcome) -> list[str]:
    """Exactly the bad hour of the bad stream stays incomplete and is reported; nothing else can be missing."""
    (report,) = open_windows
    (failure,) = report.failures
    where = (report.cell.participant, failure.window.start, failure.window.end, failure.streams)
    assert where == (SECOND, BAD_HOUR, BAD_HOUR + HOUR, (BAD_STREAM,))
    assert failure.error in _names_of(outcome.error), failure
    missing = truth(world).items() - held(folder).items()
    assert {key.split("/", 1)[1] for key, _ in missing} <= {f"{SECOND}/{BAD_STREAM}/{BAD_HOUR:%Y-%m-%dT%H:%M:%S}.csv"}
    return [failure.message]


def _names_of(error: str) -> set[str]:
    """The class and those below it."""
    base = getattr(errors, error)
    below = {name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, base)}
    return {error, *below}


def _patience(fault: ServerFault) -> dict[str, Any]:
    if fault.misbehaviour.get("what") == "hang":
        return {"attempts": 2, "read_timeout_seconds": 0.3}
    return {"attempts": 3}


def _inflict(fault: ServerFault, server: SimulatedServer, times: Times, client: BeiweClient, host: Elsewhere) -> None:
    if not fault.misbehaviour:
        server.stop()
        if times == "once":  # somebody starts it again while the client waits

            def start(_seconds: float) -> None:
                server.start()

            client._transport._sleep = start
        return
    options: dict[str, Any] = {**fault.misbehaviour, "times": 1 if times == "once" else None}
    place: dict[str, Any] = {"participant": SECOND, "stream": BAD_STREAM, "start": BAD_HOUR, "end": BAD_HOUR + HOUR}
    if options["what"] == "redirect":
        options["location"] = host.url
    server.misbehave(**options, **place, route="/get-data/*")


def test_the_first_participant_is_done_before_the_fault(filled_lake: Path, tmp_path: Path) -> None:
    """What a run had committed when an error ended it is there: the faults really come in the middle."""
    world = new_world()
    with (
        copied(filled_lake, tmp_path / "lake") as folder,
        SimulatedServer(world) as server,
        client_of(server, [], attempts=1) as client,
    ):
        server.misbehave("reset", participant=SECOND, stream=BAD_STREAM, start=BAD_HOUR, end=BAD_HOUR + HOUR)
        with pytest.raises(errors.ConnectionFailedError):
            run(client, open_lake(folder), cells())
        assert {key for key in truth(world) if f"/{FIRST}/" in key} <= held(folder).keys()
