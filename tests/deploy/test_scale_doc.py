"""docs/dagster-scale.md is what the committed measurement says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.scale.__main__ import APART, SECTIONS, run
from benchmarks.scale.report import as_document, as_text

ROOT = Path(__file__).parents[2]


def test_the_page_is_made_from_the_results() -> None:
    """By the command that the page names; nobody has written numbers into it."""
    results = json.loads((ROOT / "benchmarks" / "scale" / "results.json").read_text(encoding="utf-8"))
    assert (ROOT / "docs" / "dagster-scale.md").read_text(encoding="utf-8") == as_document(results)


def test_what_was_promised_is_met() -> None:
    """Few runs, cheap partitions, a quick load, and never more downloads at once than two."""
    results = json.loads((ROOT / "benchmarks" / "scale" / "results.json").read_text(encoding="utf-8"))
    assert results["backfills"]["500 x 52"]["all"]["runs"] <= 60
    assert results["pools"]["as shipped"]["peak_downloads"] <= 2 < results["pools"]["not limited"]["peak_downloads"]
    loading = results["definitions"]
    assert loading["first"]["cpu_seconds"] - loading["empty"]["cpu_seconds"] < 3
    assert loading["first"]["requests"] == 1


@pytest.mark.parametrize("section", sorted(SECTIONS | APART))
def test_a_section_that_is_measured_alone_is_printed(section: str, tmp_path: Path) -> None:
    """Also on a machine that has measured nothing before."""
    results = json.loads((ROOT / "benchmarks" / "scale" / "results.json").read_text(encoding="utf-8"))
    text = as_text({**run([], quick=True, folder=tmp_path, earlier={}), section: results[section]})
    assert "## The defaults, and why" in text
