"""``dagster-beiwe purge``: remove a participant's data from the lake, for instance after consent was withdrawn."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from dagster_beiwe.cli.context import add_study_option, confirmed, open_lake, studies_in_lake
from dagster_beiwe.ids import check_participant_id
from dagster_beiwe.text import counted, one_line

if TYPE_CHECKING:
    from dagster_beiwe.maintenance.purge import PurgeResult

_BEYOND = """Not reached from here:
  the Beiwe server, from which the next run would fetch the data again: delete it there first;
  Dagster's history: the id as a partition, in events and run tags, with counts, sizes and dates (docs/security.md);
  exports, backups and snapshots."""


def add_parser(commands: Any) -> None:
    parser = commands.add_parser("purge", help="remove a participant, or a whole study, from the lake")
    add_study_option(parser, required=True)
    who = parser.add_mutually_exclusive_group(required=True)
    who.add_argument("--participant", type=str)
    who.add_argument("--whole-study", action="store_true", help="everybody's data, and all tables of the study")
    parser.add_argument("--yes", action="store_true", help="remove without asking")
    parser.add_argument("--json", action="store_true", help="print what was removed as JSON")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from dagster_beiwe.maintenance.purge import holds_anything, purge_participant, purge_study

    participant = None if options.whole_study else check_participant_id(options.participant)
    ((study, lake),) = studies_in_lake(open_lake(), options.study)
    whose = f"{f'participant {participant}' if participant else 'every participant'} of {one_line(study.name)}"
    question = f"Raw data and tables of {whose} will be removed from the lake."
    if holds_anything(lake.storage, study.id, participant) and not confirmed(question, yes=options.yes):
        print("Nothing was changed.")
        return 1
    purge = purge_participant(lake, participant, run_id="purge") if participant else purge_study(lake, run_id="purge")
    if options.json:
        print(json.dumps({"study_id": study.id, "participant": participant, **asdict(purge)}))
    else:
        _print(purge, whose)
    return 0 if purge.certain else 1


def _print(purge: PurgeResult, whose: str) -> None:
    if purge.files or purge.tables:
        print(f"Removed from the lake: {counted(purge.files, 'file')} and {counted(purge.tables, 'table')} of {whose}.")
    else:
        print(f"The lake holds nothing of {whose}, except perhaps rows in tables of several participants.")
    if purge.record:
        print(f"Record {purge.record} of the log is the study's newest withdrawal. It names nobody.")
    if purge.certain:
        print("This is certain: no run that was stopped can bring anything back.")
    else:
        print(
            "This is not certain yet: the lake is in an object store, where a run that was stopped may still write "
            "files. It cannot commit them. Run this command again after a day: it removes such files, and says when "
            "nothing is left."
        )
    if purge.remaining:
        print(
            "These tables hold several participants, and may still have rows of this one. Materialize them again:\n  "
            + "\n  ".join(purge.remaining)
        )
    print(_BEYOND)
