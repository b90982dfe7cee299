"""Charts as images: what is drawn is what the chart holds, and it stays small."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import date
from itertools import combinations

import numpy as np
import pytest
from coverage_frames import coverage_frame
from PIL import Image

from dagster_beiwe.coverage import SilenceLimits, SilentParticipant, find_silent
from dagster_beiwe.pictures.charts import DATA, HOURS, Chart, Levels, Tick, date_ticks
from dagster_beiwe.pictures.drawing import data_url, labeled_png, plain_png
from dagster_beiwe.pictures.markdown import INLINE_CHARACTERS, full_pictures, silent_table, thumbnail
from dagster_beiwe.pictures.sentences import silence_in_words
from dagster_beiwe.pictures.study_charts import StudyCharts


def image_of(png: bytes) -> Image.Image:
    return Image.open(io.BytesIO(png))


def study(participants: int, days: int, *, seed: int = 1) -> Levels:
    """Levels as studies have them: people join and leave, and a day is mostly like the one before."""
    random = np.random.default_rng(seed)
    levels = random.choice(np.array([1, 2, 3], np.uint8), (participants, days), p=[0.1, 0.25, 0.65])
    same = random.random((participants, days)) < 0.8
    for day in range(1, days):
        levels[:, day] = np.where(same[:, day], levels[:, day - 1], levels[:, day])
    joined = random.integers(0, days * 2 // 3, participants)
    levels[np.arange(days) < joined[:, None]] = 0
    return levels


def chart_of(levels: Levels) -> Chart:
    rows, columns = levels.shape
    return Chart(
        title="All streams",
        text="",
        levels=levels,
        scale=DATA,
        row_ticks=tuple(Tick(row, f"p{row:06d}") for row in range(rows)),
        column_ticks=date_ticks(date(2026, 1, 1), columns),
    )


def test_a_plain_image_decodes_to_the_matrix() -> None:
    """Cell by cell, with the colors of the scale; what is blank is transparent."""
    levels = study(7, 30)
    image = image_of(plain_png(chart_of(levels), cell=3))
    assert (np.asarray(image)[1::3, 1::3] == levels).all()
    for level, shade in enumerate(DATA):
        row, column = np.argwhere(levels == level)[0] * 3
        color = image.convert("RGBA").getpixel((int(column), int(row)))
        assert color == ((*shade.color, 255) if shade.color else (0, 0, 0, 0))


@pytest.mark.parametrize(("participants", "days"), [(5, 42), (300, 365)])
def test_a_labeled_image_holds_every_cell(participants: int, days: int) -> None:
    """Few cells are large and apart; of many, a year fits into Dagster's dialog."""
    levels = study(participants, days)
    pixels = np.asarray(image_of(labeled_png(chart_of(levels))))
    cell = 2 * 4 if participants == 300 else 13 * 17
    for level in (1, 2, 3):
        assert (pixels == level).sum() == (levels == level).sum() * cell + 10 * 10  # with its square in the legend


def test_images_are_small() -> None:
    """A year of 300 participants stays below 40 kB: Dagster keeps each in its database for good."""
    levels = study(300, 365)
    assert len(labeled_png(chart_of(levels))) < 35_000
    assert len(plain_png(chart_of(levels))) < 15_000


def test_every_name_is_beside_few_rows_and_some_are_beside_many() -> None:
    """The left edge has text where a label is; labels of 300 rows do not touch."""
    for rows, labels in ((5, 5), (300, 60)):
        image = image_of(labeled_png(replace(chart_of(study(rows, 40)), column_ticks=())))
        opacity = np.asarray(image.convert("RGBA"))[: rows * (18 if rows == 5 else 4) + 6, :60, 3]
        text = opacity.max(axis=1) > 0
        assert (text[1:] & ~text[:-1]).sum() == labels


def test_colors_differ_in_lightness() -> None:
    """So they can be told apart on a gray printer, and whatever colors somebody sees."""
    for scale in (DATA, HOURS):
        for one, other in combinations([shade.color for shade in scale if shade.color], 2):
            light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
            assert (light + 0.05) / (dark + 0.05) > 1.25
            assert 1.05 / (light + 0.05) > 1.5  # on a white page
            assert (dark + 0.05) / 0.06 > 2.5  # on a nearly black page


