"""``dagster-beiwe sql``: a query over the tables of a study."""

from __future__ import annotations

import shutil
import sys

import click

from dagster_beiwe.cli.command import Command
from dagster_beiwe.cli.context import open_lake, studies_in_lake
from dagster_beiwe.cli.options import as_of_option, json_option, study_option
from dagster_beiwe.cli.rows import export, printable
from dagster_beiwe.lake.study import When
from dagster_beiwe.tables.sql import query
from dagster_beiwe.text import counted


@click.command(
    cls=Command,
    examples=[
        'sql --study "Sleep and Mood" "SELECT participant, count(*) FROM coverage GROUP BY ALL"',
    ],
)
@click.argument("statement", metavar="QUERY")
@study_option
@as_of_option
@json_option
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
def command(*, statement: str, study: str, as_of: When | None, as_json: bool, as_csv: bool) -> int:
    """Query the tables of a study with SQL.

    QUERY is one SELECT of DuckDB's. A table is called by the last part of its key, as `dagster-beiwe show` lists them:
    "SELECT participant, count(*) FROM coverage GROUP BY ALL". It runs in memory, and nothing is written to a disk.
    """
    if as_json and as_csv:
        raise click.UsageError("--json and --csv exclude each other.")
    ((_, lake),) = studies_in_lake(open_lake(), study)
    rows = query(lake.at(as_of), statement)
    if as_json or as_csv or not sys.stdout.isatty():
        export(rows, as_json=as_json, as_csv=as_csv)
    else:
        print(printable(rows).to_string(index=False, line_width=shutil.get_terminal_size().columns))
        print(counted(len(rows), "row"))
    return 0
