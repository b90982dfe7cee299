"""``dagster-beiwe snapshot``: keep a past state of a study readable, and name it in a paper."""

from __future__ import annotations

import argparse
import json
from typing import Any

from dagster_beiwe.cli.context import add_study_option, confirmed, open_lake, studies_in_lake
from dagster_beiwe.client import StudyListing
from dagster_beiwe.lake import StudyLake
from dagster_beiwe.lake.catalog.records import Snapshot
from dagster_beiwe.lake.snapshots import Kept, check_snapshot, citation, create_snapshot, delete_snapshot, snapshots
from dagster_beiwe.text import counted, human_size, one_line


def add_parser(commands: Any) -> None:
    parser = commands.add_parser("snapshot", help="keep a past state of a study, and name it in a paper")
    actions = parser.add_subparsers(title="actions", required=True, metavar="ACTION")
    create = actions.add_parser("create", help="keep the newest state, and print how to name it")
    create.add_argument("name", help="a letter, and letters, digits, dots, dashes or underscores")
    add_study_option(create, required=True)
    create.set_defaults(run=_create)
    listing = actions.add_parser("list", help="list the states that are kept")
    add_study_option(listing, required=False)
    listing.set_defaults(run=_list)
    remove = actions.add_parser("remove", help="keep a state no longer")
    remove.add_argument("name")
    add_study_option(remove, required=True)
    remove.add_argument("--yes", action="store_true", help="remove without asking")
    remove.set_defaults(run=_remove)
    for action in (create, listing, remove):
        action.add_argument("--json", action="store_true", help="print JSON, one snapshot a line")


def _create(options: argparse.Namespace) -> int:
    ((study, lake),) = studies_in_lake(open_lake(), options.study)
    snapshot = create_snapshot(lake, options.name, run_id="snapshot")
    if options.json:
        print(json.dumps({**_facts(study, Kept(snapshot=snapshot, withdrawn=())), "text": _text(lake, snapshot)}))
    else:
        print(_text(lake, snapshot))
    return 0


def _list(options: argparse.Namespace) -> int:
    for study, lake in studies_in_lake(open_lake(), options.study):
        found = list(snapshots(lake))
        if options.json:
            for kept in found:
                print(json.dumps(_facts(study, kept)))
            continue
        print(f"{one_line(study.name)} ({study.id}): {counted(len(found), 'snapshot')}")
        for kept in found:
            snapshot = kept.snapshot
            print(
                f"  {snapshot.name}: state {snapshot.at.number}, {snapshot.time:%Y-%m-%d %H:%M} UTC; "
                f"{counted(snapshot.participants, 'participant')}, {counted(snapshot.files, 'file')}, "
                f"{human_size(snapshot.size_bytes)}"
            )
            if kept.withdrawn:
                print(f"    {_withdrawn(kept)}")
    return 0


def _remove(options: argparse.Namespace) -> int:
    ((study, lake),) = studies_in_lake(open_lake(), options.study)
    check_snapshot(lake, options.name)
    question = f"What only the snapshot {options.name} of {one_line(study.name)} keeps will be collected."
    removed = confirmed(question, yes=options.yes)
    if removed:
        delete_snapshot(lake, options.name, run_id="snapshot")
    if options.json:
        print(json.dumps({"study_id": study.id, "name": options.name, "removed": removed}))
    else:
        print(f"Removed the snapshot {options.name}." if removed else "Nothing was changed.")
    return 0 if removed else 1


def _text(lake: StudyLake, snapshot: Snapshot) -> str:
    return one_line(citation(lake, snapshot))


def _withdrawn(kept: Kept) -> str:
    """Who was withdrawn from a snapshot since, and by which records."""
    records = ", ".join(f"record {number}" for number in dict.fromkeys(kept.withdrawn))
    return f"{len(kept.withdrawn)} withdrawn since, {records}: in no state any more"


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
        "time": snapshot.time.isoformat(),
        "record": snapshot.number,
        "withdrawn": list(kept.withdrawn),
    }
