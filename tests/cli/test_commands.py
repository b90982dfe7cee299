"""What a data manager sees of the command line."""

from __future__ import annotations

import importlib
import io
import json
import logging
import re
import stat
import subprocess
import sys
from pathlib import Path

import click
import pandas as pd
import pytest
from filled_lake import PASSPHRASE

from dagster_beiwe.cli import main, runs
from dagster_beiwe.cli.commands import COMMANDS
from dagster_beiwe.credentials import read_keyring, write_keyring
from dagster_beiwe.lake import BeiweLake, StudyLake
from dagster_beiwe.simulator import SimulatedServer
from dagster_beiwe.tables.store import TableStore


def test_purge_removes_one_participant_and_leaves_the_other(lake: StudyLake, environment: Path) -> None:
    """After a purge the lake is intact without the participant."""
    assert main(["purge", "--study", "Sleep", "--participant", "anna1111", "--yes"]) == 0
    assert lake.participants() == ["bert2222"]
    assert not list(environment.rglob("*anna1111*"))
    assert main(["verify"]) == 0


def test_purge_asks_only_if_there_is_something_to_remove(lake: StudyLake, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing to remove is no failure: the lake holds nothing of the participant, and the command says so."""
    for arguments in (["anna1111", "--yes"], ["anna1111"], ["nobody11"]):
        assert main(["purge", "--study", "Sleep", "--participant", *arguments]) == 0
        printed = capsys.readouterr().out
        assert ("Removed" in printed, "holds nothing" in printed) == (len(arguments) > 1, len(arguments) == 1)
        assert "This is certain" in printed
    assert main(["purge", "--study", "Sleep", "--participant", "bert2222"]) == 2
    assert lake.participants() == ["bert2222"]


def test_a_snapshot_that_is_not_there_is_told_before_anything_is_asked(
    lake: StudyLake, capsys: pytest.CaptureFixture[str]
) -> None:
    """The error names the snapshot instead of asking for `--yes`."""
    assert main(["snapshot", "remove", "papre", "--study", "Sleep"]) == 2
    assert "has no snapshot 'papre'" in capsys.readouterr().err
    assert lake.state.snapshots == {}


def test_purge_removes_the_participants_tables_and_names_the_shared_ones(
    lake: StudyLake, environment: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The id counts as a whole part of the partition; tables of another study stay."""
    frame = pd.DataFrame({"days": [1]})
    own, other = (
        TableStore.of_study(lake),
        TableStore.of_study(BeiweLake(environment).study("OtherOtherOtherOtherOthe", passphrase=PASSPHRASE)),
    )
    for partition in ("anna1111", "bert2222", "anna11112"):
        own.write(["lab", "files"], frame, partition=partition)
        own.write(["lab", "daily"], frame, partition=f"{partition}|2026-03-02")
    own.write(["lab", "roster"], frame)
    own.write(["lab", "weeks"], frame, partition="2026-03-02")
    own.write(["lab", "berts"], frame, partition="bert2222")
    other.write(["other", "files"], frame, partition="anna1111")
    orphan = environment / lake.study_id / ".tables" / "lab" / "daily" / "anna1111" / "2026-03-09~0-0a.parquet"
    orphan.write_bytes(b"left by a run that died")
    assert main(["purge", "--study", "Sleep", "--participant", "anna1111", "--yes"]) == 0
    printed = capsys.readouterr().out
    assert "and 2 tables of participant anna1111" in printed
    assert "Materialize them again:\n  lab/roster\n  lab/weeks\nThis command does not reach" in printed
    left = {path.relative_to(environment).as_posix().partition("~")[0] for path in environment.rglob("*anna1111*")}
    tables = f"{lake.study_id}/.tables/lab"
    others = {"OtherOtherOtherOtherOthe/.tables/other/files/anna1111", f"{tables}/files/anna11112"}
    assert left == {*others, f"{tables}/daily/anna11112"}
    records = b"".join(path.read_bytes() for path in environment.rglob("log/*/*"))
    assert b"anna1111" not in records
    pd.testing.assert_frame_equal(own.read(["lab", "daily"], partition="bert2222|2026-03-02"), frame)
    assert main(["verify", "--study", "Sleep"]) == 0


def test_keyring_is_made_listed_and_used(
    environment: Path,
    server: SimulatedServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A section and a study's passphrase go in without a terminal; the listing shows no secret; check uses it."""
    file = tmp_path / "ring.enc"
    monkeypatch.setenv("NRG_KEYRING_PASS", "ring")
    monkeypatch.setenv("BEIWE_KEYRING_FILE", str(file))
    section = {"URL": server.url, "ACCESS_KEY": server.access_key, "SECRET_KEY": server.secret_key}
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(section)))
    assert main(["keyring", "set", "lab"]) == 0
    monkeypatch.setattr(sys, "stdin", io.StringIO("study secret\n"))
    assert main(["keyring", "passphrase", "lab", "Sleep"]) == 0
    assert main(["keyring", "list"]) == 0
    printed = capsys.readouterr().out
    assert "studies with a passphrase: Sleep" in printed
    assert server.secret_key not in printed
    assert "study secret" not in printed
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert read_keyring(file, passphrase="ring")["lab"]["SECRETS"] == {"Sleep": "study secret"}
    monkeypatch.delenv("BEIWE_URL")
    monkeypatch.setenv("BEIWE_KEYRING_SECTION", "lab")
    assert main(["check"]) == 0


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_documented(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The page has a row for each command and action, with all arguments and options; each command explains itself."""
    page = (Path(__file__).parents[2] / "docs" / "command-line.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `([a-z ]+[a-z])([^`]*)` \|", page, re.MULTILINE))
    command = importlib.import_module(f"dagster_beiwe.cli.{name}").command
    actions = command.commands if isinstance(command, click.Group) else {"": command}
    for action, one in actions.items():
        words = re.findall(r"[A-Z]+|--[a-z-]+", rows.pop(f"{name} {action}".strip()))
        wanted = [each.opts[0] if isinstance(each, click.Option) else each.human_readable_name for each in one.params]
        assert [word for word in words if word.startswith("--") or word in wanted] == wanted
    assert not [row for row in rows if row.split()[0] == name]
    assert main([name, "--help"]) == 0
    assert f"Usage: dagster-beiwe {name}" in (shown := capsys.readouterr().out)
    assert shown.split("\n\n")[1].strip() == f"{COMMANDS[name]}."


def test_the_package_is_a_command() -> None:
    """As a module, too."""
    shown = subprocess.run([sys.executable, "-m", "dagster_beiwe", "--help"], capture_output=True, check=True)
    assert b"Usage:" in shown.stdout


def test_the_list_of_commands_comes_at_once() -> None:
    """Without what takes seconds to import."""
    code = (
        "import sys; from dagster_beiwe.cli import main; status = main(['--help']); "
        "sys.exit(status or len({'dagster', 'pandas', 'numpy', 'requests'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL, check=False).returncode == 0


@pytest.mark.parametrize("server_known", [True, False])
def test_study_passphrases_come_from_the_keyring_beside_keys(
    lake: StudyLake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server_known: bool
) -> None:
    """SECRETS serve those whose keys are in the environment, and those who have none and only read."""
    section = {"lab": {"SECRETS": {lake.study_id: PASSPHRASE}}}
    write_keyring(tmp_path / "keyring", section, "of the file", changed=[])
    monkeypatch.delenv("BEIWE_LAKE_PASSPHRASE")
    monkeypatch.setenv("BEIWE_KEYRING_FILE", str(tmp_path / "keyring"))
    monkeypatch.setenv("NRG_KEYRING_PASS", "of the file")
    monkeypatch.setenv("BEIWE_KEYRING_SECTION", "lab")
    if not server_known:
        monkeypatch.delenv("BEIWE_URL")
    assert main(["verify"]) == 0


@pytest.mark.parametrize(("words", "shown"), [("runs", False), ("-v runs", True), ("runs --verbose", True)])
def test_what_a_run_logs_is_shown_only_if_asked_for(
    words: str, shown: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run in this process lowers the level of this package's logger, for its own log."""

    def callback(**_options: object) -> int:
        monkeypatch.setattr(logging.getLogger("dagster_beiwe"), "level", logging.INFO)
        logging.getLogger("dagster_beiwe.client").info("a detail")
        return 0

    monkeypatch.setattr(logging.root, "handlers", [])
    monkeypatch.setattr(logging.root, "level", logging.WARNING)
    monkeypatch.setattr(runs.command, "callback", callback)
    assert main(words.split()) == 0
    assert ("a detail" in capsys.readouterr().err) is shown
