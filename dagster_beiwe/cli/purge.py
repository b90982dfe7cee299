"""``dagster-beiwe purge``: remove a participant's data from the lake, for instance after consent was withdrawn."""

from __future__ import annotations

import argparse
from typing import Any

from dagster_beiwe.cli.context import add_study_option, confirmed, open_lake, studies_in_lake
from dagster_beiwe.lake.purge import purge_participant
from dagster_beiwe.names import check_participant_id, one_line


def add_parser(commands: Any) -> None:
    parser = commands.add_parser("purge", help="remove all data of a participant from the lake")
    add_study_option(parser, required=True)
    parser.add_argument("--participant", required=True, type=str)
    parser.add_argument("--yes", action="store_true", help="remove without asking")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    participant = check_participant_id(options.participant)
    for study, lake in studies_in_lake(open_lake(), options.study):
        name = one_line(study.name)
        question = f"All data of participant {participant} of {name} will be removed from the lake."
        if not confirmed(question, yes=options.yes):
            print("Nothing was changed.")
            return 1
        count = purge_participant(lake, participant, run_id="purge")
        print(
            f"{count} files of participant {participant} of {name} were removed from the lake. Not removed: "
            "tables made from them (materialise those again), backups, Dagster's history (ids and counts), and the "
            "data on the Beiwe server, from which the next run would fetch it again: delete it there first."
        )
        return 0 if count else 1
    return 1
