"""Snapshots under a new passphrase: each with its own state, or named if that can't be copied."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

import pandas as pd
import pytest
from damage import flip
from rekeyed import FRAME, at, contents, delete_upstream, history, log_of

from dagster_beiwe.cli import main
from dagster_beiwe.lake import StudyLake
from dagster_beiwe.lake.catalog.past import add_snapshot
from dagster_beiwe.lake.snapshots import citation, create_snapshot, delete_snapshot
from dagster_beiwe.maintenance.rekey import rekey_study
from dagster_beiwe.maintenance.repair import repair_study
from dagster_beiwe.maintenance.verify import verify_study
from dagster_beiwe.tables.store import TableStore


def test_snapshots_come_over(lake: StudyLake, place: Path) -> None:
    """Each with its state and its digest, and each past window under the new passphrase; a second call adds new ones.

    Other past states stay in the old lake.
    """
    TableStore.of_study(lake).write(["lab", "daily"], FRAME)
    states = {"first": (contents(lake), history(lake))}
    for name in ("first", "second"):
        facts = {"content": f"digest of {name}", "participants": 2, "files": 9, "size_bytes": 99}
        day = datetime(2025, 3, 9, tzinfo=timezone.utc)
        add_snapshot(log_of(lake), name, log_of(lake).refresh().head, run_id="paper", taken_at=day, **facts)
        delete_upstream(lake)
        TableStore.of_study(lake).write(["lab", "daily"], FRAME.head(0))
        TableStore.of_study(lake).write(["lab", f"after {name}"], FRAME)
        states["second"] = states.get("second", (contents(lake), history(lake)))
        assert name == "second" or states[name][1] != history(
            lake
        )  # what delete_upstreamed once can't delete_upstream again
        new = at(place, lake.study_id)
        assert rekey_study(lake, new).snapshots == len(log_of(lake).state.snapshots)
        assert history(new) == history(lake)
    for name, (content, told) in states.items():
        past = new.at(name)
        assert (contents(past), history(past)) == (content, told)
        snapshot = log_of(new).state.snapshots[name]
        assert (snapshot.content, snapshot.taken_at) == (f"digest of {name}", day)
        assert "taken on 2025-03-09" in citation(new, snapshot)
        assert len(TableStore.of_study(past).read(["lab", "daily"])) == (name == "first")
        assert [TableStore.of_study(past).exists(["lab", f"after {each}"]) for each in states] == [
            name == "second",
            False,
        ]
    assert verify_study(new).intact


def test_a_damaged_snapshot_is_named(
    lake: StudyLake, environment: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever can't mend it can remove it, and go on."""
    create_snapshot(lake, "paper", run_id="paper")
    flip(environment / lake.folder("anna1111", next(lake.manifests("anna1111")).files[0].path))
    repair_study(lake, verify_study(lake).findings, run_id="repair")
    assert main(["rekey", "--to", str(place)]) == 1
    assert "The state that snapshot 'paper' keeps cannot be copied." in capsys.readouterr().err
    delete_snapshot(lake, "paper", run_id="paper")
    assert main(["rekey", "--to", str(place)]) == 0
    assert verify_study(at(place, lake.study_id)).intact


def test_a_damaged_table_is_in_no_snapshot_of_the_copy(lake: StudyLake, environment: Path, place: Path) -> None:
    """An older one that an earlier snapshot has must not pass for it."""
    for number, name in enumerate(("first", "second"), 1):
        TableStore.of_study(lake).write(["lab", "daily"], pd.DataFrame({"days": [number]}))
        create_snapshot(lake, name, run_id="paper")
    flip(
        max(
            (environment / lake.study_id / ".tables" / "lab").glob("daily~*.parquet"),
            key=lambda path: path.stat().st_mtime_ns,
        )
    )
    repair_study(lake, verify_study(lake).findings, run_id="repair")
    assert main(["rekey", "--to", str(place)]) == 1
    new = at(place, lake.study_id)
    assert [TableStore.of_study(new.at(name)).exists(["lab", "daily"]) for name in ("first", "second")] == [True, False]
    assert not TableStore.of_study(new).exists(["lab", "daily"])
    assert verify_study(new).intact


def test_a_snapshot_of_a_state_that_the_copy_has_passed_comes_over(lake: StudyLake, place: Path) -> None:
    """The new lake goes back to it, and on to the newest state again."""
    before, told, new = log_of(lake).refresh().head, history(lake), at(place, lake.study_id)
    delete_upstream(lake)
    TableStore.of_study(lake).write(["lab", "later"], FRAME)
    rekey_study(lake, new)
    facts = {"content": "digest", "participants": 2, "files": 9, "size_bytes": 99}
    add_snapshot(log_of(lake), "late", before, run_id="paper", **facts)
    rekey_study(lake, new)
    assert (history(new.at("late")), history(new)) == (told, history(lake))
    tables = [TableStore.of_study(each) for each in (new.at("late"), new)]
    assert [each.exists(["lab", "later"]) for each in tables] == [False, True]
    assert verify_study(new).intact
