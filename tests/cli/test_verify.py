"""`dagster-beiwe verify`: what was changed is found, and repaired if asked for."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pandas as pd
import pytest
from damage import flip
from filled_lake import PASSPHRASE, fill

from dagster_beiwe.cli import main
from dagster_beiwe.errors import IntegrityError
from dagster_beiwe.lake import BeiweLake, StudyLake
from dagster_beiwe.lake.lake import open_storage
from dagster_beiwe.simulator import SimulatedServer
from dagster_beiwe.tables.store import TableStore


def stored_file(lake: StudyLake, root: Path) -> Path:
    """The first locked file of the lake."""
    manifest = next(lake.manifests("anna1111"))
    return root / lake.folder("anna1111", manifest.files[0].path)


def test_verify_passes_an_untouched_lake(lake: StudyLake, capsys: pytest.CaptureFixture[str]) -> None:
    """Everything is read, nothing is found."""
    assert main(["verify"]) == 0
    assert "Sleep" in (printed := capsys.readouterr().out)
    assert printed.startswith(f"The lake at {lake.storage.describe()}\n")
    assert "intact; 2 participants, 4 windows" in printed


def test_verify_finds_a_flipped_bit_and_repairs_it(
    lake: StudyLake, environment: Path, server: SimulatedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """The damaged file is named with the partition to run; after a repair and a run all is intact again."""
    victim = stored_file(lake, environment)
    flip(victim)
    assert main(["verify", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["partitions"] == ["anna1111|2026-03-02"]
    assert found["findings"][0].startswith("file changed: anna1111/2026-03-02/")
    assert main(["verify", "--repair", "--yes"]) == 1
    assert "Materialize these partitions of raw_data again: anna1111|2026-03-02" in capsys.readouterr().out
    fill(server, lake)
    assert main(["verify"]) == 0


def test_verify_finds_a_changed_table(lake: StudyLake, environment: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Tables of the study are checked too: one cut short, one swapped with another."""
    store = TableStore.of_study(lake)
    for name in ("one", "two", "three"):
        store.write(["lab", name], pd.DataFrame({"days": [len(name)]}))
    assert main(["verify"]) == 0
    tables = environment / lake.study_id / ".tables" / "lab"
    files = {name: next(tables.glob(f"{name}~*.parquet")) for name in ("one", "two", "three")}
    files["one"].write_bytes(files["one"].read_bytes()[:-1])
    files["two"].write_bytes(files["three"].read_bytes())
    capsys.readouterr()
    assert main(["verify", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)["findings"]
    expected = [f"table changed: {files[name].relative_to(environment)}" for name in ("one", "two")]
    assert sorted(found) == sorted(expected)
    assert main(["verify", "--repair", "--yes"]) == 1
    assert "Materialize these tables again: lab/one, lab/two\n" in capsys.readouterr().out
    assert main(["verify"]) == 0
    assert [store.exists(["lab", name]) for name in files] == [False, False, True]


def lake_table(environment: Path, passphrase: str | None) -> Path:
    """A table of no study, and where it lies."""
    storage = open_storage(environment)
    name = "locked" if passphrase else "plain"
    store = TableStore.of_lake(storage, passphrase=passphrase) if passphrase else TableStore.of_nobody(storage)
    store.write(["lab", name], pd.DataFrame({"days": [1]}))
    return next(environment.glob(f".*/.tables/lab/{name}~*.parquet*"))


@pytest.mark.parametrize("damage", ["removed", "put back", "emptied"])
def test_verify_finds_a_table_without_its_manifest(
    lake: StudyLake, environment: Path, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    """Also one that was put back together with the older table."""
    store = TableStore.of_study(lake)
    store.write(["lab", "one"], pd.DataFrame({"days": [1]}))
    older = {path: path.read_bytes() for path in (environment / lake.study_id / ".tables").rglob("one~*")}
    store.write(["lab", "one"], pd.DataFrame({"days": [2]}))
    assert main(["verify"]) == 0
    newer = [path for path in (environment / lake.study_id / ".tables").rglob("one~*") if path not in older]
    for path in newer:
        if damage == "put back":
            path.write_bytes(next(data for each, data in older.items() if each.suffix == path.suffix))
        elif path.suffix == ".zst":
            path.unlink() if damage == "removed" else path.write_bytes(b"")
    capsys.readouterr()
    assert main(["verify", "--json"]) == 1
    (found,) = json.loads(capsys.readouterr().out)["findings"]
    assert found.startswith("table changed: ")
    with pytest.raises(IntegrityError):
        TableStore.of_study(BeiweLake(environment).study(lake.study_id, passphrase=PASSPHRASE)).read(["lab", "one"])


@pytest.mark.parametrize("locked", [True, False])
def test_verify_looks_at_tables_of_no_study(
    lake: StudyLake,
    environment: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    locked: bool,
) -> None:
    """A flipped bit is found; what can't be looked at without a passphrase is said."""
    path = lake_table(environment, os.environ["BEIWE_LAKE_PASSPHRASE"] if locked else None)
    assert main(["verify"]) == 0
    flip(path)
    assert main(["verify"]) == 1
    assert f"table changed: {path.relative_to(environment)}" in capsys.readouterr().out


def test_verify_says_which_tables_it_can_not_look_at(
    server: SimulatedServer,
    study_id: str,
    environment: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Those of no study are locked with the lake's passphrase, which a study that is not locked does not need."""
    lake_table(environment, os.environ["BEIWE_LAKE_PASSPHRASE"])
    fill(server, BeiweLake(environment).study(study_id, passphrase=None, cipher=None), ["anna1111"])
    monkeypatch.delenv("BEIWE_LAKE_PASSPHRASE")
    assert main(["verify"]) == 0
    assert "Not verified: tables of no study, because BEIWE_LAKE_PASSPHRASE is not set" in capsys.readouterr().err


def test_verify_does_not_repair_unasked(lake: StudyLake, environment: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where nobody can answer, only --yes confirms."""
    stored_file(lake, environment).unlink()
    assert main(["verify", "--repair"]) == 2
    assert "--yes" in capsys.readouterr().err


def test_verify_works_while_the_server_is_down(
    lake: StudyLake, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The lake can be checked by study id when nobody answers; the id, which is all that is known, is shown once."""
    monkeypatch.setenv("BEIWE_URL", "http://127.0.0.1:9")
    assert main(["verify", "--study", lake.study_id]) == 0
    assert f"\n{lake.study_id}: intact" in capsys.readouterr().out
