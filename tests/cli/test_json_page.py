"""What `docs/json.md` promises to programs: each command's objects, by name and type, and nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import date, datetime, timezone
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import pandas as pd
import pytest
from coverage_frames import coverage_frame
from old_trees import save_by_hand

from dagster_beiwe.cli import main, progress
from dagster_beiwe.cli.commands import COMMANDS
from dagster_beiwe.coverage.frame import AS_OF
from dagster_beiwe.credentials import write_keyring
from dagster_beiwe.lake import StudyLake
from dagster_beiwe.lake.snapshots import create_snapshot
from dagster_beiwe.simulator import SimulatedServer
from dagster_beiwe.tables.store import TableStore

PAGE = (Path(__file__).parents[2] / "docs" / "json.md").read_text(encoding="utf-8")
SECTIONS = {part.partition("\n")[0]: part for part in PAGE.split("\n## ")[1:]}
FREE = {"sql"}  # its columns are the query's
ELSEWHERE = {"forest", "partitions remove"}  # which tests/forest and test_json.py run

Fields = dict[str, str]


def is_time(value: Any) -> bool:
    return isinstance(value, str) and "T" in value and datetime.fromisoformat(value).tzinfo is not None


KINDS: dict[str, Callable[[Any], bool]] = {
    "string": lambda value: isinstance(value, str),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "boolean": lambda value: isinstance(value, bool),
    "object": lambda value: isinstance(value, dict),
    "day": lambda value: isinstance(value, str) and bool(date.fromisoformat(value)),
    "time": is_time,
}


def fits(value: Any, kind: str) -> bool:
    if kind.endswith(" or null"):
        return value is None or fits(value, kind.removesuffix(" or null"))
    if kind.startswith("list of "):
        return isinstance(value, list) and all(fits(each, kind.removeprefix("list of ")) for each in value)
    return KINDS[kind](value)


def promised(section: str) -> Fields:
    """The fields of a section's table, with those of the section that it adds to."""
    fields = dict(re.findall(r"^\| `(\w+)` \| ([a-z ]+) \|", SECTIONS[section], re.MULTILINE))
    if base := re.search(r"The fields of `([^`]+)`(?: except for `(\w+)`)?", SECTIONS[section]):
        fields = {**promised(base[1]), **fields}
        fields.pop(base[2], None)
    return fields


def promised_of(section: str, kind: str) -> Fields:
    """The fields of objects of one kind, in a section where the first column says so."""
    found = re.findall(rf"^\| (?:any|{kind}) \| `(\w+)` \| ([a-z ]+) \|", SECTIONS[section], re.MULTILINE)
    return dict(found)


def check(found: dict[str, Any], fields: Fields) -> None:
    assert {*found} == {*fields}
    assert {name: value for name, value in found.items() if not fits(value, fields[name])} == {}


def test_the_page_has_every_command() -> None:
    """With the options that make other objects, and no more than that."""
    wanted = set()
    for name in COMMANDS:
        command: click.Command = import_module(f"dagster_beiwe.cli.{name}").command
        below = command.commands if isinstance(command, click.Group) else {"": command}
        wanted |= {
            f"{name} {action}".strip()
            for action, each in below.items()
            if any("--json" in option.opts for option in each.params)
        }
    assert {*SECTIONS} - {"Standard error", "adopt --dry-run", "export --table"} == wanted


