"""docs/audit-cost.md is what the committed measurement says, and the measurement runs."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks import audit
from dagster_beiwe.sync.audit import DEFAULT_AUDIT

ROOT = Path(__file__).parents[2]


def test_the_page_is_made_from_the_results() -> None:
    """By the command that the page names; nobody has written numbers into it."""
    results = json.loads((ROOT / "benchmarks" / "audit.json").read_text(encoding="utf-8"))
    assert (ROOT / audit.PAGE).read_text(encoding="utf-8") == audit.as_document(results)


def test_a_large_study_fits_into_the_budget() -> None:
    """With the defaults, 500 participants by 52 weeks take less than a day's budget; with many streams, too."""
    results = json.loads((ROOT / "benchmarks" / "audit.json").read_text(encoding="utf-8"))
    for shape in results["shapes"].values():
        daily = audit.day_of_study(shape)
        assert daily["requests"] < DEFAULT_AUDIT.requests
        assert daily["bytes"] < DEFAULT_AUDIT.size_bytes


def test_the_measurement_runs(tmp_path: Path) -> None:
    """On data too small to judge by."""
    results = audit.run(tmp_path, participants=1, weeks=1, hours=[12])
    assert {shape["year"]["windows"] for shape in results["shapes"].values()} == {1}
    assert "| 1 weeks: requests | 1 | 1 |" in audit.as_document(results)
