"""``dagster-beiwe history``: what happened to a study, record by record."""

from __future__ import annotations

from dataclasses import asdict

import click

from dagster_beiwe.cli import completion
from dagster_beiwe.cli.command import Command
from dagster_beiwe.cli.context import named, not_held, open_lake, studies_in_lake
from dagster_beiwe.cli.options import json_option, optional_study_option
from dagster_beiwe.cli.output import print_json
from dagster_beiwe.ids import check_participant_id
from dagster_beiwe.lake.history import Event, history
from dagster_beiwe.text import counted, one_line

_COMMANDS = {"snapshot", "purge", "export"}  # what commands write as their run, where the record's kind says it already


@click.command(cls=Command, examples=['history --study "Sleep and Mood" --last 20'])
@optional_study_option
@click.option(
    "--participant",
    metavar="PARTICIPANT",
    shell_complete=completion.participants,
    help="Only records about this participant.",
)
@click.option("--last", type=click.IntRange(min=1), help="Only the newest LAST records of each study.")
@json_option
def command(*, study: str | None, participant: str | None, last: int | None, as_json: bool) -> int:
    """List what happened to a study, record by record."""
    if participant is not None:
        check_participant_id(participant)
    found = False
    for each, lake in studies_in_lake(open_lake(), study):
        events = list(history(lake, participant))[-(last or 0) :]
        found = found or bool(events)
        if as_json:
            for event in events:
                facts = asdict(event)
                print_json({"study_id": each.id, "hash": facts.pop("digest"), **facts})
            continue
        print(named(each))
        for event in events:
            print(f"  {_line(event)}")
    if participant and not found:
        raise not_held([participant])
    return 0


def _line(event: Event) -> str:
    numbers = [
        counted(number, what)
        for number, what in (
            (event.window_count, "window"),
            (event.participants, "participant"),
            (event.tables, "table"),
        )
        if number > 0
    ]
    said = ", ".join(event.windows or filter(None, [*numbers, event.detail]))
    earlier = "  (its time is before that of the previous record)" if event.backwards else ""
    run = f"  run {one_line(event.run)}" if event.run and event.run not in _COMMANDS else ""
    return f"{event.number:>6}  {event.time:%Y-%m-%d %H:%M:%S}  {event.kind:<10} {said}{run}{earlier}"
