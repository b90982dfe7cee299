"""``status`` and ``show``: what a coordinator sees of a study in a terminal, from the tables in the lake."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from coverage_frames import coverage_frame
from filled_lake import PASSPHRASE

from dagster_beiwe.cli import main
from dagster_beiwe.coverage import SilenceLimits
from dagster_beiwe.coverage.frame import AS_OF
from dagster_beiwe.coverage.silence import with_limits
from dagster_beiwe.lake import StudyLake
from dagster_beiwe.streams import STREAM_GROUPS
from dagster_beiwe.studies.config import StudyConfig
from dagster_beiwe.tables.store import TableStore

TODAY = datetime.now(timezone.utc).date()
DAYS = {
    "anna1111": "#" * 29 + "+" * 5 + "?",
    "bert2222": "#" * 27 + "." * 7 + "?",
    "cleo3333": " " * 35,
    "dora4444": "." * 34 + "?",
}
STATUSES = {"cleo3333": "n" * 35}
ROSTER = [
    {"participant": "anna1111", "Status": "Active (just now)", "Last Upload": "2026-03-20T05:00:00-04:00"},
    {"participant": "bert2222", "Status": "Inactive", "Last Upload": "2026-03-13T05:00:00-04:00"},
    {"participant": "cleo3333", "Status": "Not Registered", "Last Upload": None},
    {"participant": "dora4444", "Status": "Inactive \x1b[31mred\x1b[0m", "Last Upload": None, "Field\x1b[2J": "a"},
]


@pytest.fixture
def tables(lake: StudyLake) -> TableStore:
    """The tables of the study, as Dagster would have stored them today."""
    store = TableStore.of_study(lake)
    frame = coverage_frame(DAYS, statuses=STATUSES, today=TODAY)
    frame.attrs[AS_OF] = datetime.now(timezone.utc).isoformat()
    store.write(["beiwe", "sleep", "coverage"], frame)
    store.write(["beiwe", "sleep", "roster"], pd.DataFrame(ROSTER, dtype="string"))
    store.write_all(
        ["beiwe", "sleep", "participant"],
        {name: pd.DataFrame({"version": [number]}) for number, name in enumerate(("anna1111", "bert2222"))},
    )
    return store


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Run a command; returns its status and what it printed."""

    def call(*arguments: str) -> tuple[int, str]:
        capsys.readouterr()
        return main(arguments), capsys.readouterr().out

    return call


def test_status_shows_the_silent_first(tables: TableStore, run: Callable[..., tuple[int, str]]) -> None:
    """One line each, with a bar of four weeks. Somebody who is silent makes the status 1."""
    status, text = run("status", "--study", "Sleep")
    assert status == 1
    head, *lines, legend = text.splitlines()
    assert "2 of 3 silent for 3 days or more, in all streams. As of" in head
    assert [line.split()[0] for line in lines] == ["dora4444", "bert2222", "anna1111", "cleo3333"]
    dora, bert, anna, cleo = lines
    assert dora.endswith("never       everything silent for 34 days")
    assert bert == f"  bert2222  {'█' * 20}{'·' * 7}   {TODAY - timedelta(days=8)}  everything silent for 7 days"
    assert anna == f"  anna1111  {'█' * 22}{'▄' * 5}   {TODAY - timedelta(days=1)}"
    assert cleo.split()[1:] == ["never", "not", "enrolled", "yet"]
    assert "█ 80% or more" in legend


