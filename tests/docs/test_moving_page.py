"""The page about moving: what it says to type runs, and it tells of each function of mano."""

from __future__ import annotations

import importlib
import inspect
import json
import re
import shlex
import sys
from datetime import datetime, timezone
from pathlib import Path

import pytest
from old_trees import save_by_hand

from dagster_beiwe.adoption.taking import Outcomes
from dagster_beiwe.cli import main
from dagster_beiwe.encryption import encrypt_bytes
from dagster_beiwe.simulator import ContentPlan, SimulatedServer, StudyPlan, World

START = datetime(2026, 3, 2, tzinfo=timezone.utc)
END = datetime(2026, 3, 9, tzinfo=timezone.utc)
PAGE = (Path(__file__).parents[2] / "docs" / "moving.md").read_text(encoding="utf-8")
COMMANDS = [line for block in re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]

LAB = """
from dagster_beiwe import StudyConfig, build_beiwe_definitions

defs = build_beiwe_definitions([StudyConfig("*", start="2026-03-02", window="monthly")])
"""


def test_what_the_page_says_to_type_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a small tree of mano, on the lake that it becomes, and on one of lochness that is locked with the passphrase
    of its own section."""
    plan = StudyPlan(participants=1, start=START, end=END, hours=(9,), streams=("gps",), content=ContentPlan(rows=3))
    world = World.build(plan, now=END)
    mano, phoenix = tmp_path / "mano", tmp_path / "PHOENIX" / "PROTECTED" / "BLS" / "S1" / "phone" / "raw"
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab" / "definitions.py").write_text(LAB, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("lab", "lab.definitions"):  # so that what is imported is forgotten
        monkeypatch.setitem(sys.modules, name, None)
        monkeypatch.delitem(sys.modules, name)
    save_by_hand(world, mano, streams=["gps"], passphrase="old")
    save_by_hand(world, phoenix, streams=["gps"], passphrase="of the site")
    ring = {"URL": "https://studies.example.org", "ACCESS_KEY": "a", "SECRET_KEY": "b"}
    sections = {"lab": ring, "lochness": {"SECRETS": {"BLS": "of the site"}}}
    (tmp_path / "keyring").write_bytes(encrypt_bytes(json.dumps(sections).encode(), "ring"))
    with SimulatedServer(world) as server:
        for name, value in {
            "BEIWE_URL": server.url,
            "BEIWE_ACCESS_KEY": server.access_key,
            "BEIWE_SECRET_KEY": server.secret_key,
            "BEIWE_LAKE_PASSPHRASE": "new",
            "BEIWE_START": START.date().isoformat(),
            "BEIWE_KEYRING_FILE": str(tmp_path / "keyring"),
            "NRG_KEYRING_PASS": "ring",
            "HOME": str(tmp_path),
        }.items():
            monkeypatch.setenv(name, value)
        for name in ("DAGSTER_HOME", "BEIWE_KEYRING_SECTION", "BEIWE_STUDIES"):
            monkeypatch.delenv(name, raising=False)
        lakes = {"/data/lake": tmp_path / "lake", "/data/monthly": tmp_path / "monthly"}
        there = {"/data/PHOENIX": tmp_path / "PHOENIX", "/data/mano": mano, **lakes}
        lake = lakes["/data/lake"]
        for line in COMMANDS:
            words = shlex.split(line.removeprefix("$ "), comments=True)
            if "BEIWE_OLD_PASSPHRASE=..." in words:
                monkeypatch.setenv("BEIWE_OLD_PASSPHRASE", "old")
            elif words[0] == "export":
                monkeypatch.delenv("BEIWE_OLD_PASSPHRASE")
                lake = lakes[words[1].removeprefix("BEIWE_LAKE=")]
            else:
                monkeypatch.setenv("BEIWE_LAKE", str(tmp_path / "lochness" if "--secrets" in words else lake))
                for name, folder in there.items():
                    words = [word.replace(name, str(folder)) for word in words]
                assert main(words[1:]) == 0, line
    printed = capsys.readouterr().out
    assert printed.count("Adopted: 7 files") == 3
    assert printed.count("in 1 monthly window of 1 participant") == 2


def test_it_tells_of_each_name_of_mano(monkeypatch: pytest.MonkeyPatch) -> None:
    """Functions, errors and constants of both modules, and the arguments of the three functions that download."""
    monkeypatch.setattr("locale.setlocale", lambda *_: "")
    mano, sync = importlib.import_module("mano"), importlib.import_module("mano.sync")
    own = {name for name, each in vars(sync).items() if getattr(each, "__module__", "") == "mano.sync"}
    own |= {name for name in vars(sync) if name.isupper()}
    names = {f"mano.{name}" for name in {*mano.__all__} - {"sync"}}
    names |= {f"mano.sync.{name}" for name in own if not name.startswith("_")}
    assert set(re.findall(r"`(mano\.[\w.]+)`", PAGE)) == names
    arguments = {
        name for each in (sync.download, sync.save, sync.backfill) for name in inspect.signature(each).parameters
    }
    table = PAGE.partition("arguments of mano")[2].partition("\n\nAnd its errors")[0]
    assert set(re.findall(r"`(\w+)`", "".join(re.findall(r"(?m)^\| (`[^|]*) \|", table)))) == arguments


def test_it_tells_of_each_outcome() -> None:
    """The table of what happens to a file has a row for each."""
    table = PAGE.partition("\n|---|")[2].partition("\n\n")[0]
    rows = {row.strip().replace(" ", "_") for row in re.findall(r"^\| .* \| .* \| ([a-z ,]+) \|$", table, re.MULTILINE)}
    named = {"adopted", "changed", "missing", "foreign", "unreadable"}
    assert named | {"the_same,_but_downloaded"} == rows
    assert named <= set(Outcomes.__dataclass_fields__)
