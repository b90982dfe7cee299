"""What is the same for all commands: help, version, completion, options anywhere, and errors for programs."""

from __future__ import annotations

import json
import os
import platform
import re
import shlex
import signal
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import pytest
from click.shell_completion import ShellComplete

from dagster_beiwe.cli import main, runs
from dagster_beiwe.cli.command import Command
from dagster_beiwe.cli.commands import COMMANDS, group
from dagster_beiwe.cli.project_environment import as_line
from dagster_beiwe.errors import ConfigurationError, LakeError
from dagster_beiwe.lake import StudyLake

PAGE = Path(__file__).parents[2].joinpath("docs", "command-line.md").read_text(encoding="utf-8")


def actions(name: str) -> dict[str, Command]:
    """A command with its words, or each of its actions, such as ``keyring list``."""
    command = group.get_command(click.Context(group), name)
    assert command is not None
    found = (
        {f"{name} {key}": each for key, each in command.commands.items()} if isinstance(command, click.Group) else {}
    )
    return {words: each for words, each in (found or {name: command}).items() if isinstance(each, Command)}


def test_the_program_alone_lists_all_commands_by_purpose(capsys: pytest.CaptureFixture[str]) -> None:
    """For somebody who types its name to see what it can do."""
    assert main([]) == 0
    printed = capsys.readouterr().out
    listed = [line.split()[0] for line in printed.splitlines() if line.startswith("  ") and "  " in line.strip()]
    assert [name for name in listed if not name.startswith("-")] == list(COMMANDS)
    assert "Care for the lake:\n  verify      Prove" in printed
    assert max(map(len, printed.splitlines())) <= 80


def test_the_version_says_what_a_report_of_a_fault_needs(capsys: pytest.CaptureFixture[str]) -> None:
    """This package, Dagster, Python and the system."""
    assert main(["--version"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"dagster-beiwe {version('dagster-beiwe')} (Dagster {version('dagster')}, ")
    assert platform.python_version() in printed


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_shows_examples_that_can_be_typed(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each is a call of this command, with options that it has."""
    for words, command in actions(name).items():
        assert 1 <= len(command.examples) <= 3
        for example in command.examples:
            typed = shlex.split(re.split(" [<>] ", example)[0])
            called = len(words.split())
            assert " ".join(typed[:called]) == words
            with command.make_context(words, typed[called:]):
                pass
        assert main([*words.split(), "--help"]) == 0
        assert f"\n\nExamples:\n  dagster-beiwe {command.examples[0]}\n" in capsys.readouterr().out


def completed(*words: str) -> list[str]:
    *before, incomplete = words
    found = ShellComplete(group, {}, "dagster-beiwe", "_COMPLETE").get_completions(before, incomplete)
    return [each.value for each in found]


def test_a_shell_completes_what_needs_no_server(lake: StudyLake, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands, options, and names that a lake on this machine shows to everybody."""
    monkeypatch.delenv("BEIWE_URL")
    monkeypatch.delenv("BEIWE_LAKE_PASSPHRASE")
    assert completed("s") == ["status", "show", "sql", "snapshot"]
    assert completed("snapshot", "c") == ["create"]
    assert completed("verify", "--s") == ["--study", "--share"]
    assert completed("verify", "--study", "") == [lake.study_id]
    assert completed("export", "--study", lake.study_id, "--participant", "b") == ["bert2222"]
    assert completed("purge", "--participant", "") == ["anna1111", "bert2222"]
    assert completed("export", "--stream", "power") == ["power_state"]
    monkeypatch.setenv("BEIWE_LAKE", "s3://lab/lake")
    assert completed("verify", "--study", "") == []


@pytest.mark.parametrize("lake", ["lake", "~nobody-of-this-name/lake"])
def test_a_shell_completes_what_can_be_listed(lake: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error would stand in the middle of the line that somebody types."""
    (tmp_path / "lake" / ("a" * 24) / "anna1111").mkdir(parents=True)
    (tmp_path / "lake" / ("b" * 24)).write_text("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BEIWE_LAKE", lake)
    assert completed("export", "--participant", "") == (["anna1111"] if lake == "lake" else [])


def test_a_shell_completes_what_the_project_names(
    lake: StudyLake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Commands in its folder read ``.env``, too."""
    (tmp_path / ".env").write_text(as_line("BEIWE_LAKE", os.environ["BEIWE_LAKE"]))
    monkeypatch.delenv("BEIWE_LAKE")
    monkeypatch.chdir(tmp_path)
    typed = {
        "_DAGSTER_BEIWE_COMPLETE": "bash_complete",
        "COMP_WORDS": "dagster-beiwe verify --study ",
        "COMP_CWORD": "3",
    }
    for name, value in typed.items():
        monkeypatch.setenv(name, value)
    assert main([]) == 0
    assert capsys.readouterr().out.split(",") == ["plain", f"{lake.study_id}\n"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_gets_its_script(
    shell: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the line that the documentation names."""
    variable = "_DAGSTER_BEIWE_COMPLETE"
    assert f"{variable}={shell}_source dagster-beiwe" in PAGE
    monkeypatch.setenv(variable, f"{shell}_source")
    assert main([]) == 0
    assert f"{variable}={shell}_complete" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "status", "error", "message"),
    [
        (["verify", "--study", "Slip"], 2, "ConfigurationError", "The lake at "),
        (["verify", "--slip"], 2, "UsageError", "No such option"),
        (["slip"], 2, "UsageError", "No such command 'slip'. Run `dagster-beiwe --help` for help."),
        (["export", "--study", "Sleep", "--to", "/proc/x"], 1, "FileNotFoundError", "Cannot use"),
    ],
)
def test_a_program_gets_an_error_as_an_object(
    lake: StudyLake, arguments: list[str], status: int, error: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """On standard error, whatever is wrong; nothing is on standard output."""
    assert main([*arguments, "--json"]) == status
    printed = capsys.readouterr()
    assert printed.out == ""
    found = json.loads(printed.err.splitlines()[-1])
    assert found.pop("message").startswith(message)
    assert found == {"kind": "error", "error": error, "status": status}


ENDINGS: dict[int, Any] = {
    0: 0,
    1: LakeError("damaged"),
    2: ConfigurationError("a setting"),
    129: signal.SIGHUP,
    130: signal.SIGINT,
    143: signal.SIGTERM,
}


@pytest.mark.parametrize("status", ENDINGS)
def test_each_way_to_end_has_the_status_of_the_reference(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Success, a failure, a mistake, and signals; a command that found a problem returns 1 itself."""

    def callback(**_options: object) -> int:
        match ENDINGS[status]:
            case Exception() as error:
                raise error
            case signal.Signals() as number:
                signal.raise_signal(number)
        return 0

    monkeypatch.setattr(runs.command, "callback", callback)
    assert main(["runs"]) == status


def test_the_reference_lists_every_status_and_what_a_problem_is() -> None:
    """Of commands that there are."""
    section = PAGE.partition("## Exit status\n")[2].partition("\n## ")[0]
    assert [int(number) for number in re.findall(r"^\| (\d+) \|", section, re.MULTILINE)] == list(ENDINGS)
    rows = re.findall(r"^\| ([a-z, ]+?)(?: --once)? \|", section.partition("exits with 1 if")[2], re.MULTILINE)
    named = [name for row in rows for name in row.split(", ")]
    assert len(named) > 5
    assert set(named) <= {words for name in COMMANDS for words in actions(name)}
