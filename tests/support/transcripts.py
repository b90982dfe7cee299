"""Transcripts in pages: each command is run, in order, and has to print what the page shows.

In a block ``console``, a line that begins with ``$ `` is a command, with the lines after it as long as each ends with a
backslash. What follows is what it prints. A line ``...`` stands for any lines, and sizes, moments, durations, and
random IDs need only have their form.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from dagster._cli import create_dagster_cli

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


@dataclass(frozen=True)
class Terminal:
    """Runs commands in this process: ``dagster-beiwe``, ``dagster``, and ``export``, which the next ones see.

    ``places`` are what stands for the paths and addresses of the page here.
    """

    patch: pytest.MonkeyPatch
    capture: pytest.CaptureFixture[str]
    places: Mapping[str, str]

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
