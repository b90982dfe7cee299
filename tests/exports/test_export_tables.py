"""Tables of an export whose raw files have different columns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from dagster_beiwe.exports.selection import TABLE_FORMS
from dagster_beiwe.exports.tables import as_tables
from dagster_beiwe.reading import ManoTree

GPS = "timestamp,UTC time,latitude,longitude,altitude,accuracy"
ROW = "2024-03-{day}T12:00:00.000,42.1,-71.1,10,5.0"
READ: dict[str, Any] = {"csv": pd.read_csv, "parquet": pd.read_parquet}


@pytest.mark.parametrize("form", TABLE_FORMS)
def test_a_column_that_only_some_windows_have_is_missing_elsewhere(tmp_path: Path, form: Any) -> None:
    """Wherever it appears, every row is written once, in its own columns."""
    folder = tmp_path / "raw" / "abcd1234" / "gps"
    folder.mkdir(parents=True)
    for day, header, extra in (("04", GPS, ""), ("14", f"{GPS},speed", ",1.5"), ("24", f"{GPS},bearing", ",north")):
        stamp = int(pd.Timestamp(f"2024-03-{day}T12:00Z").timestamp()) * 1000
        path = folder / f"2024-03-{day} 12_00_00+00_00.csv"
        path.write_text(f"{header}\n{stamp},{ROW.format(day=day)}{extra}\n")
    view = ManoTree(tmp_path / "raw")
    (output,) = as_tables(view, view.files(), form)
    seen: list[int] = []
    target = tmp_path / f"table.{form}"
    with target.open("wb") as file:
        notes = output.write(file, seen.append)
    frame = READ[form](target)
    assert (notes.rows, len(frame)) == (3, 3)
    assert list(frame.columns)[-2:] == ["speed", "bearing"]
    assert frame["bearing"].isna().tolist() == [True, True, False]
    assert frame["speed"].isna().tolist() == [True, False, True]
    assert frame["latitude"].tolist() == [42.1] * 3
    assert len(seen) == 6
