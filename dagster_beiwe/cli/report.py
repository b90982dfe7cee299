"""``dagster-beiwe report``: who sends what, as one HTML page."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from pathlib import Path

import click

from dagster_beiwe.cli.command import Command
from dagster_beiwe.cli.context import check_outside, named, open_lake, studies_in_lake
from dagster_beiwe.cli.messages import say
from dagster_beiwe.cli.options import as_of_option, json_option, silent_option, study_option
from dagster_beiwe.cli.output import print_json
from dagster_beiwe.errors import ConfigurationError
from dagster_beiwe.opening import user_path
from dagster_beiwe.private_files import make_folder, write_file
from dagster_beiwe.report.page import render
from dagster_beiwe.report.tables import read_report, stored_page
from dagster_beiwe.tables.finding import key_called
from dagster_beiwe.tables.store import TableStore
from dagster_beiwe.text import as_typed, human_size


@click.command(cls=Command, examples=['report --study "Sleep and Mood" --to report.html'])
@study_option
@silent_option
@as_of_option
@click.option("--stored", is_flag=True, help="Write the page that the asset report has stored, instead of a new one.")
@click.option("--to", "file", required=True, type=user_path, metavar="FILE", help="New file to write to.")
@json_option
def command(
    *, study: str, days: int | None, as_of: int | datetime | str | None, stored: bool, file: Path, as_json: bool
) -> int:
    """Write who sends what as one HTML page.

    It is made from the study's tables in the lake, and names participants: keep it where patient data may be.
    """
    whole = open_lake()
    check_outside(file, whole.storage)
    ((found, lake),) = studies_in_lake(whole, study)
    tables = TableStore.of_study(lake.at(as_of))
    if stored:
        page = stored_page(tables, partial(key_called, tables))
    else:
        page = render(read_report(tables, partial(key_called, tables), study=found.name, silent_days=days))
    data = page.encode()
    make_folder(file.parent)
    try:
        write_file(file, data, exclusive=True)
    except FileExistsError:
        raise ConfigurationError(f"{file} exists. Nothing was written. Choose another file.") from None
    say("warning", "The report names participants: keep it where patient data may be.")
    if as_json:
        print_json({"study_id": found.id, "file": file, "size_bytes": len(data)})
    else:
        print(f"{as_typed(str(file))}: {named(found)}, {human_size(len(data))}")
    return 0
