"""docs/cost.md is what the committed measurement says, its predictions hold, and the measurement runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.cost import __main__ as command
from benchmarks.cost import needs, page, play, steps
from benchmarks.cost.needs import Size
from benchmarks.cost.worlds import STUDIES
from dagster_beiwe.sync.audit import DEFAULT_AUDIT

ROOT = Path(__file__).parents[2]
LEAST = STUDIES["least"]


@pytest.fixture(scope="module")
def results() -> dict[str, Any]:
    """What was measured last."""
    found: dict[str, Any] = json.loads((ROOT / "benchmarks" / "cost.json").read_text(encoding="utf-8"))
    return found


def test_the_page_is_made_from_the_results(results: dict[str, Any]) -> None:
    """By the command that the page names; nobody has written numbers into it."""
    assert (ROOT / page.PAGE).read_text(encoding="utf-8") == page.as_document(results)


def test_a_tenth_of_the_study_took_what_a_hundredth_predicted(results: dict[str, Any]) -> None:
    """In whatever does not depend on the machine: closely where a plan rests on it, roughly where it is small."""
    if "tenth" not in results["studies"]:
        pytest.skip("the tenth was not measured: python -m benchmarks.cost --only tenth, on an idle machine")
    differences = [each for each in page.differences(results) if each.figure != "cpu_seconds"]
    assert len(differences) > 20
    assert [each for each in differences if abs(each.percent) > (15 if page.is_large(each) else 40)] == []


def test_the_audit_of_a_large_study_fits_into_the_budget(results: dict[str, Any]) -> None:
    """With the defaults, 500 participants by 52 weeks take less than a day's budget."""
    daily = page.audit_day(page.predicted(results, Size(participants=500, days=364)))
    assert daily["downloads"] + daily["questions"] < DEFAULT_AUDIT.requests
    assert daily["sent_bytes"] + daily["received_bytes"] < DEFAULT_AUDIT.size_bytes


def test_figures_grow_with_their_unit() -> None:
    """Participant-weeks, participants, runs, or nothing."""
    small, large = Size(participants=2, days=70), Size(participants=200, days=35)
    found = {
        "backfill": {"downloads": 8.0, "questions": 5.0, "peak_bytes": 300.0},
        "a day": {"downloads": 2.0, "questions": 7.0},
        "checks": {"questions": 3.0, "received_bytes": 1.0},
    }
    assert (small.participant_weeks, large.participant_weeks, small.runs, large.runs) == (20, 1_000, 1, 2)
    assert needs.extrapolate(found, small, large, base={"checks": {"received_bytes": 0.5}}) == {
        "backfill": {"downloads": 400.0, "questions": 10.0, "peak_bytes": 300.0},
        "a day": {"downloads": 200.0, "questions": 7.0},
        "checks": {"questions": 3.0, "received_bytes": 0.5 + 0.5 * 50},
    }
    assert needs.each(found, {}, "a day", small) == {"downloads": 1.0, "questions": 0.0}


def test_the_server_works_for_requests_files_hashes_and_bytes() -> None:
    """A thousand files of a MB in two requests, and a thousand that it only compares."""
    figures = {"downloads": 2.0, "questions": 0.0, "files_sent": 1e3, "files_listed": 1e3, "plain_bytes": 1e9}
    assert needs.server_seconds(figures) == pytest.approx(0.3 + 3.5 + 0.03 + 10)


def test_a_step_is_counted_at_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first one, of the smallest study: the project asks for its tables, and for no data."""
    with play.serving(LEAST) as server:
        for name, value in play.environment(server, tmp_path).items():
            monkeypatch.setenv(name, value)
        with steps.project(play.job_of(LEAST, server)) as take:
            found = play.Play(LEAST, server, take, tmp_path, print).step("tables")
    assert found["questions"] > 1
    assert found["downloads"] == found["files_sent"] == 0
    assert found["received_bytes"] > found["sent_bytes"] > 0
    assert found["peak_bytes"] >= found["base_bytes"] > 0


@pytest.mark.large
def test_the_measurement_runs(tmp_path: Path) -> None:
    """On a study too small to judge by: every step asks the server, and all files are sent once."""
    target = tmp_path / "cost.json"
    assert command.main(["--only", "least", "--json", str(target), "--folder", str(tmp_path)]) == 0
    study = json.loads(target.read_text(encoding="utf-8"))["studies"]["least"]
    assert study["steps"]["backfill"]["files_sent"] == study["files"]
    assert study["steps"]["nothing new"]["questions"] == 1
    assert study["steps"]["nothing new"]["downloads"] == 0
    assert all(each["questions"] for name, each in study["steps"].items() if name != "lake")
