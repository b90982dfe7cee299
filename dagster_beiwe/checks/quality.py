"""Judge the table ``quality``: who is affected by which fault of the rows, and on which days. No value is shown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date

import dagster as dg
import pandas as pd

from dagster_beiwe.checks.comparison import SHOWN
from dagster_beiwe.checks.places import table_of
from dagster_beiwe.checks.verdicts import Verdict
from dagster_beiwe.coverage.frame import as_of
from dagster_beiwe.notices.problems import Severity
from dagster_beiwe.quality import Finding, find_faults
from dagster_beiwe.runs.check_history import failing_metadata
from dagster_beiwe.text import counted, listed

QUALITY_CHECKS: Mapping[str, str] = {
    "answers_and_timings": "Every answer to a survey has its timing, and every submitted survey its answers.",
    "timestamps": "The rows of a file are in order of time, and no two rows of a sensor have the same time.",
    "coordinates": "Locations are on Earth, and their accuracy is plausible.",
    "sampling": "In hours with data, sensors record about as much as is expected from the study's settings.",
    "clock": "No file is dated in the future, the two times of a row agree, and rows lie in the hour of their file.",
}
"""{name: description} of the checks on ``quality``."""

_DAYS_SHOWN = 7
_NAMED = 10


def judge_quality(name: str, table: pd.DataFrame | None) -> Verdict:
    """A server that breaks its protocol is an error; what phones do is a warning. The table may not exist yet."""
    if table is None:
        return Verdict(
            passed=False,
            severity=dg.AssetCheckSeverity.WARN,
            description="Nothing to check: materialize quality first.",
        )
    findings = find_faults(table, name)
    severities: dict[str, Severity] = {finding.participant: "WARN" for finding in findings}
    severities |= {finding.participant: "ERROR" for finding in findings if finding.severity == "error"}
    days = {(finding.participant, day) for finding in findings for day in finding.days}
    return Verdict(
        passed=not findings,
        severity=dg.AssetCheckSeverity.ERROR if "ERROR" in severities.values() else dg.AssetCheckSeverity.WARN,
        description=_description(findings, table["participant"].nunique()) if findings else QUALITY_CHECKS[name],
        metadata={
            "as of": dg.MetadataValue.timestamp(as_of(table)),
            "participants affected": len(severities),
            "days affected": len(days),
            **({"first findings": table_of(_rows(findings[:SHOWN]))} if findings else {}),
            **failing_metadata(severities),
        },
    )


def _description(findings: Sequence[Finding], participants: int) -> str:
    """Who is affected, on how many days, and up to when: first whoever was affected last."""
    days: dict[str, set[date]] = {}
    for finding in findings:
        days.setdefault(finding.participant, set()).update(finding.days)
    named = [f"{who} ({counted(len(found), 'day')}, last {max(found).isoformat()})" for who, found in days.items()]
    what = "; ".join(dict.fromkeys(finding.what for finding in findings))
    return f"{what[:1].upper()}{what[1:]}: {len(days)} of {participants} participants. {listed(named, most=_NAMED)}."


def _rows(findings: Sequence[Finding]) -> Iterator[dict[str, str | int]]:
    for finding in findings:
        newest = [day.isoformat() for day in finding.days[-_DAYS_SHOWN:]]
        earlier = len(finding.days) - len(newest)
        yield {
            "participant": finding.participant,
            "stream": finding.stream,
            "days": f"{', '.join(newest)}, and {earlier} earlier" if earlier else ", ".join(newest),
            "number": finding.number,
            "what": finding.what,
        }
