"""The page about server versions is what the simulator plays, and what the client does with it is tested elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from dagster_beiwe.client.capabilities import ROUTES
from dagster_beiwe.simulator import PROFILE_NAMES
from dagster_beiwe.simulator.__main__ import main

PAGE = Path(__file__).parents[2] / "docs" / "server-versions.md"


def test_the_page_is_what_the_command_prints(capsys: pytest.CaptureFixture[str]) -> None:
    """`python -m dagster_beiwe.simulator --versions > docs/server-versions.md` makes it anew."""
    assert main(["--versions"]) == 0
    assert capsys.readouterr().out == PAGE.read_text(encoding="utf-8")


def test_the_page_tells_of_every_profile_and_every_endpoint_that_is_asked_for() -> None:
    """A profile or a capability that comes later needs a line."""
    text = PAGE.read_text(encoding="utf-8")
    assert [name for name in PROFILE_NAMES if text.count(f"`{name}`") + text.count(f"| {name} |") < 2] == []
    assert [route for route in ROUTES.values() if f"| `{route}` |" not in text] == []
