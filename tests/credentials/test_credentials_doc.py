"""What the page about credentials shows is run, and what it names exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dagster_beiwe.simulator import SimulatedServer, StudyPlan, World

PAGE = (Path(__file__).parents[2] / "docs" / "credentials.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)


def test_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """In an empty folder, with the environment of a simulated server."""
    monkeypatch.chdir(tmp_path)
    with SimulatedServer(World.build(StudyPlan(name="Sleep", participants=2, streams=("gps",)))) as server:
        monkeypatch.setenv("BEIWE_URL", server.url)
        monkeypatch.setenv("BEIWE_ACCESS_KEY", server.access_key)
        monkeypatch.setenv("BEIWE_SECRET_KEY", server.secret_key)
        for example in EXAMPLES:
            exec(compile(example, "credentials.md", "exec"), {})
    assert capsys.readouterr().out == "Sleep 2\nCredentials(url='https://studies.example.org')\n"
