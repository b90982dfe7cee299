"""``dagster-beiwe purge``: remove a participant's data from the lake, for instance after consent was withdrawn."""

from __future__ import annotations

import argparse
from typing import Any

from dagster_beiwe.cli.context import add_study_option, confirmed, open_lake, studies_in_lake
from dagster_beiwe.names import check_participant_id, one_line

_BEYOND = """Not reached from here:
  the Beiwe server, from which the next run would fetch the data again: delete it there first;
  Dagster's history: the id as a partition, in events and run tags, with counts, sizes and dates (docs/security.md);
  exports, backups and snapshots."""


def add_parser(commands: Any) -> None:
    parser = commands.add_parser("purge", help="remove a participant's raw data and own tables from the lake")
    add_study_option(parser, required=True)
    parser.add_argument("--participant", required=True, type=str)
    parser.add_argument("--yes", action="store_true", help="remove without asking")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from dagster_beiwe.lake.purge import purge_participant  # pandas is slow to import, and most commands don't need it

    participant = check_participant_id(options.participant)
    ((study, lake),) = studies_in_lake(open_lake(), options.study)
    name = one_line(study.name)
    question = f"Raw data and tables of participant {participant} of {name} will be removed from the lake."
    if not confirmed(question, yes=options.yes):
        print("Nothing was changed.")
        return 1
    purge = purge_participant(lake, participant, run_id="purge")
    if purge.files or purge.tables:
        print(
            f"Removed from the lake: {purge.files} files and {purge.tables} tables of participant {participant} of "
            f"{name}."
        )
    else:
        print(f"The lake held nothing of participant {participant} of {name} alone.")
    if purge.remaining:
        print(
            "These tables are of several participants, and may still hold rows of this one. Materialise them again:\n  "
            + "\n  ".join(purge.remaining)
        )
    print(_BEYOND)
    return 0 if purge.files or purge.tables else 1
