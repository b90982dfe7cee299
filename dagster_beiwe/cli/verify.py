"""``dagster-beiwe verify``: is the lake still what was committed, and what to do if not."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from dagster_beiwe.cli.context import (
    add_study_option,
    confirmed,
    heads_in_dagster,
    not_held,
    open_lake,
    past_state,
    studies_in_lake,
)
from dagster_beiwe.client import StudyListing
from dagster_beiwe.errors import ConfigurationError
from dagster_beiwe.ids import check_participant_id
from dagster_beiwe.lake import BeiweLake, StudyLake
from dagster_beiwe.lake.catalog.opening import Seen
from dagster_beiwe.lake.layout import NO_STUDY
from dagster_beiwe.lake.snapshots import contents_of, snapshots
from dagster_beiwe.maintenance.repair import repair_study
from dagster_beiwe.maintenance.verify import Verification, verify_study
from dagster_beiwe.tables.files import TableFiles
from dagster_beiwe.text import counted, human_size, one_line

_SHOWN = 50


def add_parser(commands: Any) -> None:
    parser = commands.add_parser("verify", help="prove that the lake is what was committed")
    add_study_option(parser, required=False)
    parser.add_argument("--participant", action="append", default=[], help="only this participant; may be repeated")
    parser.add_argument("--share", type=float, default=1.0, help="part of the files to read, 0 to 1 (default: all)")
    parser.add_argument("--as-of", type=past_state, help="a past state: a record's number, a time (UTC) or a snapshot")
    parser.add_argument("--repair", action="store_true", help="take what is damaged out, to be fetched again")
    parser.add_argument("--accept", action="store_true", help="accept a study that was put back from a backup")
    parser.add_argument("--yes", action="store_true", help="repair or accept without asking")
    parser.add_argument("--json", action="store_true", help="print findings as JSON, one study a line")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    if not 0 <= options.share <= 1:
        raise ConfigurationError(f"--share is {options.share}, which is not between 0 and 1. Nothing was read.")
    if options.as_of is not None and (options.repair or options.accept):
        raise ConfigurationError(
            "--as-of looks at a past state only. Nothing was read. Leave out --repair and --accept."
        )
    wanted = {check_participant_id(each) for each in options.participant}
    lake, intact, unknown, remembered = open_lake(), True, set(wanted), heads_in_dagster()
    for study, part in studies_in_lake(lake, options.study):
        if options.accept:
            _accept(study, part, remembered, yes=options.yes)
        result = verify_study(
            part, share=options.share, participants=wanted, as_of=options.as_of, remembered=remembered
        )
        known = {finding.participant for finding in result.findings}
        known |= wanted.intersection(part.participants(skip_damaged=True)) if result.head else wanted
        unknown -= known
        if wanted and result.intact and not wanted & known:
            continue
        intact = intact and result.intact
        content = _content(part, options.as_of) if result.intact and not wanted else None
        _print(study.id, one_line(study.name), result, as_json=options.json, content=content)
        if options.repair and not result.intact:
            _repair(part, result, yes=options.yes)
    if unknown:
        raise not_held(sorted(unknown))
    if not wanted and options.as_of is None:
        intact = _tables_of_no_study(lake, share=options.share, remembered=remembered, as_json=options.json) and intact
    return 0 if intact else 1


def _content(lake: StudyLake, as_of: int | datetime | str | None) -> tuple[str, str] | None:
    """The hash of a snapshot's content now, and when it was made; None for another state."""
    if not isinstance(as_of, str):
        return None
    (made,) = [kept.snapshot.content for kept in snapshots(lake) if kept.snapshot.name == as_of]
    return contents_of(lake.at(as_of)).digest, made


def _tables_of_no_study(lake: BeiweLake, *, share: float, remembered: Sequence[Seen], as_json: bool) -> bool:
    """Look at the tables that belong to no study; whether they are intact."""
    passphrase = os.environ.get("BEIWE_LAKE_PASSPHRASE") or None
    held = set(lake.storage.list(""))
    logs = {"Tables about nobody": TableFiles.of_nobody(lake.storage, witness=lake.witness)}
    if passphrase:
        logs["Tables of no study"] = TableFiles.of_lake(lake.storage, passphrase=passphrase, witness=lake.witness)
    elif NO_STUDY in held:
        print("Tables of no study need BEIWE_LAKE_PASSPHRASE, which is not set: not looked at.", file=sys.stderr)
    intact = True
    for name, tables in logs.items():
        result = verify_study(tables, share=share, remembered=remembered)
        if not result.intact:
            intact = False
            _print(tables.log.folder, name, result, as_json=as_json)
    return intact


def _print(
    study_id: str, name: str, result: Verification, *, as_json: bool, content: tuple[str, str] | None = None
) -> None:
    now, made = content or (None, None)
    if as_json:
        print(json.dumps({"study_id": study_id, "intact": result.intact, "findings": list(map(str, result.findings)),
                          "partitions": result.partitions, "record": result.head and result.head.number,
                          "hash": result.head and result.head.digest, "participants": result.participants,
                          "windows": result.windows, "tables": result.tables, "files": result.files,
                          "files_checked": result.files_checked, "withdrawn": result.withdrawn,
                          "content": now, "snapshot_content": made}))  # fmt: skip
        return
    print(
        f"{name} ({study_id}): {'intact' if result.intact else counted(len(result.findings), 'finding')}; "
        f"{counted(result.participants, 'participant')}, {counted(result.windows, 'window')}, "
        f"{counted(result.tables, 'table')}, {counted(result.files, 'file')}; "
        f"read {result.files_checked:,}, past versions included ({human_size(result.bytes_checked)})."
    )
    if result.head:
        print(f"  The log ends at record {result.head.number}, hash {result.head.digest}.")
    if result.withdrawn:
        records = ", ".join(f"record {number}" for number in dict.fromkeys(result.withdrawn))
        print(f"  {len(result.withdrawn)} withdrawn since, {records}: in no state any more.")
    if now is not None and now == made:
        print(f"  The content has the SHA-256 {now}, as when the snapshot was made.")
    elif now is not None:
        print(
            f"  The content has the SHA-256 {now}. It had {made} when the snapshot was made: participants were "
            "withdrawn since."
        )
    for finding in result.findings[:_SHOWN]:
        print(f"  {one_line(str(finding))}")
    if len(result.findings) > _SHOWN:
        print(f"  ... and {len(result.findings) - _SHOWN} more: use --json")
    if result.partitions:
        print("  Partitions: " + ", ".join(result.partitions))


def _accept(study: StudyListing, lake: StudyLake, remembered: Sequence[Seen], *, yes: bool) -> None:
    question = (
        f"Records of {one_line(study.name)} that were seen, and that the lake lacks, will be given up for good. Stop "
        "all of its runs before."
    )
    if not confirmed(question, yes=yes):
        print("  Nothing was changed.")
        return
    lost = lake.log.accept(remembered, run_id="verify")
    print(f"{one_line(study.name)}: gave up {counted(len(lost), 'record')} seen before.", file=sys.stderr)


def _repair(lake: StudyLake, result: Verification, *, yes: bool) -> None:
    question = (
        "Damaged files, and files that nothing accounts for, will be removed. What is damaged must be fetched again, "
        "and so must everything of participants whose folder is gone."
    )
    if not confirmed(question, yes=yes):
        print("  Nothing was changed.")
        return
    partitions = repair_study(lake, result.findings, run_id="verify")
    print("  Taken out. Materialise these partitions of raw_data again: " + (", ".join(partitions) or "none"))
