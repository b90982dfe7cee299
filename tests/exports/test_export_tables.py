"""Tables of an export whose raw files have different columns."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from dagster_beiwe.exports.folder import Notes
from dagster_beiwe.exports.selection import TABLE_FORMS
from dagster_beiwe.exports.tables import as_tables
from dagster_beiwe.reading import ManoTree

GPS = "timestamp,UTC time,latitude,longitude,altitude,accuracy"
TIMINGS = "timestamp,UTC time,question id,survey id,question type,question text,question answer options,answer,event"
SURVEY = "a" * 24
READ: dict[str, Any] = {"csv": pd.read_csv, "parquet": pd.read_parquet}


def exported(
    tmp_path: Path, form: Any, stream: str, files: Sequence[tuple[str, str, str]]
) -> tuple[pd.DataFrame, Notes, list[int]]:
    """Write files of a stream, each with its day, header and row without times, as one table."""
    folder = tmp_path / "raw" / "abcd1234" / stream
    folder.mkdir(parents=True)
    for day, header, row in files:
        stamp = int(pd.Timestamp(f"2024-03-{day}T12:00Z").timestamp()) * 1000
        path = folder / f"2024-03-{day} 12_00_00+00_00.csv"
        path.write_text(f"{header}\n{stamp},2024-03-{day}T12:00:00.000,{row}\n")
    view = ManoTree(tmp_path / "raw")
    (output,) = as_tables(view, view.files(), form)
    seen: list[int] = []
    target = tmp_path / f"table.{form}"
    with target.open("wb") as file:
        notes = output.write(file, seen.append)
    return READ[form](target), notes, seen


@pytest.mark.parametrize("form", TABLE_FORMS)
def test_a_column_that_only_some_windows_have_is_missing_elsewhere(tmp_path: Path, form: Any) -> None:
    """Wherever it appears, every row is written once, in its own columns."""
    row = "42.1,-71.1,10,5.0"
    files = [("04", GPS, row), ("14", f"{GPS},speed", f"{row},1.5"), ("24", f"{GPS},bearing", f"{row},north")]
    frame, notes, seen = exported(tmp_path, form, "gps", files)
    assert (notes.rows, len(frame)) == (3, 3)
    assert list(frame.columns)[-2:] == ["speed", "bearing"]
    assert frame["bearing"].isna().tolist() == [True, True, False]
    assert frame["speed"].isna().tolist() == [True, False, True]
    assert frame["latitude"].tolist() == [42.1] * 3
    assert len(seen) == 6


@pytest.mark.parametrize("form", TABLE_FORMS)
def test_timings_keep_the_ids_of_their_surveys(tmp_path: Path, form: Any) -> None:
    """They stand in a column of the files, not in their names as those of answers do."""
    row = f"q1,{SURVEY},slider,How are you?,min = 0; max = 10,7,changed"
    files = [("04", TIMINGS, row), ("14", f"{TIMINGS},more", f"{row},x")]
    frame, notes, _ = exported(tmp_path, form, f"survey_timings/{SURVEY}", files)
    assert (notes.rows, frame["survey id"].tolist()) == (2, [SURVEY] * 2)
    assert frame["more"].isna().tolist() == [True, False]
