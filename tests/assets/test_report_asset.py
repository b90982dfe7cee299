"""What coverage shows in Dagster, and the report as an asset: made from the study's tables, and stored like them."""

from __future__ import annotations

from typing import Any

import pytest
from html_pages import Page
from labs import PARTICIPANTS, Lab

from dagster_beiwe.report.tables import stored_page
from dagster_beiwe.tables.store import TableStore


def metadata(lab: Lab, name: str) -> dict[str, Any]:
    """The values in the metadata of an asset's newest materialization."""
    event = lab.instance.get_latest_materialization_event(lab.key(name))
    assert event is not None
    assert event.asset_materialization is not None
    return {name: value.value for name, value in event.asset_materialization.metadata.items()}


@pytest.fixture
def made(lab: Lab) -> Lab:
    """A study of which nothing was downloaded yet, and whose settings changed, with its coverage and report."""
    assert lab.run("roster", "settings").success
    lab.world.change_settings(lab.study.id, gps_off_duration_seconds=1200)
    assert lab.run("settings").success
    assert lab.run("coverage").success
    assert lab.run("report").success
    return lab


def test_coverage_and_report_tell_who_is_silent_and_which_settings_changed(made: Lab) -> None:
    """On the page of coverage in Dagster, and on the stored page."""
    shown = metadata(made, "coverage")
    assert shown["silent"] == metadata(made, "report")["silent"]
    assert "device_setting/gps_off_duration_seconds`: `600` to `1200`" in shown["heat map"]
    tables = TableStore.of_study(made.lake)
    page = Page(stored_page(tables, lambda name: made.key(name).path))
    assert sorted(page.table("All participants").column("Participant")) == sorted(PARTICIPANTS)
    (change,) = page.table("What changed").rows[1:]
    assert (change[0], change[2:]) == ("1", ["device_setting/gps_off_duration_seconds", "600", "1200"])


def test_dagster_keeps_no_page_and_its_version_changes_with_the_page_only(made: Lab) -> None:
    """What a materialization of the report says names nobody."""
    assert not [
        value for value in metadata(made, "report").values() if any(each in str(value) for each in PARTICIPANTS)
    ]
    events = [made.instance.get_latest_materialization_event(made.key("report"))]
    assert made.run("report").success
    events.append(made.instance.get_latest_materialization_event(made.key("report")))
    versions = {
        (event.asset_materialization.tags or {})["dagster/data_version"]
        for event in events
        if event and event.asset_materialization
    }
    assert len(versions) == 1