def test_status_is_red_where_that_is_wanted(
    tables: TableStore, run: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a terminal, of who is silent; nobody needs the color to read it."""
    assert "\x1b" not in run("status")[1]
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    assert run("status")[1].count("\x1b[31m") == 2
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in run("status")[1]
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert "\x1b" not in run("status")[1]


def test_status_takes_the_limits_of_the_study_or_of_the_call(
    tables: TableStore, run: Callable[..., tuple[int, str]]
) -> None:
    """Nobody is silent for five weeks: status 0."""
    key = ["beiwe", "sleep", "coverage"]
    tables.write(key, with_limits(tables.read(key), SilenceLimits(days=8)))
    assert "1 of 3 silent for 8 days or more" in run("status")[1]
    assert run("status", "--silent", "35")[0] == 0
    status, text = run("status", "--silent", "7", "--json")
    facts = [json.loads(line) for line in text.splitlines()]
    assert status == 1
    assert [(each["participant"], each["days_silent"]) for each in facts if each["silent"]] == [
        ("dora4444", 34),
        ("bert2222", 7),
    ]
    bert = facts[1]
    assert (bert["days"], bert["last_upload"]) == ("#" * 20 + "." * 7 + " ", "2026-03-13T09:00:00+00:00")
    assert {each["status"] for each in facts} == {"enrolled", "not enrolled yet"}


def test_the_page_for_coordinators_shows_what_status_prints(
    tables: TableStore, run: Callable[..., tuple[int, str]]
) -> None:
    """But for dates and the study's id; and its groups of streams are all there are."""
    page = (Path(__file__).parents[2] / "docs" / "who-stopped-sending.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"```text\n(.*?)```", page, flags=re.DOTALL)

    def masked(text: str) -> list[str]:
        return [re.sub(r"\(\w{24}\)|\d{4}-\d\d-\d\d( \d\d:\d\d)?", "*", line) for line in text.splitlines()]

    assert masked(run("status")[1]) == masked(shown)
    assert all(f"`{group}`" in page.splitlines()[-1] for group in STREAM_GROUPS)
    (configured,) = re.findall(r"```yaml\n(.*?)```", page, flags=re.DOTALL)
    (study,) = yaml.safe_load(configured)["attributes"]["studies"]
    assert StudyConfig(**study).silent_groups["surveys"] == 14


def test_status_says_what_is_missing(lake: StudyLake, run: Callable[..., tuple[int, str]]) -> None:
    """No table yet, or an old one: nobody can say who is silent."""
    status, text = run("status")
    assert (status, "no table of coverage" in text) == (1, True)
    old = coverage_frame({"anna1111": "##"}, today=date(2026, 3, 20))
    TableStore.of_study(lake).write(["beiwe", "sleep", "coverage"], old)
    assert "more than a day old" in run("status")[1]


def test_show_lists_the_tables(tables: TableStore, run: Callable[..., tuple[int, str]]) -> None:
    """With their partitions, and when they were written."""
    status, text = run("show")
    assert status == 0
    assert [line.split()[:3] for line in text.splitlines()[1:]] == [
        ["beiwe/sleep/coverage", "written", text.splitlines()[1].split()[2]],
        ["beiwe/sleep/participant", "2", "partitions,"],
        ["beiwe/sleep/roster", "written", text.splitlines()[3].split()[2]],
    ]
    assert [json.loads(line)["partitions"] for line in run("show", "--json")[1].splitlines()] == [0, 2, 0]


def test_show_exports_a_table(tables: TableStore, run: Callable[..., tuple[int, str]]) -> None:
    """As CSV or JSON, whole or of some participants; days as dates, what is empty as nothing."""
    status, text = run("show", "coverage", "--csv", "--participant", "bert2222")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert status == 0
    assert len(rows) == 35
    assert {row["participant"] for row in rows} == {"bert2222"}
    assert (rows[-1]["day"], rows[-1]["state"], rows[-1]["waiting"]) == (TODAY.isoformat(), "not yet", "")
    (cleo,) = [
        json.loads(line) for line in run("show", "roster", "--json", "--participant", "cleo3333")[1].splitlines()
    ]
    assert (cleo["participant"], cleo["Last Upload"]) == ("cleo3333", None)
    parts: list[dict[str, Any]] = [json.loads(line) for line in run("show", "part", "--json")[1].splitlines()]
    assert [(each["version"], each["partition"]) for each in parts] == [(0, "anna1111"), (1, "bert2222")]
    assert len(run("show", "participant", "--participant", "bert2222", "--json")[1].splitlines()) == 1


def test_show_prints_nothing_that_a_terminal_obeys(
    tables: TableStore, run: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither piped, with tabs, nor on a terminal, where long tables are cut; in a file, texts are as they are."""
    assert "\x1b[31mred" in run("show", "roster", "--csv")[1]
    piped = run("show", "roster")[1]
    assert "\x1b" not in piped
    assert piped.splitlines()[0].split("\t")[:2] == ["study_id", "participant"]
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    shown = run("show", "roster")[1]
    assert "beiwe/sleep/roster of Sleep" in shown
    assert "\x1b" not in shown + run("show", "roster", "--csv")[1] + run("show", "roster", "--json")[1]
    monkeypatch.setenv("COLUMNS", "200")
    lines = run("show", "coverage")[1].splitlines()
    assert len(lines) == 1 + 1 + 60 + 1
    assert lines[-1] == "80 rows in between not shown. --csv prints all."


def test_show_prints_any_table_of_a_lab(tables: TableStore, run: Callable[..., tuple[int, str]]) -> None:
    """Whatever its types: times keep their hours, and numbers their digits. JSON of no rows is nothing."""
    frame = pd.DataFrame(
        {"day": [date(2026, 3, 1)], "at": [datetime(2026, 3, 1, 9, 30)], "share": [1 / 3], "hours": [[7, 8]]}
    )
    tables.write(["lab", "sleep", "nights"], frame)
    tables.write(["lab", "sleep", "nothing"], frame[:0])
    assert run("show", "nights")[1].splitlines()[1].split("\t")[1:3] == ["2026-03-01", "2026-03-01 09:30:00"]
    row = json.loads(run("show", "nights", "--json")[1])
    assert (row["at"][:16], row["hours"]) == ("2026-03-01T09:30", [7, 8])
    assert row["share"] == pytest.approx(1 / 3, abs=1e-15)
    assert run("show", "nothing", "--json") == (0, "")


def test_what_is_piped_has_no_quotes_but_its_own(tables: TableStore, run: Callable[..., tuple[int, str]]) -> None:
    """Settings are JSON, which has quotes. A single column may have empty cells."""
    value = '["gps", "wifi"]'
    tables.write(["beiwe", "sleep", "settings"], pd.DataFrame({"name": ["streams"], "value": [value]}))
    assert run("show", "settings")[1].splitlines()[1].split("\t")[1:] == ["streams", value]
    for query, printed in (("SELECT value FROM settings", value), ("SELECT NULL AS nothing", "")):
        assert run("sql", query, "--study", "Sleep")[1].splitlines()[1:] == [printed]


def test_without_the_server_the_lake_tells_the_name_of_a_study(
    tables: TableStore,
    study_id: str,
    run: Callable[..., tuple[int, str]],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """From the table ``studies``, which is encrypted with the lake's passphrase; else there are ids. Only whoever has a
    part of a server's variables is warned."""
    for name, warnings in {"BEIWE_URL": 1, "BEIWE_ACCESS_KEY": 1, "BEIWE_SECRET_KEY": 0}.items():
        monkeypatch.delenv(name)
        caplog.clear()
        assert run("status")[1].startswith(f"{study_id}: ")
        assert len([each for each in caplog.records if each.levelname == "WARNING"]) == warnings
    known = pd.DataFrame({"deployment": ["beiwe"], "study_id": [study_id], "name": ["Sleep"], "key": ["sleep"]})
    TableStore.of_lake(tables.storage, passphrase=PASSPHRASE).write(["beiwe", "studies"], known)
    assert run("status", "--study", "Sleep")[1].startswith(f"Sleep ({study_id}): ")


def test_show_reads_past_states(tables: TableStore, lake: StudyLake, run: Callable[..., tuple[int, str]]) -> None:
    """What the roster was before somebody left."""
    before = lake.state.number
    tables.write(["beiwe", "sleep", "roster"], pd.DataFrame(ROSTER[:1], dtype="string"))
    assert len(run("show", "roster", "--json")[1].splitlines()) == 1
    assert len(run("show", "roster", "--json", "--as-of", str(before))[1].splitlines()) == 4


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["show", "rooster"], "no table called 'rooster'"),
        (["show", "r"], "several tables called 'r'"),
        (["show", "roster", "--json", "--csv"], "either --json or --csv"),
        (["show", "roster", "--participant", "nobody11"], "nobody11"),
        (["status", "--silent", "0"], "Invalid value for '--silent'"),
    ],
)
def test_a_wrong_call_says_what_is_right(
    tables: TableStore, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    """And ends with status 2."""
    assert main(arguments) == 2
    assert said in capsys.readouterr().err
