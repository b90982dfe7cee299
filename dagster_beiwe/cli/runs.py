"""``dagster-beiwe runs``: end runs that Dagster shows as running though their process is gone."""

from __future__ import annotations

import click

from dagster_beiwe.cli.command import Command
from dagster_beiwe.cli.context import dagster_history
from dagster_beiwe.cli.options import json_option
from dagster_beiwe.cli.output import print_json


@click.command(cls=Command, examples=["runs", "runs --end-dead"])
@click.option("--end-dead", is_flag=True, help="Mark them as failed, so that no other run waits for them.")
@json_option
def command(*, end_dead: bool, as_json: bool) -> int:
    """Find runs in Dagster whose process is gone, and end them."""
    from dagster_beiwe.runs.dead_runs import dead_runs, end_dead_runs

    with dagster_history() as instance:
        found = end_dead_runs(instance) if end_dead else [each.run_id for each in dead_runs(instance)]
    if as_json:
        print_json({"dead": found, "ended": end_dead})
    elif not found:
        print("No run is dead.")
    elif end_dead:
        print(f"Ended: {', '.join(found)}.")
    else:
        print(f"Dead: {', '.join(found)}. End them with --end-dead.")
    return 1 if found and not end_dead else 0
