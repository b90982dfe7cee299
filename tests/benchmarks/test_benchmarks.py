"""The benchmarks run, on data too small to judge by, and tell everything that they promise. No test asserts a time."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from benchmarks import __main__ as command
from benchmarks import limits, process
from benchmarks.report import as_document, as_text

pytestmark = pytest.mark.skipif(find_spec("mano") is None, reason="mano, the other side of the benchmarks, is missing")

ROOT = Path(__file__).parents[2]
ONLY = ("small", "refresh", "real costs", "memory", "limits", "lake", "coverage", "columns")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One run of some workloads at the smallest scale."""
    return command.run("tiny", only=ONLY, folder=tmp_path_factory.mktemp("benchmarks"))


def test_every_client_tells_time_traffic_and_memory(results: dict[str, Any]) -> None:
    """Each client of a workload has seconds, requests, bytes on the wire and memory, and what it did."""
    for workload in results["workloads"].values():
        assert workload["data"]["files"] > 0
        for case in workload["clients"].values():
            assert case["seconds"] > 0
            assert case["requests"] >= 1
            assert case["wire_bytes"] > 0
            assert case["peak_bytes"] >= case["base_bytes"] > 0


def test_both_sides_do_the_same_work(results: dict[str, Any]) -> None:
    """Ours and mano bring in the same number of files, and all of them."""
    workload = results["workloads"]["small"]
    assert {case["files"] for case in workload["clients"].values()} == {workload["data"]["files"]}


def test_a_refresh_with_nothing_new_takes_one_request(results: dict[str, Any]) -> None:
    """One request tells that nothing is new, and no window is dirty."""
    assert results["workloads"]["refresh"]["clients"]["ours"]["requests"] == 1


def test_the_bare_download_and_ours_bring_the_same(results: dict[str, Any]) -> None:
    """From a server whose requests and files cost time."""
    bare, ours = (results["real costs"]["cases"]["one run"][client] for client in ("bare download", "ours"))
    assert ours["wire_bytes"] >= bare["wire_bytes"] > 0
    assert bare["requests"] == 1
    assert bare["seconds"] > results["real costs"]["costs"]["auth_seconds"]
    both = {"one run": {"bare download": bare, "ours": ours}, "runs at once": {"bare download": bare, "ours": ours}}
    assert "4 at once: ours" in as_text(
        {**results, "real costs": {**results["real costs"], "cases": both, "at_once": 4}}
    )


def test_the_lake_costs_what_is_promised(results: dict[str, Any]) -> None:
    """Few requests beside those of the files; one more for a look at an open log."""
    costs = results["lake"]["s3"]
    assert costs["look again"]["requests"] == 1
    assert costs["nothing new"]["of files"] == 0
    assert costs["first fetch"]["of files"] == 7 * results["lake"]["windows"]
    lake = {**results["lake"], "before": results["lake"], "wide before": results["lake"]["wide"]}
    text = as_text({**results, "lake": lake})
    assert "S3, requests, before" in text
    assert "requests a window" in text


def test_coverage_counts_every_file(results: dict[str, Any]) -> None:
    """Of a week of two participants; the table has a row for each day and stream."""
    (study,) = results["coverage"]["studies"]
    assert study["files"] == 2 * 7 * study["files_a_day"]
    assert study["rows"] > 2 * 7
    assert study["peak_bytes"] >= study["base_bytes"]


def test_every_way_reads_the_same_rows(results: dict[str, Any]) -> None:
    """From raw files and from tables, of the week and of everything."""
    found = results["columns"]
    for what in ("a week", "all"):
        assert len({way[what]["rows"] for way in found["ways"].values()}) == 1
    assert found["ways"]["table, pandas"]["all"]["rows"] == found["rows"] > 0
    raw, table = found["s3"]["raw files, pandas"], found["s3"]["table, pandas"]
    assert raw["rows"] == table["rows"] == found["ways"]["table, pandas"]["a week"]["rows"]
    assert table["requests"] < raw["requests"]


def test_the_page_is_made_from_the_committed_results() -> None:
    """By the command that the page names; nobody has written numbers into it."""
    measured = json.loads((ROOT / "benchmarks" / "results.json").read_text(encoding="utf-8"))
    assert (ROOT / "docs" / "performance.md").read_text(encoding="utf-8") == as_document(measured)


def test_results_survive_json_and_become_text_and_documentation(results: dict[str, Any], tmp_path: Path) -> None:
    """The page is written from the JSON alone, with a table for each workload and the link to Dagster's costs."""
    source, page = tmp_path / "results.json", tmp_path / "performance.md"
    source.write_text(json.dumps(results), encoding="utf-8")
    assert command.main(["--from", str(source), "--doc", str(page)]) == 0
    written = page.read_text(encoding="utf-8")
    assert written == as_document(results)
    for workload in results["workloads"].values():
        assert f"## {workload['title']}" in written
        assert workload["title"] in as_text(results)
    assert "dagster-scale.md" in written


def test_results_of_other_workloads_are_kept_only_if_they_are_of_the_same_scale(
    results: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Measuring a part again replaces that part; numbers of two scales never stand side by side."""
    source = tmp_path / "results.json"
    monkeypatch.setattr(limits, "measure", lambda *_args, **_sizes: {"zstd ratio": 1.0})
    for scale, kept in (("tiny", set(results["workloads"])), ("quick", set())):
        source.write_text(json.dumps({**results, "scale": scale}), encoding="utf-8")
        assert command.main(["--tiny", "--only", "limits", "--json", str(source), "--folder", str(tmp_path)]) == 0
        assert set(json.loads(source.read_text(encoding="utf-8"))["workloads"]) == kept


def test_a_peak_that_is_read_lower_later_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Linux counts a process's memory in batches, so two readings of one peak differ by some pages."""
    readings = iter([683_851_776, 683_831_296])
    monkeypatch.setattr(process, "peak_bytes", lambda: next(readings))
    found: dict[str, Any] = {}
    with process.measured(found):
        pass
    assert found["peak_bytes"] == found["base_bytes"] == 683_851_776
