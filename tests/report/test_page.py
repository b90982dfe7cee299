"""The report as its readers have it: numbers of the table, no network, no script, readable without pictures."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from datetime import date
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from coverage_frames import coverage_frame
from html_pages import Page
from PIL import Image

from dagster_beiwe.coverage import SilenceLimits, enrollments, find_silent
from dagster_beiwe.coverage.changes import SettingChange
from dagster_beiwe.pictures.charts import DATA
from dagster_beiwe.report.figures import participant_figures, stream_figures, total_figures
from dagster_beiwe.report.page import Report, render

TODAY = date(2026, 3, 20)
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
NAUGHTY = 'Sleep <b>& "Mood"</b> {{ 7 * 7 }}'


def report(participants: int, days: int = 30) -> Report:
    """A study of which every seventh participant fell silent, each on another day, and every fifth left."""
    marks, statuses = {}, {}
    for number in range(participants):
        quiet = number % 7 == 3
        gps = "#" * (days - 6 - number % 9) + "+" + ("." * (4 + number % 9) if quiet else "#" * (4 + number % 9)) + "?"
        marks[f"p{number:05d}"] = {"gps": gps, "accelerometer": gps, "survey_answers": "~ " * (days // 2)}
        if number % 5 == 4:
            marks[f"p{number:05d}"] = {"gps": gps[: days - 9] + " " * 9}
            statuses[f"p{number:05d}"] = "e" * (days - 9) + "r" * 9
    frame = coverage_frame(marks, today=TODAY, statuses=statuses)
    roster = enrollments([{"participant": name, "Last Upload": "2026-03-12T09:30:00+00:00"} for name in marks])
    return Report(
        study=NAUGHTY,
        coverage=frame,
        silent=find_silent(frame, roster),
        limits=SilenceLimits(),
        changes=[
            SettingChange(
                day=date(2026, 3, 2), setting="device_setting/gps_off_duration_seconds", before="600", after="1200"
            ),
            SettingChange(day=date(2026, 3, 9), setting="survey/001"),
        ],
    )


def in_chromium(page: str, folder: Path, *options: str) -> str:
    """What Chromium prints about the page."""
    if CHROMIUM is None:
        pytest.skip("needs Chromium")
    file = folder / "report.html"
    file.write_text(page, encoding="utf-8")
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}"]
    done = subprocess.run([*command, *options, file.as_uri()], capture_output=True, text=True, timeout=120, check=True)
    return done.stdout


@pytest.mark.parametrize("participants", [5, 300])
def test_the_numbers_on_the_page_are_those_of_the_table(participants: int, tmp_path: Path) -> None:
    """In a real browser: of each participant, of each stream, and of the silent. The page fits into a mail."""
    told = report(participants)
    text = render(told)
    assert len(text) < 300_000
    page = Page(in_chromium(text, tmp_path, "--dump-dom"))
    everybody = page.table("All participants")
    assert len(everybody.rows) == 1 + participants
    whole_days = told.coverage[(told.coverage["day"] < str(TODAY)) & told.coverage["expected_hours"].notna()]
    hours = whole_days.groupby("participant", observed=True)[["hours", "expected_hours"]].sum()
    files = told.coverage.groupby("participant", observed=True)["files"].sum()
    last = told.coverage[told.coverage["files"] > 0].groupby("participant", observed=True)["day"].max()
    for name, _, _, last_data, received, expected, _, held, _ in everybody.rows[1:]:
        assert (received, expected) == (f"{hours['hours'][name]:,}", f"{hours['expected_hours'][name]:,.0f}")
        assert (held, last_data) == (f"{files[name]:,}", str(last[name].date()))
    for row in page.table("What the lake holds").rows[1:]:
        own = told.coverage[told.coverage["stream"] == row[0]]
        assert (row[2], row[6]) == (str(own.loc[own["files"] > 0, "participant"].nunique()), f"{own['files'].sum():,}")
    assert [row[:3] for row in page.table("Silent participants").rows[1:]] == [
        [each.participant, str(each.days_silent), str(each.last_data)] for each in told.silent
    ]
    silent, left = (1, 1) if participants == 5 else (35, 60)
    assert f"{silent} of {participants - left} silent for 3 days or more" in page.text


def test_pictures_are_shown_in_a_browser(tmp_path: Path) -> None:
    """Cells keep their colors and sharp edges: a screenshot has thousands of pixels of each."""
    shot = tmp_path / "shot.png"
    in_chromium(render(report(5)), tmp_path, f"--screenshot={shot}", "--window-size=1000,1500", "--hide-scrollbars")
    pixels = np.asarray(Image.open(shot).convert("RGB"))
    for shade in DATA[1:]:
        assert (pixels == shade.color).all(axis=2).sum() > 1000


def test_a_page_needs_nothing_from_elsewhere() -> None:
    """No script, no link out, no address but those of its own images; the browser is told to refuse the rest."""
    page = Page(render(report(5)))
    assert not [
        tag for tag, _ in page.elements if tag in ("script", "link", "iframe", "object", "embed", "form", "base")
    ]
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    assert all((image["src"] or "").startswith("data:image/png;base64,") for image in page.all("img"))
    assert all((link["href"] or "").startswith("#") for link in page.all("a"))
    assert not re.search(r"url\(|@import|https?:", render(report(5)))
    (policy,) = (meta["content"] for meta in page.all("meta") if meta.get("http-equiv"))
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def test_what_others_wrote_is_text() -> None:
    """A study's name and settings come from the server: they format nothing and run nothing."""
    told = report(5)
    change = SettingChange(day=TODAY, setting="<img src=x onerror=alert(1)>", before="{{ 1 }}", after="</td>")
    page = Page(render(replace(told, changes=[change])))
    assert page.table("What changed").rows[1][2:] == [change.setting, change.before, change.after]
    assert NAUGHTY in page.text


