"""What the command line does to a lake in an object store, where there are no folders and locks."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
from object_helpers import PASSPHRASE, PEOPLE, START, STUDY, contents, leftovers, study_lake, sync, truth
from old_trees import save_by_hand

from dagster_beiwe.cli import main
from dagster_beiwe.lake import BeiweLake, collecting
from dagster_beiwe.lake.catalog.collector import Retention
from dagster_beiwe.maintenance.verify import verify_study
from dagster_beiwe.simulator import SimulatedServer, World
from dagster_beiwe.tables.store import TableStore

NEW = "another passphrase"
FRAME = pd.DataFrame({"days": [1]})


@pytest.fixture
def environment(any_url: str, server: SimulatedServer, monkeypatch: pytest.MonkeyPatch) -> str:
    """The variables that a user sets; returns the lake's URL."""
    for name in ("BEIWE_KEYRING_SECTION", "BEIWE_STUDIES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("BEIWE_URL", server.url)
    monkeypatch.setenv("BEIWE_ACCESS_KEY", server.access_key)
    monkeypatch.setenv("BEIWE_SECRET_KEY", server.secret_key)
    monkeypatch.setenv("BEIWE_LAKE", any_url)
    monkeypatch.setenv("BEIWE_LAKE_PASSPHRASE", PASSPHRASE)
    monkeypatch.setenv("BEIWE_LAKE_PASSPHRASE_NEW", NEW)
    return any_url


def test_a_lake_moves_to_s3_and_within_it(
    environment: str, world: World, server: SimulatedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under a new passphrase each time; a lake below the same bucket is another place."""
    lake = study_lake(environment)
    sync(server, lake)
    TableStore.of_study(lake).write(["lab", "daily"], FRAME)
    assert main(["rekey", "--to", f"{environment}/below"]) == 2
    for place, passphrase in ((f"{environment}-2", NEW), (str(tmp_path / "lake"), "a third one")):
        monkeypatch.setenv("BEIWE_LAKE_PASSPHRASE_NEW", passphrase)
        assert main(["rekey", "--to", place]) == 0
        moved = BeiweLake(place).study(STUDY, passphrase=passphrase)
        assert contents(moved) == truth(world)
        assert verify_study(moved).intact
        pd.testing.assert_frame_equal(TableStore.of_study(moved).read(["lab", "daily"]), FRAME)
        monkeypatch.setenv("BEIWE_LAKE", place)
        monkeypatch.setenv("BEIWE_LAKE_PASSPHRASE", passphrase)


def test_purge_leaves_no_object_with_the_id(
    environment: str,
    server: SimulatedServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Nor a table; it says that a stopped run may still write something there, and a day later that none can."""
    lake = study_lake(environment)
    sync(server, lake)
    for person in PEOPLE:
        TableStore.of_study(lake).write(["lab", "daily"], FRAME, partition=f"{person}|2026-03-02")
    assert main(["purge", "--study", STUDY, "--participant", PEOPLE[0], "--yes"]) == 1
    assert "Run this command again after a day" in capsys.readouterr().out
    left = [file.path for file in lake.storage.scan("")]
    assert not [path for path in left if PEOPLE[0] in path]
    assert any(PEOPLE[1] in path and path.startswith(f"{STUDY}/.tables/") for path in left)
    assert main(["verify"]) == 0
    monkeypatch.setattr(collecting, "Retention", partial(Retention, spare_seconds=-60))  # a day later
    assert main(["purge", "--study", STUDY, "--participant", PEOPLE[0]]) == 0
    printed = capsys.readouterr().out
    assert "The lake holds nothing" in printed
    assert "This is certain" in printed


def test_an_old_tree_is_adopted(
    environment: str,
    world: World,
    server: SimulatedServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Locked files arrive byte for byte, and nothing is downloaded."""
    written = save_by_hand(world, tmp_path / "old", streams=["gps"], compress=True, passphrase=PASSPHRASE)
    monkeypatch.setenv("BEIWE_START", f"{START:%Y-%m-%d}")
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    server.requests.clear()
    assert main(["adopt", str(tmp_path / "old"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["adopted"], found["kept"], found["missing"]) == (len(written), len(written), 0)
    assert max(each.bytes_sent for each in server.requests if "get-data/" in each.route and each.form) == 116
    lake = study_lake(environment)
    assert contents(lake) == truth(world)
    stored = {lake.storage.read(file.path) for file in lake.storage.scan(STUDY) if file.path.endswith(".lock")}
    assert stored == {path.read_bytes() for path in written}
    assert verify_study(lake).intact
    assert leftovers(lake) == []


def test_check_leaves_an_empty_bucket_empty(
    environment: str, server: SimulatedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """It tries whether it can write, and takes that back."""
    assert main(["check"]) == 0
    assert "can be written" in capsys.readouterr().out
    assert list(study_lake(environment).storage.scan("")) == []
