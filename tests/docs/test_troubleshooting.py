"""The page about troubleshooting has an entry for each error and each check, under the word that one sees."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest
from site_parts import raised_messages, with_messages

from dagster_beiwe import errors
from dagster_beiwe.checks import CHECKS
from dagster_beiwe.checks.quality import QUALITY_CHECKS
from dagster_beiwe.cli import main
from dagster_beiwe.cli.commands import UsageError

PAGE = (Path(__file__).parents[2] / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
ENTRIES = re.findall(r"(?m)^### (\w+Error)$", PAGE)
CLASSES = {
    name: each for name, each in vars(errors).items() if inspect.isclass(each) and issubclass(each, errors.BeiweError)
} | {"UsageError": UsageError}


def test_each_error_has_one_entry() -> None:
    """And each entry is about an error that exists."""
    assert sorted(ENTRIES) == sorted(CLASSES)


def test_what_is_transient_is_called_so() -> None:
    """In the first word of the entry; a permanent kind of a transient error is not."""
    transient = set(re.findall(r"(?m)^### (\w+Error)\n\nTransient\.", PAGE))
    assert transient == {name for name, each in CLASSES.items() if each.transient}


def test_each_message_is_listed_under_its_error() -> None:
    """Where the site is built, so that a search for the words of a message leads to its entry."""
    ours = {(name, text) for name, text in raised_messages() if name in CLASSES and re.search(r"\w", text)}
    entries = dict(re.findall(r"(?ms)^### (\w+Error)\n(.*?)(?=^#|\Z)", with_messages(PAGE)))
    assert len(ours) > 250
    assert [text for name, text in ours if f"\n- {text}\n" not in entries[name]] == []


def test_an_error_begins_with_the_heading_of_its_entry(capsys: pytest.CaptureFixture[str]) -> None:
    """As the command line prints it."""
    assert main(["verify", "--nonsense"]) == 2
    assert capsys.readouterr().err.startswith("UsageError: ")


def test_each_check_is_told_of() -> None:
    """In the table of failed checks."""
    table = PAGE.partition("\n## Failed checks\n")[2].partition("\n## ")[0]
    assert sorted(re.findall(r"`(\w+)`", "".join(re.findall(r"(?m)^\| (`[^|]*) \|", table)))) == sorted(
        [*CHECKS, *QUALITY_CHECKS]
    )
