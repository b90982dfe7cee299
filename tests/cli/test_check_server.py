"""``dagster-beiwe check`` proves with real requests what a server has: its streams, data and counts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from dagster_beiwe.cli import main
from dagster_beiwe.simulator import SimulatedServer
from dagster_beiwe.simulator.profiles import Profile


@pytest.fixture
def updated(server: SimulatedServer) -> Iterator[Callable[[str], None]]:
    """Makes the server one of another generation, for one test."""
    before = server.profile
    yield lambda name: setattr(server, "profile", Profile.named(name))
    server.profile = before
    server.behave()


@pytest.mark.parametrize(
    ("profile", "told"),
    [
        ("2026-03", "Streams     19\nLake"),
        ("2026-08", "Streams     18\n  missing   ambient_audio: not on this server"),
        ("ai_chat_logs", "Streams     19\n  new       ai_chat_logs: downloaded and stored like the others"),
        ("image_survey", "  new       image_survey, omniring: "),
        ("2023-11", "Streams     not listed by this server"),
    ],
)
def test_check_tells_the_streams_and_asks_for_data_and_counts(
    environment: Path, updated: Callable[[str], None], profile: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A server that differs from what is known is usable, and said to differ."""
    updated(profile)
    assert main(["check"]) == 0
    printed = capsys.readouterr().out
    assert told in printed
    assert "data is sent, bytes per day are " in printed


@pytest.mark.parametrize(
    ("route", "error"),
    [
        ("/get-data/v2", "TruncatedArchiveError: "),
        ("/get-summary-statistics/v1", "BadAnswerError: "),
        ("/get-participant-ids/v1", "BadAnswerError: "),
    ],
)
def test_check_finds_what_runs_would_fail_for(
    environment: Path,
    server: SimulatedServer,
    updated: object,
    route: str,
    error: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """That a route exists does not say that it answers; what else there is to tell is told."""
    server.misbehave("silent_cut", route=route, after_bytes=1)
    assert main(["check"]) == 1
    printed = capsys.readouterr().out
    assert error in printed
    assert "Streams     19" in printed


def test_check_leaves_out_streams_that_only_get_data_lacks(
    environment: Path, server: SimulatedServer, updated: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    """As runs do."""
    updated("2026-08")
    server.profile = replace(server.profile, still_counted=("ambient_audio",))
    assert main(["check"]) == 0
    assert "  missing   ambient_audio: not on this server" in capsys.readouterr().out
