"""`history`, `snapshot`, and `verify` of past states and of what was put back on purpose."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import dagster as dg
import pandas as pd
import pytest
from filled_lake import PASSPHRASE

from dagster_beiwe.cli import main
from dagster_beiwe.lake import BeiweLake, StudyLake
from dagster_beiwe.lake.layout import LogLayout
from dagster_beiwe.lake.snapshots import contents_of
from dagster_beiwe.runs.remembered_heads import seen_metadata
from dagster_beiwe.tables.store import TableStore


def printed(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_history_tells_what_happened(lake: StudyLake, capsys: pytest.CaptureFixture[str]) -> None:
    """All of a study, or what is about one participant; in the order of the log."""
    assert main(["history"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"Sleep ({lake.study_id})"
    assert "begin" in lines[1]
    assert len(lines) == lake.state.number + 2
    assert main(["history", "--json"]) == 0
    events = printed(capsys)
    assert [event["number"] for event in events] == list(range(lake.state.number + 1))
    assert events[-1]["hash"] == lake.state.digest
    assert main(["history", "--participant", "anna1111", "--json"]) == 0
    assert {tuple(event["windows"]) for event in printed(capsys)} <= {("2026-03-02",), ("2026-03-09",)}  # type: ignore[arg-type]
    assert main(["history", "--last", "1"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert main(["history", "--participant", "nobody"]) == 2
    for none in ("0", "-3", "few"):
        assert main(["history", "--last", none]) == 2
        assert "Invalid value for '--last'" in capsys.readouterr().err


def test_a_snapshot_is_made_listed_used_and_removed(
    lake: StudyLake, environment: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its text names the state by number and hash, and the content; a name is taken once."""
    assert main(["snapshot", "create", "paper", "--study", "Sleep"]) == 0
    text = capsys.readouterr().out
    state = lake.at("paper").state
    assert all(each in text for each in (lake.study_id, str(state.number), state.digest, contents_of(lake).content))
    assert main(["snapshot", "create", "paper", "--study", "Sleep"]) == 2
    assert "Choose another name" in capsys.readouterr().err
    assert main(["snapshot", "list"]) == 0
    assert f"paper: state {state.number}" in capsys.readouterr().out
    content = contents_of(lake).content
    assert main(["verify", "--as-of", "paper"]) == 0
    assert f"The content has the SHA-256 {content}, as when the snapshot was made." in capsys.readouterr().out
    assert main(["purge", "--study", "Sleep", "--participant", "anna1111", "--yes"]) == 0
    capsys.readouterr()
    assert main(["snapshot", "list", "--json"]) == 0
    (facts,) = printed(capsys)
    assert main(["history", "--last", "1"]) == 0
    event = capsys.readouterr().out.splitlines()[-1]
    assert "purge      1 participant" in event
    assert "window" not in event
    purged = BeiweLake(environment).study(lake.study_id, passphrase=PASSPHRASE).state.epoch
    assert facts["withdrawn"] == [purged]
    assert main(["verify", "--as-of", "paper"]) == 0
    told = capsys.readouterr().out
    assert f"1 withdrawn since, record {purged}" in told
    assert f"It had {content} when the snapshot was made" in told
    assert main(["verify", "--as-of", "paper", "--json"]) == 0
    (facts,) = printed(capsys)
    assert (facts["snapshot_content"], facts["intact"]) == (content, True)
    assert facts["content"] != content
    assert main(["verify", "--as-of", str(state.number), "--json"]) == 0
    assert printed(capsys)[0]["content"] is None
    assert main(["snapshot", "remove", "paper", "--study", "Sleep", "--yes", "--json"]) == 0
    assert printed(capsys)[0]["removed"] is True
    assert main(["snapshot", "remove", "paper", "--study", "Sleep", "--yes"]) == 2
    assert main(["verify", "--as-of", "paper"]) == 2
    assert "has no snapshot 'paper'" in capsys.readouterr().err


def test_a_snapshot_is_verified_in_the_studies_that_have_it(
    lake: StudyLake, environment: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A study without it does not end the command; it is named, wherever it stands in the lake."""
    frame = pd.DataFrame({"days": [1]})
    others = ("0" * 24, "z" * 24)
    for study_id in others:
        TableStore.of_study(BeiweLake(environment).study(study_id, passphrase=PASSPHRASE)).write(["lab", "one"], frame)
    assert main(["snapshot", "create", "paper", "--study", "Sleep"]) == 0
    capsys.readouterr()
    assert main(["verify", "--as-of", "paper"]) == 0
    shown = capsys.readouterr()
    assert [line.partition(" ")[0] for line in shown.out.splitlines()[1:] if not line.startswith(" ")] == ["Sleep"]
    assert [line.startswith("Not verified: ") for line in shown.err.splitlines()] == [True, True]
    assert main(["verify", "--as-of", "paper", "--study", others[0]]) == 2


def test_a_lake_that_was_put_back_on_purpose_is_accepted_by_name(
    lake: StudyLake,
    environment: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The witness has seen more: until that is accepted nothing is read or written."""
    monkeypatch.setenv("BEIWE_WITNESS", str(tmp_path / "witness"))
    shutil.copytree(environment, tmp_path / "older")
    assert main(["snapshot", "create", "paper", "--study", "Sleep"]) == 0
    shutil.rmtree(environment)
    shutil.copytree(tmp_path / "older", environment)
    capsys.readouterr()
    assert main(["verify", "--json"]) == 1
    assert "log damaged" in str(printed(capsys)[0]["findings"])
    assert main(["verify", "--repair", "--yes"]) == 1
    shutil.rmtree(environment)
    shutil.copytree(tmp_path / "older", environment)
    assert main(["verify", "--accept"]) == 2
    assert main(["verify", "--accept", "--yes"]) == 0
    assert "gave up 1 record" in capsys.readouterr().err
    assert main(["verify"]) == 0
    assert main(["verify", "--accept"]) == 0
    assert "there is nothing to accept" in capsys.readouterr().err


def test_verify_asks_dagster_where_its_history_is(
    lake: StudyLake,
    environment: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A log that was cut agrees with itself; with DAGSTER_HOME the newest materialization tells, unless accepted."""
    seen = lake.log.seen()
    assert seen
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    with dg.DagsterInstance.get() as instance:
        key = dg.AssetKey(["beiwe", "sleep", "raw_data"])
        instance.report_runless_asset_event(dg.AssetMaterialization(key, metadata=seen_metadata(seen)))
    assert main(["verify"]) == 0
    (environment / LogLayout(lake.study_id).record(seen.number)).unlink()
    capsys.readouterr()
    assert main(["verify", "--share", "0"]) == 1
    assert f"but record {seen.number} with hash {seen.digest[:16]} was seen in it" in capsys.readouterr().out
    assert main(["verify", "--accept", "--repair", "--yes"]) == 1
    assert main(["verify"]) == 0
