"""The examples of docs/reading.md run as they stand, on a filled lake."""

from __future__ import annotations

import re
import shutil
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pytest
from old_trees import save_by_hand
from reading_helpers import ANDROID, IOS, PASSPHRASE, START

from dagster_beiwe.lake import BeiweLake, StudyLake
from dagster_beiwe.lake.snapshots import create_snapshot
from dagster_beiwe.reading import BeiwePartitions
from dagster_beiwe.simulator import World
from dagster_beiwe.stream_tables.catalog import TABLES
from dagster_beiwe.stream_tables.definition import TableSources
from dagster_beiwe.studies.config import StudyConfig
from dagster_beiwe.studies.server_tables import survey_history_table
from dagster_beiwe.studies.study import Study
from dagster_beiwe.tables.store import TableStore

DOCUMENT = Path(__file__).parents[2] / "docs" / "reading.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), flags=re.DOTALL)


def run_example(number: int, **replacements: str) -> dict[str, Any]:
    code = EXAMPLES[number]
    for old, new in replacements.items():
        assert old in code
        code = code.replace(old, new)
    names: dict[str, Any] = {"passphrase": PASSPHRASE}
    exec(compile(code, str(DOCUMENT), "exec"), names)
    return names


def test_the_example_of_an_asset(shared_lake: StudyLake) -> None:
    """Its function counts rows per day of one participant."""
    study = Study(
        id=shared_lake.study_id,
        name="Sleep",
        key="sleep",
        start=START.date(),
        config=StudyConfig(shared_lake.study_id),
    )
    (asset,) = run_example(0)["lab_assets"](study)
    assert asset.key == dg.AssetKey(["beiwe", "sleep", "gps_rows_per_day"])
    table = asset(raw=BeiwePartitions.of(shared_lake, participants=[IOS]))
    assert table["rows"].sum() == 132
    assert str(table["UTC time"].dtype) == "datetime64[ms, UTC]"


def test_the_example_of_a_notebook(shared_lake: StudyLake) -> None:
    """With the lake's folder and ids put in."""
    folder = shared_lake.storage.describe()
    stand_ins = {"/data/lake": folder, "5873fe38644ad7557b168e43": shared_lake.study_id, "abcd1234": ANDROID}
    names = run_example(1, **stand_ins)
    assert len(names["gps"]) == 132


def test_the_example_of_past_states(shared_lake: StudyLake, tmp_path: Path) -> None:
    """On a copy with a snapshot, at states that it has."""
    shutil.copytree(shared_lake.storage.describe(), folder := tmp_path / "lake")
    lake = BeiweLake(folder).study(shared_lake.study_id, passphrase=PASSPHRASE)
    create_snapshot(lake, "paper-1", run_id="test")
    names = run_example(2, **{"/data/lake": str(folder), "5873fe38644ad7557b168e43": shared_lake.study_id})
    assert len(names["gps"]) == 264
    assert len(names["by_number"]) < len(names["by_time"]) == len(names["as_published"]) == 6


def test_the_example_of_tables(shared_lake: StudyLake, tmp_path: Path) -> None:
    """On a copy with a table; another participant's rows are left out."""
    shutil.copytree(shared_lake.storage.describe(), folder := tmp_path / "lake")
    lake = BeiweLake(folder).study(shared_lake.study_id, passphrase=PASSPHRASE)
    frame = pd.DataFrame({"participant": [ANDROID, IOS], "stream": ["gps", "wifi"], "day": [1, 2]})
    TableStore.of_study(lake).write(["beiwe", "sleep", "coverage"], frame)
    stand_ins = {"/data/lake": str(folder), "5873fe38644ad7557b168e43": shared_lake.study_id, "abcd1234": ANDROID}
    assert run_example(3, **stand_ins)["frame"].to_dict("list") == {"participant": [ANDROID], "stream": ["gps"]}


def test_the_example_of_stream_tables(shared_lake: StudyLake, tmp_path: Path) -> None:
    """On a copy with the table of GPS of both people."""
    shutil.copytree(shared_lake.storage.describe(), folder := tmp_path / "lake")
    lake = BeiweLake(folder).study(shared_lake.study_id, passphrase=PASSPHRASE)
    for key, window in BeiwePartitions.of(lake, end=START + timedelta(days=7)).items():
        sources = TableSources(participant=window.participant, window=window, zone="America/New_York", tables={})
        frame = TABLES["gps"].make(sources).frame
        TableStore.of_study(lake).write(["beiwe", "sleep", "streams", "gps"], frame, partition=key)
    run_example(4)
    stand_ins = {"/data/lake": str(folder), "5873fe38644ad7557b168e43": shared_lake.study_id, "abcd1234": ANDROID}
    names = run_example(5, **stand_ins)
    assert len(names["frame"]) == 7 * 2 * 4
    assert names["gps"].missing == (f"{ANDROID}|2024-03-11", f"{ANDROID}|2024-03-18")


def test_the_example_of_survey_answers(shared_lake: StudyLake, shared_world: World, tmp_path: Path) -> None:
    """On a copy with the table of one person, who chose something in each submission."""
    shutil.copytree(shared_lake.storage.describe(), folder := tmp_path / "lake")
    lake = BeiweLake(folder).study(shared_lake.study_id, passphrase=PASSPHRASE)
    (study,) = shared_world.studies.values()
    history = survey_history_table({each.id: each.history_as_json() for each in study.surveys}, [])
    for key, window in BeiwePartitions.of(lake, participants=[ANDROID]).items():
        tables = {"survey_history": history}
        sources = TableSources(participant=window.participant, window=window, zone=None, tables=tables)
        frame = TABLES["surveys"].make(sources).frame
        TableStore.of_study(lake).write(["beiwe", "sleep", "surveys"], frame, partition=key)
    run_example(6)
    stand_ins = {"/data/lake": str(folder), "5873fe38644ad7557b168e43": shared_lake.study_id, "abcd1234": ANDROID}
    names = run_example(7, **stand_ins)
    chosen = names["counts"].groupby("question text", observed=True).sum()
    assert chosen["Pick many"] >= chosen["Pick one"] == names["surveys"]["submission"].nunique() > 1


def test_the_example_of_a_tree_of_mano(shared_world: World, tmp_path: Path) -> None:
    """As mano writes it, encrypted."""
    save_by_hand(shared_world, tmp_path, streams=["gps"], passphrase=PASSPHRASE)
    assert len(run_example(8, **{"/data/mano": str(tmp_path)})["gps"]) > 0


def test_the_tutorial_reads_its_lake(
    shared_lake: StudyLake, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the two variables that it sets; it names the study that the reader has filled."""
    page = DOCUMENT.with_name("tutorial.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    now = datetime.now(timezone.utc)
    (filled,) = (study.id for study in World.demo(now=now).studies.values() if study.name == "Sleep and Mood")
    assert filled in code
    code = code.replace(filled, shared_lake.study_id)
    monkeypatch.setenv("BEIWE_LAKE", shared_lake.storage.describe())
    monkeypatch.setenv("BEIWE_LAKE_PASSPHRASE", PASSPHRASE)
    exec(compile(code, "docs/tutorial.md", "exec"), {})
    assert {ANDROID, IOS} <= set(capsys.readouterr().out.split())


@pytest.mark.parametrize("method", ["files", "open", "read", "iter_frames", "set_aside", "missing", "incomplete"])
def test_the_document_names_what_there_is(method: str) -> None:
    """Nothing is described that the view does not have."""
    assert f"raw.{method}" in DOCUMENT.read_text(encoding="utf-8")
    assert hasattr(BeiwePartitions, method)
