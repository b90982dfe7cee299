"""`dagster-beiwe report`: one page out of the tables in the lake."""

from __future__ import annotations

import json
import stat
from datetime import date
from pathlib import Path

import pytest
from coverage_frames import coverage_frame
from html_pages import Page

from dagster_beiwe.cli import main
from dagster_beiwe.coverage.changes import SettingChange, with_changes
from dagster_beiwe.lake import StudyLake
from dagster_beiwe.report.tables import page_table
from dagster_beiwe.tables.store import TableStore

COVERAGE = ["beiwe", "sleep", "coverage"]


@pytest.fixture
def tables(lake: StudyLake) -> TableStore:
    """The tables of the study: one of its participants fell silent, and a setting changed."""
    store = TableStore.of_study(lake)
    frame = coverage_frame({"anna1111": "##....?", "bert2222": "######?"}, today=date(2026, 3, 16))
    change = SettingChange(day=date(2026, 3, 12), setting="device_setting/gps", before="true", after="false")
    store.write(COVERAGE, with_changes(frame, [change]))
    return store


def test_a_report_is_written_from_the_tables_in_the_lake(
    tables: TableStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file is closed to others; what changed is told; a word says what the page reveals."""
    file = tmp_path / "new" / "report.html"
    assert main(["report", "--study", "Sleep", "--to", str(file)]) == 0
    shown = capsys.readouterr()
    assert "names participants" in shown.err
    assert f"{file}: Sleep (" in shown.out
    assert (stat.S_IMODE(file.stat().st_mode), stat.S_IMODE(file.parent.stat().st_mode)) == (0o600, 0o700)
    page = Page(file.read_text(encoding="utf-8"))
    assert page.table("Silent").rows[1][:3] == ["anna1111", "4", "2026-03-11"]
    assert page.table("What changed").rows[1] == ["1", "2026-03-12", "device_setting/gps", "true", "false"]
    assert "<title>Sleep: coverage, 2026-03-16</title>" in file.read_text(encoding="utf-8")


def test_the_roster_tells_when_phones_were_last_heard_of(tables: TableStore, tmp_path: Path) -> None:
    """And other days of silence can be asked for."""
    roster = coverage_frame({"anna1111": "#"})[["participant"]].assign(
        **{"Last Heartbeat": "2026-03-12T09:30:00+00:00"}
    )
    tables.write(["beiwe", "sleep", "roster"], roster)
    file = tmp_path / "report.html"
    assert main(["report", "--study", "Sleep", "--to", str(file)]) == 0
    assert Page(file.read_text(encoding="utf-8")).table("Silent").rows[1][4] == "2026-03-12 05:30"
    assert main(["report", "--study", "Sleep", "--silent", "5", "--to", str(tmp_path / "five.html")]) == 0
    assert "0 of 2 silent for 5 days or more" in (tmp_path / "five.html").read_text(encoding="utf-8")


def test_a_report_of_a_past_state_and_a_stored_one(
    tables: TableStore, lake: StudyLake, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the tables held then, and the page that Dagster has stored, byte for byte."""
    catalog = lake.catalog()
    assert catalog is not None
    number = catalog.refresh().head.number
    tables.write(COVERAGE, coverage_frame({"anna1111": "#"}))
    tables.write(["beiwe", "sleep", "report"], page_table("<p>Étude</p>"))
    past, stored = tmp_path / "past.html", tmp_path / "stored.html"
    assert main(["report", "--study", "Sleep", "--as-of", str(number), "--to", str(past)]) == 0
    assert "bert2222" in past.read_text(encoding="utf-8")
    capsys.readouterr()
    assert main(["report", "--study", "Sleep", "--stored", "--to", str(stored), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"study_id": lake.study_id, "file": str(stored), "size_bytes": 13}
    assert stored.read_bytes() == "<p>Étude</p>".encode()


def test_a_report_replaces_nothing_and_stays_out_of_the_lake(
    tables: TableStore, environment: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not a file, not a link; and it says what to do."""
    kept = tmp_path / "kept.html"
    kept.write_text("mine", encoding="utf-8")
    assert main(["report", "--study", "Sleep", "--to", str(kept)]) == 2
    assert "Nothing was written" in capsys.readouterr().err
    assert kept.read_text(encoding="utf-8") == "mine"
    assert main(["report", "--study", "Sleep", "--to", str(environment / "report.html")]) == 2
    assert "choose a place outside of the lake" in capsys.readouterr().err
    assert not (environment / "report.html").exists()


def test_without_coverage_there_is_no_report(
    lake: StudyLake, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The message names the table, and what to do."""
    assert main(["report", "--study", "Sleep", "--to", str(tmp_path / "report.html")]) == 1
    assert "holds no table coverage" in (said := capsys.readouterr().err)
    assert "Materialize it first" in said
    assert not list(tmp_path.glob("*.html"))
