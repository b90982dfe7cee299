"""``dagster-beiwe forest``: make the environment that Forest's analyses run in."""

from __future__ import annotations

from pathlib import Path

import click

from dagster_beiwe.cli.command import Command
from dagster_beiwe.cli.options import json_option
from dagster_beiwe.cli.output import print_json
from dagster_beiwe.environment import BEIWE_FOREST
from dagster_beiwe.forest.environment import make_environment
from dagster_beiwe.opening import user_path
from dagster_beiwe.text import as_typed


@click.command(cls=Command, examples=["forest --at ~/forest"])
@click.option("--at", "folder", required=True, type=user_path, metavar="FOLDER", help="New or empty folder for it.")
@click.option("--python", metavar="PROGRAM", help="Python 3.11 or newer. Default: the one that runs this command.")
@json_option
def command(*, folder: Path, python: str | None, as_json: bool) -> int:
    """Make the Python environment that Forest's analyses run in.

    Forest needs other versions of packages than Dagster's projects have. This takes a minute or two, and 700 MB.
    """
    made = make_environment(folder, python=python)
    if as_json:
        print_json({"folder": folder, "version": made.version})
    else:
        print(f"Forest {made.version} is in {as_typed(str(folder))}. Set {BEIWE_FOREST} to it where Dagster runs.")
    return 0
