"""What the charts of a study show, for coverage tables that are written down as text."""

from __future__ import annotations

from datetime import date

import pandas as pd
import pytest
from coverage_frames import coverage_frame

from dagster_beiwe.coverage.changes import SettingChange
from dagster_beiwe.pictures.charts import Chart, Tick, date_ticks, number_ticks, spaced
from dagster_beiwe.pictures.days import Days
from dagster_beiwe.pictures.markdown import full_pictures
from dagster_beiwe.pictures.study_charts import StudyCharts

TODAY = date(2026, 3, 20)
SIGNS = " .+#"
"""Blank, nothing, part, most; as in the texts that the tables are made from."""


def drawn(chart: Chart) -> dict[str, str]:
    """{label of the row: its cells}"""
    return {
        tick.text: "".join(SIGNS[level] for level in row)
        for tick, row in zip(chart.row_ticks, chart.levels, strict=True)
    }


def test_a_heat_map_shows_what_the_table_says() -> None:
    """Also that a day still goes on: it is blank until something arrives."""
    marks = {"anna": "##+..?", "bert": "  ##+#", "cleo": "#### ~"}
    shown = drawn(StudyCharts(coverage=coverage_frame(marks)).overview)
    assert shown == {"anna": "##+.. ", "bert": "  ##+#", "cleo": "#### #"}


@pytest.mark.parametrize("rows_at_once", [1, 4, 1000])
def test_sums_hold_the_rows_of_all_parts(rows_at_once: int) -> None:
    """The rows of a day may lie in several parts of a table; other participants and days count nowhere."""
    frame = coverage_frame({"anna": {"gps": "#+#", "texts": "~~."}, "bert": "#+.", "cleo": "###"})
    days = Days.of(frame, ["bert", "anna"]).newest(2)
    assert days.sums(frame, frame["hours"], rows_at_once=rows_at_once).tolist() == [[7, 0], [10, 24]]


def test_silent_participants_are_the_first_rows_and_those_who_left_the_last() -> None:
    """In the order that silence was found in; the others by how often nothing was received lately."""
    frame = coverage_frame(
        {"anna": "#####", "bert": "#.#.#", "cleo": "#....", "dora": "##   ", "emil": "##..."},
        statuses={"dora": "eerrr"},
    )
    charts = StudyCharts(coverage=frame, silent=["emil", "cleo"])
    assert charts.days.participants == ("emil", "cleo", "bert", "anna", "dora")


def test_streams_together_are_judged_by_their_hours() -> None:
    """One stream of two that is missing leaves half of the hours; surveys neither help nor harm."""
    frame = coverage_frame({"anna": {"gps": "#.#", "accelerometer": "##.", "survey_answers": "~  "}})
    charts = StudyCharts(coverage=frame)
    assert drawn(charts.overview) == {"anna": "#++"}
    assert drawn(charts.group("gps")) == {"anna": "#.#"}
    assert drawn(charts.group("motion")) == {"anna": "##."}


def test_a_group_of_which_nothing_is_expected_shows_what_was_received() -> None:
    """Its legend says so, and does not speak of hours."""
    chart = StudyCharts(coverage=coverage_frame({"anna": {"gps": "###", "survey_answers": "~ ~"}})).group("surveys")
    assert drawn(chart) == {"anna": "# #"}
    assert [key.meaning for key in chart.legend] == ["something received"]


def test_groups_without_streams_are_left_out() -> None:
    """So is a stream that was neither expected nor received."""
    frame = coverage_frame({"anna": {"gps": "##", "wifi": "  ", "texts": "~ "}})
    assert StudyCharts(coverage=frame).streams == {"gps": ["gps"], "communication": ["texts"]}


def test_data_that_only_the_server_has_is_not_taken_for_silence() -> None:
    """The phone has sent it; the lake does not have it yet."""
    frame = coverage_frame({"anna": "#."})
    frame["server_bytes"] = frame["server_bytes"].mask(frame["server_bytes"] == 0, 1000)
    assert drawn(StudyCharts(coverage=frame).overview) == {"anna": "#+"}


def test_rows_can_begin_on_the_day_of_enrollment() -> None:
    """The picture is as wide as the longest participation; days of the calendar are no labels there."""
    frame = coverage_frame({"anna": " ##.", "bert": "   #"}, statuses={"anna": "neee", "bert": "nnne"})
    chart = StudyCharts(coverage=frame).by_enrollment
    assert drawn(chart) == {"anna": "##.", "bert": "#  "}
    assert chart.column_ticks == (Tick(0, "0"), Tick(1, "1"), Tick(2, "2"))


def test_a_picture_can_be_limited_to_the_worst_participants_and_the_newest_days() -> None:
    """Volume is still that of everybody."""
    frame = coverage_frame({"anna": "####", "bert": "##..", "cleo": "#..."})
    charts = StudyCharts(coverage=frame, silent=["cleo"], most_participants=2, most_days=3)
    assert drawn(charts.overview) == {"cleo": "...", "bert": "#.."}
    assert "at most 48.0 kB in a day" in charts.volume().text


