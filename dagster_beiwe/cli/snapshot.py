"""``dagster-beiwe snapshot``: keep a past state of a study readable, and cite it in a paper."""

from __future__ import annotations

from typing import Any

import click

from dagster_beiwe.cli.command import Group
from dagster_beiwe.cli.context import confirmed, named, open_lake, studies_in_lake
from dagster_beiwe.cli.options import json_option, optional_study_option, study_option, yes_option
from dagster_beiwe.cli.output import print_json
from dagster_beiwe.client import StudyListing
from dagster_beiwe.lake import StudyLake
from dagster_beiwe.lake.catalog.records import Snapshot
from dagster_beiwe.lake.snapshots import Kept, check_snapshot, citation, create_snapshot, delete_snapshot, snapshots
from dagster_beiwe.text import counted, human_size, one_line, utc_minute


@click.group(cls=Group, no_args_is_help=False)
def command() -> None:
    """Keep a past state of a study, and cite it in a paper."""


@command.command("create", examples=['snapshot create paper-2026 --study "Sleep and Mood"'])
@click.argument("name")
@study_option
@json_option
def _create(*, name: str, study: str, as_json: bool) -> int:
    """Keep the newest state as NAME, and print how to cite it.

    NAME begins with a letter, followed by letters, digits, dots, dashes or underscores.
    """
    ((found, lake),) = studies_in_lake(open_lake(), study)
    snapshot = create_snapshot(lake, name, run_id="snapshot")
    if as_json:
        print_json({**_facts(found, Kept(snapshot=snapshot, withdrawn=())), "text": _text(lake, snapshot)})
    else:
        print(_text(lake, snapshot))
    return 0


@command.command("list", examples=["snapshot list"])
@optional_study_option
@json_option
def _list(*, study: str | None, as_json: bool) -> int:
    """List the snapshots."""
    for found, lake in studies_in_lake(open_lake(), study):
        listed = list(snapshots(lake))
        if as_json:
            for kept in listed:
                print_json(_facts(found, kept))
            continue
        print(f"{named(found)}: {counted(len(listed), 'snapshot')}")
        for kept in listed:
            snapshot = kept.snapshot
            print(
                f"  {snapshot.name}: state {snapshot.at.number}, {utc_minute(snapshot.taken_at)}; "
                f"{counted(snapshot.participants, 'participant')}, {counted(snapshot.files, 'file')}, "
                f"{human_size(snapshot.size_bytes)}"
            )
            if kept.withdrawn:
                print(f"    {_withdrawn(kept)}")
    return 0


@command.command("remove", examples=['snapshot remove paper-2026 --study "Sleep and Mood"'])
@click.argument("name")
@study_option
@yes_option
@json_option
def _remove(*, name: str, study: str, yes: bool, as_json: bool) -> int:
    """Remove the snapshot NAME. A later collection removes what only it keeps."""
    ((found, lake),) = studies_in_lake(open_lake(), study)
    check_snapshot(lake, name)
    question = f"What only the snapshot {name} of {one_line(found.name)} keeps will be collected."
    removed = confirmed(question, yes=yes)
    if removed:
        delete_snapshot(lake, name, run_id="snapshot")
    if as_json:
        print_json({"study_id": found.id, "name": name, "removed": removed})
    else:
        print(f"Removed the snapshot {name}." if removed else "Nothing was changed.")
    return 0 if removed else 1


def _text(lake: StudyLake, snapshot: Snapshot) -> str:
    return one_line(citation(lake, snapshot))


def _withdrawn(kept: Kept) -> str:
    """Who was withdrawn from a snapshot since, and by which records."""
    records = ", ".join(f"record {number}" for number in dict.fromkeys(kept.withdrawn))
    return f"{len(kept.withdrawn)} withdrawn since, {records}: and so in no state"


def _facts(study: StudyListing, kept: Kept) -> dict[str, Any]:
    snapshot = kept.snapshot
    return {
        "study_id": study.id,
        "name": snapshot.name,
        "state": snapshot.at.number,
        "hash": snapshot.at.digest,
        "content": snapshot.content,
        "participants": snapshot.participants,
        "files": snapshot.files,
        "size_bytes": snapshot.size_bytes,
        "time": snapshot.taken_at,
        "record": snapshot.number,
        "withdrawn": list(kept.withdrawn),
    }