def test_a_setting_that_changed_on_the_last_day_has_its_number_in_every_picture() -> None:
    page = render(replace(report(5, days=60), changes=[SettingChange(day=TODAY, setting="survey/001")]))
    assert page.count("<b>1</b>") == page.count('class="mark"') > 0


def test_a_page_reads_without_seeing_it() -> None:
    """Headings in order, a text for each image, a caption for each table, and a scope for each of its headings."""
    page = Page(render(report(5)))
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert page.all("html") == [{"lang": "en"}]
    texts = [image.get("alt") or "" for image in page.all("img")]
    assert len(texts) == 13
    assert all("5 participants by day" in text or "in a day" in text for text in texts)
    for table in page.tables:
        assert table.caption
        assert set(table.scopes[0]) == {"col"}
        assert all(row.count("row") == 1 for row in table.scopes[1:])
    anchors = {(link["href"] or "")[1:] for link in page.all("a")}
    assert anchors <= {attributes.get("id") for _, attributes in page.elements}


def test_a_page_says_what_it_reveals() -> None:
    """Whoever gets it in a mail knows how to treat it."""
    assert "This page names participants." in Page(render(report(5))).text


def test_a_study_without_participants_has_a_page() -> None:
    """It says so."""
    empty = replace(report(5), coverage=report(5).coverage.iloc[:0], silent=(), changes=())
    page = Page(render(empty))
    assert "The study has no participants yet." in page.text
    assert not page.tables


def test_who_left_has_the_status_of_their_last_day() -> None:
    """The table has no rows of later days."""
    frame = coverage_frame({"anna": "##  ", "bert": "####"}, today=TODAY, statuses={"anna": "eerr"})
    frame = frame[(frame["participant"] == "bert") | (frame["day"] < str(TODAY))].reset_index(drop=True)
    assert participant_figures(frame)["anna"].status == "retired"
    page = render(replace(report(5), coverage=frame, silent=(), changes=()))
    assert Page(page).table("All participants").column("Status") == ["enrolled", "retired"]


def test_figures_are_those_of_the_table() -> None:
    """Hours beyond the expected ones and the day that is going on do not count; what nobody expects has no share."""
    frame = coverage_frame({"anna": {"gps": "#+.?", "survey_answers": "~  ~"}, "bert": {"gps": " ##+"}}, today=TODAY)
    total = total_figures(frame)
    assert (total.hours_received, total.hours_expected, total.share) == (24 + 7 + 48, 5 * 24, 79 / 120)
    gps, surveys = stream_figures(frame)
    assert (gps.participants, gps.sums.files, surveys.sums.share, surveys.sums.files) == (2, 86, None, 6)
    assert participant_figures(frame)["anna"].sums.last_data == TODAY
    assert participant_figures(frame)["bert"].sums.lake_bytes == 55_000
    uncounted = frame.assign(server_bytes=frame["server_bytes"].mask(frame["stream"] == "gps"))
    assert stream_figures(uncounted)[0].sums.server_bytes is None
