"""``dagster-beiwe purge``: remove a participant's data from the lake, for instance after consent was withdrawn."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from dagster_beiwe.cli import completion
from dagster_beiwe.cli.command import Command
from dagster_beiwe.cli.context import confirmed, open_lake, studies_in_lake
from dagster_beiwe.cli.messages import say, when_interrupted
from dagster_beiwe.cli.options import json_option, study_option, yes_option
from dagster_beiwe.cli.output import print_json
from dagster_beiwe.cli.progress import progress
from dagster_beiwe.ids import check_participant_id
from dagster_beiwe.text import counted, one_line

if TYPE_CHECKING:
    from dagster_beiwe.maintenance.purge import PurgeResult

_INTERRUPTED = "What was removed so far stays removed. Run the same command again to remove the rest."
_BEYOND = """This command does not reach:
  the Beiwe server, from which the next run would download the data again: delete it there first;
  Dagster's history: the id as a partition, in events and run tags, with counts, sizes and dates (docs/security.md);
  exports, backups and snapshots."""


@click.command(cls=Command, examples=['purge --study "Sleep and Mood" --participant abcd1234'])
@study_option
@click.option(
    "--participant", metavar="PARTICIPANT", shell_complete=completion.participants, help="Whose data to remove."
)
@click.option("--whole-study", is_flag=True, help="Everybody's data, and all tables of the study.")
@yes_option
@json_option
def command(*, study: str, participant: str | None, whole_study: bool, yes: bool, as_json: bool) -> int:
    """Remove a participant, or a whole study, from the lake.

    Raw data and tables are removed in every state, for instance after consent was withdrawn.
    """
    from dagster_beiwe.maintenance.purge import holds_anything, purge_participant, purge_study

    if (participant is None) is not whole_study:
        raise click.UsageError("Use either --participant or --whole-study.")
    if participant is not None:
        check_participant_id(participant)
    ((found, lake),) = studies_in_lake(open_lake(), study)
    whose = f"{f'participant {participant}' if participant else 'every participant'} of {one_line(found.name)}"
    question = f"Raw data and tables of {whose} will be removed from the lake."
    if holds_anything(lake.storage, found.id, participant) and not confirmed(question, yes=yes):
        say("note", "Nothing was changed.")
        return 1
    with progress("files") as shown, when_interrupted(lambda: _INTERRUPTED):
        if participant:
            purge = purge_participant(lake, participant, run_id="purge", progress=shown)
        else:
            purge = purge_study(lake, run_id="purge", progress=shown)
    if as_json:
        print_json({"study_id": found.id, "participant": participant, **asdict(purge)})
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