def test_volume_is_a_bar_per_day() -> None:
    """As high as its bytes; days without data have none."""
    chart = StudyCharts(coverage=coverage_frame({"anna": "#.#", "bert": "..#"})).volume()
    heights = chart.levels.sum(axis=0)
    assert heights[1] == 0
    assert heights[2] == 2 * heights[0]
    assert chart.row_ticks[0].text == "50.0 kB"
    assert chart.text == "2026-03-18 to 2026-03-20: 72.0 kB, at most 48.0 kB in a day"


def meanings(chart: Chart) -> list[str]:
    """What the cells of the first row mean."""
    return [chart.scale[level].meaning for level in chart.levels[0]]


def measured(*days: tuple[str, int, int, float]) -> pd.DataFrame:
    """The quality of anna's GPS, from days with their files, valid hours, and valid minutes."""
    names = ["day", "files", "valid_hours", "valid_minutes"]
    table: pd.DataFrame = pd.DataFrame(days, columns=names).astype({"day": "datetime64[s]"})
    table[["participant", "stream"]] = "anna", "gps"
    return table


def test_hours_per_day_are_those_with_files_until_valid_ones_are_known() -> None:
    """Valid minutes are shown then, too."""
    frame = coverage_frame({"anna": {"gps": "#+.?", "wifi": "###?"}}, today=TODAY)
    (files,) = StudyCharts(coverage=frame).hours()
    assert meanings(files) == ["up to 24 hours", "up to 8 hours", "none", "nothing expected"]
    quality = measured(("2026-03-17", 24, 10, 130.0), ("2026-03-18", 7, 0, 0.0))
    hours, minutes = StudyCharts(coverage=frame, quality=quality).hours()
    assert (hours.title, minutes.title) == ("Valid hours of gps", "Valid minutes of gps")
    unknown = "nothing expected, or not measured yet"
    assert meanings(hours) == ["up to 16 hours", "none", "none", unknown]
    assert meanings(minutes)[0] == "up to 8 hours"


def test_a_day_with_files_that_were_not_measured_yet_is_blank() -> None:
    """Also if some of them were: a number that will grow is no finding."""
    frame = coverage_frame({"anna": "###"}, today=TODAY)
    quality = measured(("2026-03-18", 24, 20, 1200.0), ("2026-03-19", 23, 2, 120.0))
    hours, _ = StudyCharts(coverage=frame, quality=quality).hours()
    unknown = "nothing expected, or not measured yet"
    assert meanings(hours) == ["up to 24 hours", unknown, unknown]


def test_a_sensor_that_was_never_on_has_no_picture_of_hours() -> None:
    """Nor one that the study does not have."""
    assert not list(StudyCharts(coverage=coverage_frame({"anna": {"accelerometer": "  ", "wifi": "##"}})).hours())


def test_a_picture_since_enrollment_counts_from_there_however_long_that_is_ago() -> None:
    """It shows the first days; the newest ones are in the picture by date."""
    frame = coverage_frame({"anna": "##.+#", "bert": "   ##"}, statuses={"anna": "eeeee", "bert": "nnnee"})
    charts = StudyCharts(coverage=frame, most_days=3)
    assert drawn(charts.overview) == {"anna": ".+#", "bert": " ##"}
    assert drawn(charts.by_enrollment) == {"anna": "##.", "bert": "## "}
    assert charts.by_enrollment.text == "2 participants by day since enrollment, the first 3 days"
    (hours,) = charts.hours_by_enrollment()
    assert (hours.title, hours.columns) == ("Hours with files of gps, since enrollment", 3)


def test_settings_that_changed_are_marked_on_their_day() -> None:
    """A change from before the picture's first day is not."""
    days = (date(2026, 3, 19), date(2026, 3, 1), date(2026, 3, 19))
    changes = [SettingChange(day=day, setting="gps", before="1", after=str(day.day)) for day in days]
    charts = StudyCharts(coverage=coverage_frame({"anna": "###"}, today=TODAY), changes=changes)
    assert charts.overview.marks == charts.volume().marks == (Tick(1, "2"),)
    assert full_pictures(charts)["heat map"].splitlines()[-2:] == ["- 2: 2026-03-19, `gps`: `1` to `19`"] * 2


def test_a_picture_says_in_words_what_it_shows() -> None:
    """For those who cannot see it."""
    chart = StudyCharts(coverage=coverage_frame({"anna": "##+."}, today=TODAY)).overview
    assert chart.description == (
        "All streams: 1 participant by day, 2026-03-17 to 2026-03-20. nothing received: 25%; "
        "less than 80% of the expected hours: 25%; 80% or more, or data with no expected amount: 50%."
    )


def test_days_are_labeled_by_week_or_by_month_and_never_crowded() -> None:
    """Short studies have Mondays, long ones months or every third month."""
    assert [tick.text for tick in date_ticks(date(2026, 3, 1), 20)] == ["03-02", "03-09", "03-16"]
    assert [tick.text for tick in date_ticks(date(2026, 1, 15), 100)] == ["2026-02", "2026-03", "2026-04"]
    assert [tick.text for tick in date_ticks(date(2023, 1, 1), 1200)][:3] == ["2023-01", "2023-07", "2024-01"]
    assert number_ticks(300)[1] == Tick(28, "28")
    assert spaced((Tick(0, "a"), Tick(1, "b"), Tick(2, "c"), Tick(4, "d")), apart=2) == (
        Tick(0, "a"),
        Tick(2, "c"),
        Tick(4, "d"),
    )
