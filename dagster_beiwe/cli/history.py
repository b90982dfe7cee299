"""``dagster-beiwe history``: what happened to a study, record by record."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import Any

from dagster_beiwe.cli.context import add_study_option, not_held, open_lake, studies_in_lake
from dagster_beiwe.ids import check_participant_id
from dagster_beiwe.lake.history import Event, history
from dagster_beiwe.text import counted, one_line

_COMMANDS = {"snapshot", "purge"}  # what commands write as their run, where the record's kind says it already


def add_parser(commands: Any) -> None:
    parser = commands.add_parser("history", help="list what happened to a study, record by record")
    add_study_option(parser, required=False)
    parser.add_argument("--participant", help="only what is about this participant")
    parser.add_argument("--last", type=_count, help="only the newest LAST records of each study")
    parser.add_argument("--json", action="store_true", help="print JSON, one record a line")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    participant = check_participant_id(options.participant) if options.participant else None
    found = False
    for study, lake in studies_in_lake(open_lake(), options.study):
        events = list(history(lake, participant))[-(options.last or 0) :]
        found = found or bool(events)
        if options.json:
            for event in events:
                facts = {**asdict(event), "time": event.time.isoformat()}
                print(json.dumps({"study_id": study.id, "hash": facts.pop("digest"), **facts}))
            continue
        print(f"{one_line(study.name)} ({study.id})")
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
    said = ", ".join(filter(None, [*numbers, event.detail]))
    if event.windows:
        said = ", ".join(event.windows)
    late = "  (its time is before that of the record before)" if event.backwards else ""
    run = f"  run {one_line(event.run)}" if event.run and event.run not in _COMMANDS else ""
    return f"{event.number:>6}  {event.time:%Y-%m-%d %H:%M:%S}  {event.kind:<10} {said}{run}{late}"


def _count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of records: give 1 or more")
    return int(text)
