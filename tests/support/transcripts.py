"""Transcripts in pages: each command is run, in order, and has to print what the page shows.

In a block ``console``, a line that begins with ``$ `` is a command, with the lines after it as long as each ends with a
backslash. What follows is what it prints. A line ``...`` stands for any lines, and sizes, moments, durations, and
random IDs need only have their form.
"""

from __future__ import annotations

import io
import re
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from dagster._cli import create_dagster_cli
from dagster_dg_cli.cli import create_dg_cli

from dagster_beiwe.cli import main

_COMMAND = re.compile(r"(?m)^\$ ((?:.*\\\n)*.*)\n((?:(?!\$ ).*\n)*)")
_DIFFERENT = {
    r"\b[0-9a-f]{64}\b": "<hash>",
    r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b": "<id>",
    r"\b\d{4}-\d\d-\d\d \d\d:\d\d(?::\d\d)?(?: \+0000)?": "<moment>",
    r"\b\d[\d.,]* (?:[kMG]?B|ms|s|min)\b": "<amount>",
}


@dataclass(frozen=True)
class Step:
    """A command, and what the page says that it prints."""

    command: str
    printed: str


def transcript(page: Path) -> list[list[Step]]:
    """The steps of each block of a page, so that a test can change the world between them."""
    blocks = re.findall(r"(?ms)^```console\n(.*?)^```$", page.read_text(encoding="utf-8"))
    return [[Step(*found) for found in _COMMAND.findall(block)] for block in blocks]


class _Keyboard(io.StringIO):
    """What somebody sits at."""

    def isatty(self) -> bool:
        return True


@dataclass(frozen=True)
class Terminal:
    """Runs commands in this process: ``dagster-beiwe``, ``dagster``, and ``dg``, and what the next ones see: ``cd``,
    ``export``, and ``read``.

    ``places`` are what stands for the paths and addresses of the page here. ``answers`` are what somebody types, by the
    beginning of the question; without any, nobody sits at the terminal.
    """

    patch: pytest.MonkeyPatch
    capture: pytest.CaptureFixture[str]
    places: Mapping[str, str]
    answers: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.answers:
            self.patch.setattr(sys, "stdin", _Keyboard())
            self.patch.setattr("builtins.input", lambda question: self._typed(question, shown=True))
            self.patch.setattr("getpass.getpass", lambda question: self._typed(question, shown=False))

    def _typed(self, question: str, *, shown: bool) -> str:
        (answer,) = (text for beginning, text in self.answers.items() if question.startswith(beginning))
        print(f"{question}{answer if shown else ''}")
        return answer

    def play(self, steps: list[Step]) -> None:
        """Run the commands, and compare what they print."""
        for step in steps:
            printed = self.run(step.command)
            lines = ("(?:.*\n)*?" if line == "..." else f"{re.escape(line)}\n" for line in masked(step.printed))
            assert re.fullmatch("".join(lines), "\n".join([*masked(printed), ""])), f"$ {step.command}\n{printed}"

    def run(self, command: str) -> str:
        """What a command prints, in the places of the page. It has to succeed."""
        for shown, here in self.places.items():
            command = command.replace(shown, here)
        program, *arguments = shlex.split(command.replace("\\\n", " "), comments=True)
        self.capture.readouterr()
        if program == "export":
            for name, _, value in (each.partition("=") for each in arguments):
                self.patch.setenv(name, value)
        elif program == "read":  # a variable that somebody types without echo, and exports
            self.patch.setenv(arguments[-1], self.answers[arguments[-1]])
        elif program == "cd":
            self.patch.chdir(arguments[0])
        elif program == "dg":
            create_dg_cli()(arguments, standalone_mode=False)
        elif program == "dagster":
            create_dagster_cli()(arguments, standalone_mode=False)
        else:
            assert program == "dagster-beiwe", f"no such program: {program}"
            assert main(arguments) == 0, command
        done = self.capture.readouterr()
        printed = done.out + done.err
        for shown, here in self.places.items():
            printed = printed.replace(here, shown)
        return printed


def masked(text: str) -> list[str]:
    """Lines without what differs from one time to the next."""
    for pattern, name in _DIFFERENT.items():
        text = re.sub(pattern, name, text)
    return [line.rstrip() for line in text.rstrip().splitlines()]
