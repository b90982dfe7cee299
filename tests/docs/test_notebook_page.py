"""The page of a week in a few lines runs as it stands, from the phone to the picture."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from dagster_fixtures import instance, open_lab, point_to
from forest_environments import make_stand_in, real_forest
from labs import PASSPHRASE, START, WEEKS, Lab, moment

from dagster_beiwe.environment import BEIWE_FOREST
from dagster_beiwe.simulator import ParticipantPlan, StudyPlan, World

__all__ = ["instance", "open_lab", "point_to"]

PAGE = Path(__file__).parents[2] / "docs" / "notebook.md"
CELLS = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
ANNA = "anna0001"


@pytest.fixture
def lab(open_lab: Callable[..., Lab], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Lab:
    """A study whose participant lives a known life, with the tables that the page reads."""
    plan = StudyPlan(
        time_zone="America/New_York",
        participants=(ParticipantPlan(id=ANNA),),
        start=moment(START, 12),
        end=moment(START, 14),
        streams=("gps", "accelerometer"),
        lives=True,
    )
    made = open_lab(World.build(plan), streams=("gps", "accelerometer"), tables=("gps",), forest=("oak",))
    monkeypatch.setenv(BEIWE_FOREST, str(real_forest() or make_stand_in(tmp_path / "forest")))
    made.backfill()
    for table in ("settings", "streams/gps", "forest/oak"):
        partition = None if table == "settings" else f"{ANNA}|{WEEKS[0]}"
        assert made.run(table, partition=partition).success, table
    return made


def test_the_page_goes_from_the_lake_to_the_picture(lab: Lab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With the lake's folder, ids, and week put in."""
    monkeypatch.setenv("MPLBACKEND", "agg")
    monkeypatch.setenv("MPLCONFIGDIR", str(tmp_path / "matplotlib"))
    monkeypatch.setattr("getpass.getpass", lambda prompt: PASSPHRASE)
    end = START + timedelta(days=7)
    stand_ins = {
        "/data/lake": lab.lake.storage.describe(),
        "5873fe38644ad7557b168e43": lab.study.id,
        "abcd1234": ANNA,
        "2026, 3, 2,": f"{START.year}, {START.month}, {START.day},",
        "2026, 3, 9,": f"{end.year}, {end.month}, {end.day},",
        "2026-03-02": START.isoformat(),
        "2026-03-08": (end - timedelta(days=1)).isoformat(),
    }
    code = "".join(CELLS)
    for shown, used in stand_ins.items():
        assert shown in code
        code = code.replace(shown, used)
    names: dict[str, Any] = {}
    exec(compile(code, str(PAGE), "exec"), names)
    assert len(names["gps"]) > 100
    assert list(names["week"]["day"].dt.date) == [START]
    names["figure"].savefig(tmp_path / "week.png")
    assert (tmp_path / "week.png").read_bytes().startswith(b"\x89PNG")
