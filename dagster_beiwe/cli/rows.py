"""Print rows of tables, for people and for other programs."""

from __future__ import annotations

import csv
import sys

import pandas as pd

from dagster_beiwe.exports.sinks import with_written_lists
from dagster_beiwe.text import one_line


def plain(frame: pd.DataFrame) -> pd.DataFrame:
    """Calendar days as dates, and categories as what they stand for."""
    moments = {name: frame[name] for name in frame.select_dtypes("datetime")}
    days = {name: each for name, each in moments.items() if (each.dropna().dt.normalize() == each.dropna()).all()}
    words = {name: frame[name].astype(object) for name in frame.select_dtypes("category")}
    plain: pd.DataFrame = frame.assign(**{name: each.dt.strftime("%Y-%m-%d") for name, each in days.items()}, **words)
    return plain


def export(frame: pd.DataFrame, *, as_json: bool, as_csv: bool) -> None:
    """Print all rows: as JSON, as CSV, or else with tabs between the columns."""
    if as_json and len(frame):
        frame.to_json(
            sys.stdout, orient="records", lines=True, date_format="iso", double_precision=15, default_handler=str
        )
    elif as_csv:
        rows = with_written_lists(frame)
        (printable(rows) if sys.stdout.isatty() else rows).to_csv(sys.stdout, index=False)
    elif not as_json:
        _print_tabbed(printable(with_written_lists(frame)))


def _print_tabbed(table: pd.DataFrame) -> None:
    """Without quotes, because no text has a tab."""
    if len(table.columns) != 1:
        table.to_csv(sys.stdout, index=False, sep="\t", quoting=csv.QUOTE_NONE)
    else:  # in which a writer of CSV would quote what is empty
        (column,) = (table[name] for name in table)
        sys.stdout.writelines(f"{text}\n" for text in (column.name, *column.astype("string").fillna("")))


def printable(frame: pd.DataFrame) -> pd.DataFrame:
    """Without characters that a terminal would obey."""
    texts = {
        name: frame[name].map(lambda value: one_line(str(value)), na_action="ignore")
        for name in frame.select_dtypes(["object", "string"])
    }
    printable: pd.DataFrame = frame.assign(**texts).set_axis([one_line(str(name)) for name in frame], axis=1)
    return printable
