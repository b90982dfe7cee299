"""What a message says about new problems: checks, counts, and participant ids, and never a value of their data."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import groupby
from typing import Any
from urllib.parse import quote

from dagster_beiwe.notices.problems import Check, Problem, Severity
from dagster_beiwe.text import counted, listed, utc_minute

_NAMED = 50
_WORDS = {"WARN": "warning", "ERROR": "error"}
_FOOT = "Each problem is reported once, and again if it comes back after it was resolved."


@dataclass(frozen=True, kw_only=True)
class Message:
    """One notice. ``identity`` is the same whenever the same problems are reported, so that a receiver can recognize a
    message that was sent twice. ``facts`` is what ``text`` says, as JSON."""

    subject: str
    text: str
    facts: dict[str, Any]
    identity: str


def message_of(problems: Sequence[Problem], *, dagster_url: str | None = None) -> Message:
    """The message about new problems, of which there is at least one. ``dagster_url`` is the address of Dagster's UI,
    for links to the checks."""
    ordered = sorted(problems, key=_order)
    facts = [(problem.check, problem.participant, problem.severity, problem.at) for problem in ordered]
    studies = ", ".join(dict.fromkeys(problem.check.study for problem in ordered))
    blocks = [
        _block(check, severity, list(some), dagster_url)
        for (check, severity), some in groupby(ordered, key=lambda problem: (problem.check, problem.severity))
    ]
    return Message(
        subject=f"Beiwe: {counted(len(ordered), 'new problem')} in {studies}",
        text="\n\n".join([*blocks, _FOOT]) + "\n",
        facts={"problems": [_facts(problem) for problem in ordered]},
        identity=hashlib.sha256(repr(facts).encode()).hexdigest()[:32],
    )


def _order(problem: Problem) -> tuple[Check, bool, str]:
    return problem.check, problem.severity == "WARN", problem.participant


def _block(check: Check, severity: Severity, problems: Sequence[Problem], dagster_url: str | None) -> str:
    """A check that failed, with whom it names and where to look."""
    newest = datetime.fromtimestamp(max(problem.at for problem in problems), timezone.utc)
    people = [_name(problem) for problem in problems if problem.participant]
    lines = [f"{check.study}: {check.name} ({_WORDS[severity]}), {utc_minute(newest)}"]
    if people:
        lines += [f"{counted(len(people), 'participant')}: {listed(people, most=_NAMED)}"]
    if any(problem.resolved and not problem.participant for problem in problems):
        lines += ["Resolved since."]
    if dagster_url:
        path = "/".join(quote(part, safe="") for part in check.asset.split("/"))
        lines += [f"{dagster_url.rstrip('/')}/assets/{path}?view=checks&checkDetail={quote(check.name)}"]
    return "\n".join(lines)


def _name(problem: Problem) -> str:
    return f"{problem.participant} (resolved since)" if problem.resolved else problem.participant


def _facts(problem: Problem) -> dict[str, Any]:
    return {
        "study": problem.check.study,
        "asset": problem.check.asset,
        "check": problem.check.name,
        "participant": problem.participant or None,
        "severity": problem.severity,
        "at": datetime.fromtimestamp(problem.at, timezone.utc).isoformat(timespec="seconds"),
        "resolved": problem.resolved,
    }
