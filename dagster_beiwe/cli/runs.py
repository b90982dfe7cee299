"""``dagster-beiwe runs``: end runs that Dagster shows as running though their process is gone."""

from __future__ import annotations

import argparse
import json
from typing import Any

from dagster_beiwe.cli.context import dagster_history


def add_parser(commands: Any) -> None:
    parser = commands.add_parser("runs", help="find runs in Dagster whose process is gone, and end them")
    parser.add_argument("--end-dead", action="store_true", help="mark them as failed, so that no other waits for them")
    parser.add_argument("--json", action="store_true", help="print their ids as JSON")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from dagster_beiwe.runs.dead_runs import dead_runs, end_dead_runs

    with dagster_history() as instance:
        found = end_dead_runs(instance) if options.end_dead else [each.run_id for each in dead_runs(instance)]
    if options.json:
        print(json.dumps({"dead": found, "ended": options.end_dead}))
    elif options.end_dead:
        print(f"Ended: {', '.join(found)}." if found else "No run is dead.")
    else:
        print(f"Dead: {', '.join(found)}. End them with --end-dead." if found else "No run is dead.")
    return 1 if found and not options.end_dead else 0