def _luminance(color: tuple[int, int, int]) -> float:
    linear = [(c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4) for c in (part / 255 for part in color)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


class _Charts(StudyCharts):
    """Charts of a matrix."""

    def __init__(self, levels: Levels) -> None:
        super().__init__(coverage=coverage_frame({"anna": "#"}))
        self.__dict__["overview"] = chart_of(levels)


@pytest.mark.parametrize("seed", range(3))
def test_a_thumbnail_is_shown_in_place_even_if_every_day_differs(seed: int) -> None:
    """Dagster shows Markdown below 1,000 characters; beyond what fits, it has fewer days."""
    noise = np.random.default_rng(seed).integers(0, 4, (300, 365)).astype(np.uint8)
    assert 700 < len(thumbnail(_Charts(noise))) <= INLINE_CHARACTERS < 1000
    assert "The last 90 days of the 10 worst of 300 participants" in thumbnail(_Charts(study(300, 365)))


def test_a_thumbnail_shows_the_worst_participants_and_the_newest_days() -> None:
    """The image in the text decodes to that part of the matrix, and the text names its rows."""
    levels = study(30, 100)
    text = thumbnail(_Charts(levels))
    png = plain_png(chart_of(levels[:10, -90:]), cell=4)
    assert f"({data_url(png)})" in text
    assert (np.asarray(image_of(png))[::4, ::4] == levels[:10, -90:]).all()
    assert f"from the top: {', '.join(f'`p{row:06d}`' for row in range(10))}." in text


def test_a_thumbnail_of_the_longest_names_is_shown_in_place() -> None:
    """With fewer participants and days."""
    chart = chart_of(study(300, 365))
    charts = _Charts(chart.levels)
    charts.__dict__["overview"] = replace(chart, row_ticks=tuple(Tick(row, "p" * 64) for row in range(300)))
    assert 700 < len(thumbnail(charts)) <= INLINE_CHARACTERS


def test_a_table_of_the_silent_is_shown_in_place_and_says_how_many_it_leaves_out() -> None:
    """The longest silent are in it."""
    silent = [
        SilentParticipant(
            participant=f"p{number:07d}",
            streams=("gps", "survey_answers"),
            everything=number < 50,
            last_data=date(2026, 1, 1),
            last_upload=None,
            last_heartbeat=None,
            days_silent=100 - number,
        )
        for number in range(60)
    ]
    text = silent_table("60 of 300 silent for 3 days or more.", silent)
    rows = [line for line in text.splitlines() if line.startswith("| `p0")]
    assert len(text) <= INLINE_CHARACTERS
    assert rows[0] == "| `p0000000` | 100 | 2026-01-01 | everything |"
    assert text.endswith(f"The check `silent` names the other {60 - len(rows)}.")
    assert silent_table("x", silent[-1:]).splitlines()[-1].endswith("| gps, survey_answers |")


def test_silence_in_a_sentence() -> None:
    """Only those who are enrolled count."""
    frame = coverage_frame({"anna": "#...?", "bert": "#####", "cleo": "#    "}, statuses={"cleo": "errrr"})
    limits = SilenceLimits()
    assert silence_in_words(frame, (), limits) == "0 of 2 silent for 3 days or more."
    found = find_silent(frame, {})
    assert silence_in_words(frame, found, limits) == "1 of 2 silent for 3 days or more, in all streams."
    partly = [replace(found[0], everything=False)]
    assert silence_in_words(frame, partly, limits) == "1 of 2 silent for 3 days or more, in some streams only."
    both = silence_in_words(frame, [*found, *partly], limits)
    assert both == "2 of 2 silent for 3 days or more, 1 of them in all streams."


def test_full_pictures_have_a_title_and_an_image_for_each_chart() -> None:
    """One text per kind, which Dagster shows behind a click."""
    frame = coverage_frame({"anna": {"gps": "##+", "accelerometer": "###", "survey_answers": "~  "}})
    pictures = full_pictures(StudyCharts(coverage=frame))
    assert {title: text.count("](data:image/png;base64,") for title, text in pictures.items()} == {
        "heat map": 1,
        "heat map since enrollment": 1,
        "heat maps by stream group": 3,
        "hours of GPS and accelerometer": 2,
        "hours since enrollment": 2,
        "data volume by day": 1,
    }
    assert "### motion: accelerometer" in pictures["heat maps by stream group"]
