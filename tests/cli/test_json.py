"""``--json``: what a command found, as one object per line, for other programs."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import click
import dagster as dg
import pytest

from dagster_beiwe.cli.commands import COMMANDS
from dagster_beiwe.credentials import write_keyring
from dagster_beiwe.lake import StudyLake
from dagster_beiwe.partitions.definitions import participants_name


def test_every_command_that_tells_something_has_it() -> None:
    """The others ask for secrets, or are for people only."""
    lacking = set()
    for name in COMMANDS:
        command: click.Command = import_module(f"dagster_beiwe.cli.{name}").command
        below = command.commands if isinstance(command, click.Group) else {"": command}
        lacking |= {
            f"{name} {part}".strip()
            for part, each in below.items()
            if not any("--json" in option.opts for option in each.params)
        }
    assert lacking == {"demo", "keyring set", "keyring passphrase"}


def test_check(lake: StudyLake, objects: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each thing that was checked, with what it has and why it failed."""
    status, found = objects("check")
    assert status == 0
    assert [each["subject"] for each in found] == [
        "secrets", "server", "endpoints", "studies", "study", "streams", "lake", "passphrase",
    ]  # fmt: skip
    assert all(each["passed"] for each in found)
    assert found[0]["sources"]["BEIWE_URL"] == {"kind": "variable", "place": "BEIWE_URL", "warning": None}
    study = found[4]
    assert (study["study_id"], study["study"], study["participants"]) == (lake.study_id, "Sleep", 2)
    assert (study["counts"], study["uncounted_streams"], study["error"]) == (True, [], None)
    assert (len(found[5]["streams"]), found[5]["new"]) == (19, [])
    assert found[6]["exists"] is True
    assert (found[7]["held"], found[7]["given"], found[7]["error"]) == (True, True, None)
    monkeypatch.setenv("BEIWE_LAKE_PASSPHRASE", "another one")
    status, found = objects("check")
    assert (status, found[7]["passed"], found[7]["held"]) == (1, False, None)
    assert "The passphrase is not the one" in found[7]["error"]


def test_keyring_list(objects: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sections without secrets."""
    monkeypatch.setenv("NRG_KEYRING_PASS", "ring")
    lab = {"URL": "https://studies.example.org", "ACCESS_KEY": "abc", "SECRET_KEY": "def", "SECRETS": {"Sleep": "lock"}}
    write_keyring(tmp_path / "ring.enc", {"lab": lab, "old": {"URL": "x"}}, "ring", changed=["lab"])
    status, (first, second) = objects("keyring", "list", "--file", str(tmp_path / "ring.enc"))
    assert status == 0
    assert first == {"section": "lab", "url": "https://studies.example.org", "studies": ["Sleep"], "error": None}
    assert (second["section"], second["url"]) == ("old", None)
    assert "ACCESS_KEY" in second["error"]


def test_export(lake: StudyLake, objects: Any, tmp_path: Path) -> None:
    """What was written, and what became of its rows."""
    target = tmp_path / "plain"
    arguments = ["export", "--study", "Sleep", "--to", str(target), "--stream", "gps", "--format", "csv"]
    status, (done,) = objects(*arguments)
    written = [path for path in target.rglob("*") if path.is_file()]
    assert status == 0
    assert (done["study_id"], done["folder"], done["files"]) == (lake.study_id, str(target), len(written))
    assert (done["rows"] > 0, done["set_aside_rows"], done["not_tables"]) == (True, 0, [])
    status, (none,) = objects(*arguments[:4], str(tmp_path / "none"), "--end", "2000-01-01")
    assert (status, none["files"]) == (1, 0)


def test_rekey(lake: StudyLake, objects: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A study, and the tables that belong to none."""
    monkeypatch.setenv("BEIWE_LAKE_PASSPHRASE_NEW", "another horse, another battery")
    status, (study, shared) = objects("rekey", "--to", str(tmp_path / "new"))
    assert status == 0
    assert (study["study_id"], study["participants"], study["damaged_tables"]) == (lake.study_id, 2, [])
    assert study["windows_copied"] == study["windows"] > 0
    assert (shared["study_id"], shared["tables"]) == (None, 0)


def test_partitions_remove(environment: Path, study_id: str, objects: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the partition was removed."""
    home = environment.parent / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}")
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    with dg.DagsterInstance.get() as instance:
        instance.add_dynamic_partitions(participants_name(study_id), ["anna1l11"])
    status, done = objects("partitions", "remove", "--study", "Sleep", "--participant", "anna1l11", "--yes")
    assert (status, done) == (0, [{"study_id": study_id, "participant": "anna1l11", "removed": True}])
