"""The page about history and snapshots: its code runs, and it tells of every kind of record."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, get_args

import pytest

from dagster_beiwe import BeiweClient, BeiweLake
from dagster_beiwe.client import HttpPolicy
from dagster_beiwe.credentials import Credentials
from dagster_beiwe.lake.catalog.records import AnyRecord
from dagster_beiwe.simulator import ContentPlan, SimulatedServer, StudyPlan, World
from dagster_beiwe.sync import Cell, StudySync
from dagster_beiwe.windows import windows_between

PAGE = (Path(__file__).parents[2] / "docs" / "history.md").read_text(encoding="utf-8")
PASSPHRASE = "a passphrase for tests only"


def test_the_code_of_the_page_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On a small lake: a snapshot is made, cited, read, and listed."""
    now = datetime(2026, 3, 9, tzinfo=timezone.utc)
    start = now - timedelta(days=7)
    plan = StudyPlan(participants=1, start=start, hours=(9,), streams=("gps",), content=ContentPlan(rows=3))
    with SimulatedServer(World.build(plan, now=now)) as server:
        (study_id,) = server.world.studies
        lake = BeiweLake(tmp_path).study(study_id, passphrase=PASSPHRASE)
        keys = Credentials(url=server.url, access_key=server.access_key, secret_key=server.secret_key)
        with BeiweClient(keys, policy=HttpPolicy()) as client:
            cells = [Cell(who, each) for who in client.participants(study_id)
                     for each in windows_between("weekly", start, now)]  # fmt: skip
            assert all(report.complete for report in StudySync(client, lake, run_id="r").run(cells))
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    code = code.replace("/data/lake", str(tmp_path)).replace("5873fe38644ad7557b168e43", study_id)
    names: dict[str, Any] = {"passphrase": PASSPHRASE}
    exec(compile(code, "docs/history.md", "exec"), names)
    assert len(names["gps"]) == 7 * 3
    printed = capsys.readouterr().out
    assert "1 participant, 7 files" in printed
    assert printed.endswith("paper-1 1 0 withdrawn since\n")


def test_every_kind_of_record_is_told_of() -> None:
    """In the table of the page."""
    told = set(re.findall(r"[a-z]+", " ".join(re.findall(r"(?m)^\| ([a-z, ]+) \|", PAGE))))
    assert told >= {str(kind.__struct_config__.tag) for kind in get_args(AnyRecord)}
