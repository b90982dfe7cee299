"""What commands print: text for people or, with ``--json``, objects for programs."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from dagster_beiwe.cli.messages import is_terminal, red
from dagster_beiwe.text import as_typed


def print_json(facts: Mapping[str, Any]) -> None:
    """Print one object on a line. Days and times are written in ISO 8601, with their zone."""
    print(json.dumps(dict(facts), default=_as_text))


def _as_text(value: object) -> str:
    if isinstance(value, date):  # and datetime, which is one
        return value.isoformat()
    if isinstance(value, Path):
        return as_typed(str(value))
    raise TypeError(f"{type(value).__name__} is not for programs to read")


def paragraph(text: str, *, indent: str = "") -> str:
    """Text between words of which a terminal breaks its lines; anywhere else it is one line."""
    if not is_terminal(sys.stdout):
        return f"{indent}{text}"
    width = shutil.get_terminal_size().columns
    return textwrap.fill(
        text, width, initial_indent=indent, subsequent_indent=indent or "  ", break_on_hyphens=False,
        break_long_words=False,
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """What a command found out about a subject: whether it works, in words, and in facts for programs."""

    subject: str
    text: str
    passed: bool = True
    facts: Mapping[str, Any] = field(default_factory=dict)


def print_diagnoses(diagnoses: Iterable[Diagnosis], *, as_json: bool) -> bool:
    """Print each as it comes. Returns whether all have passed."""
    passed = True
    for each in diagnoses:
        passed = passed and each.passed
        if as_json:
            print_json({"subject": each.subject, "passed": each.passed, **each.facts})
        else:
            print(each.text if each.passed else red(each.text, sys.stdout))
    return passed