def test_check(lake: StudyLake, tmp_path: Path, objects: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working installation, and one where much is wrong."""
    (tmp_path / "witness").mkdir()
    monkeypatch.setenv("BEIWE_WITNESS", str(tmp_path / "witness"))
    _, found = objects("check")
    monkeypatch.setenv("BEIWE_LAKE_PASSPHRASE", "another one")
    monkeypatch.setenv("BEIWE_AGE_IDENTITY", str(tmp_path / "nowhere"))
    found += objects("check")[1]
    monkeypatch.delenv("BEIWE_LAKE")
    found += objects("check")[1]
    for each in found:
        check(each, promised_of("check", each["subject"]))
    subjects = set(re.findall(r"^\| (\w+) \| `", SECTIONS["check"], re.MULTILINE)) - {"any"}
    assert {each["subject"] for each in found} == subjects


def test_commands_that_read(lake: StudyLake, tmp_path: Path, objects: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a lake with tables, a snapshot, a withdrawal, and damage."""
    frame = coverage_frame({"anna1111": "#" * 30, "bert2222": "#" * 20 + "." * 10})
    frame.attrs[AS_OF] = datetime.now(timezone.utc).isoformat()
    roster = [{"participant": "anna1111", "Last Upload": "2026-03-20T05:00:00-04:00"}, {"participant": "bert2222"}]
    TableStore.of_study(lake).write_all(["beiwe", "sleep", "daily"], {"anna1111": pd.DataFrame({"days": [1]})})
    TableStore.of_study(lake).write(["beiwe", "sleep", "coverage"], frame)
    TableStore.of_study(lake).write(["beiwe", "sleep", "roster"], pd.DataFrame(roster, dtype="string"))
    create_snapshot(lake, "first", run_id="test")
    monkeypatch.setenv("NRG_KEYRING_PASS", "ring")
    lab = {"URL": "https://studies.example.org", "ACCESS_KEY": "abc", "SECRET_KEY": "def", "SECRETS": {"Sleep": "lock"}}
    write_keyring(tmp_path / "ring", {"lab": lab, "old": {"URL": "x"}}, "ring", changed=["lab"])
    calls: dict[str, list[list[str]]] = {
        "init": [["init", str(tmp_path / "project"), "--study", "Sleep"]] * 2,
        "keyring list": [["keyring", "list", "--file", str(tmp_path / "ring")]],
        "status": [["status"]],
        "show": [["show"]],
        "history": [["history"], ["history", "--participant", "anna1111"]],
        "snapshot list": [["snapshot", "list"]],
        "snapshot create": [["snapshot", "create", "second", "--study", "Sleep"]],
        "snapshot remove": [["snapshot", "remove", "second", "--study", "Sleep", "--yes"]],
        "verify": [["verify"], ["verify", "--as-of", "first"]],
        "report": [["report", "--study", "Sleep", "--to", str(tmp_path / "page.html")]],
        "export": [["export", "--study", "Sleep", "--to", str(tmp_path / "plain"), "--format", "csv"]],
        "export --table": [["export", "--study", "Sleep", "--to", str(tmp_path / "table"), "--table", "daily"]],
        "purge": [["purge", "--study", "Sleep", "--participant", "anna1111", "--yes"]],
    }
    for section, each in calls.items():
        for arguments in each:
            status, found = objects(*arguments)
            assert (status, bool(found)) == (int(section == "status"), True)
            for one in found:
                check(one, promised(section))
    _, (row, *_) = objects("show", "coverage")
    assert {"study_id", "participant"} <= row.keys()
    for path in Path(lake.storage.describe()).rglob("bert2222/gps/*"):
        path.unlink()
    _, (repaired,) = objects("verify", "--repair", "--yes")
    check(repaired, promised("verify"))
    assert repaired["repaired"] == repaired["partitions"] != []


def test_commands_that_take_over_and_copy(
    environment: Path,
    server: SimulatedServer,
    tmp_path: Path,
    objects: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And the runs of an empty history."""
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("BEIWE_START", "2026-03-02")
    monkeypatch.setenv("BEIWE_LAKE_PASSPHRASE_NEW", "another horse")
    save_by_hand(server.world, tmp_path / "old", streams=("gps",))
    adopt = ["adopt", str(tmp_path / "old")]
    calls = {
        "adopt --dry-run": [*adopt, "--dry-run"],
        "adopt": adopt,
        "rekey": ["rekey", "--to", str(tmp_path / "new")],
        "runs": ["runs"],
    }
    for section, arguments in calls.items():
        status, (found, *_) = objects(*arguments)
        assert status == 0
        check(found, promised(section))


def test_errors_and_progress(
    lake: StudyLake, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On standard error."""
    assert main(["verify", "--study", "Slip", "--json"]) == 2
    found = json.loads(capsys.readouterr().err.splitlines()[-1])
    check(found, {"kind": "string", "message": "string", **promised_of("Standard error", "error")})
    monkeypatch.setattr(progress, "_LINE_SECONDS", 1e-9)
    assert main(["verify", "--json", "-v"]) == 0
    found = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    check(found[0], {"kind": "string", "message": "string", **promised_of("Standard error", "progress")})
