"""A table's version follows its content, wherever in a long table something changes."""

from __future__ import annotations

import pandas as pd
import pytest

from dagster_beiwe.tables.content import content_version

FRAME = pd.DataFrame(
    {
        "day": pd.date_range("2024-03-01", periods=7, unit="s"),
        "stream": pd.Categorical(["gps", "texts", "gps", "calls", "texts", "gps", "gps"]),
        "hours": [24, 7, 0, 3, 24, 24, 1],
    }
)


@pytest.mark.parametrize("rows_at_once", [1, 3, 7])
def test_a_version_does_not_depend_on_how_a_table_is_read(rows_at_once: int) -> None:
    """Neither in how many parts, nor with which unit of times."""
    stored = FRAME.astype({"day": "datetime64[ns]"})
    assert content_version(stored, rows_at_once=rows_at_once) == content_version(FRAME)


@pytest.mark.parametrize("column", FRAME)
@pytest.mark.parametrize("row", range(7))
def test_a_change_in_any_part_gives_another_version(column: str, row: int) -> None:
    """Otherwise what is made of the table would stay as it was."""
    changed = FRAME.copy()
    changed.loc[row, column] = changed.loc[6 if row == 3 else 3, column]  # that of another row, which differs
    assert content_version(changed, rows_at_once=3) != content_version(FRAME, rows_at_once=3)
