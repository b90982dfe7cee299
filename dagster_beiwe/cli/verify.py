"""``dagster-beiwe verify``: whether the lake is what was committed, and what to do if not."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, TypeAlias

import click

from dagster_beiwe.cli.command import Command
from dagster_beiwe.cli.context import (
    confirmed,
    heads_in_dagster,
    named,
    not_held,
    open_lake,
    opener,
    studies_in_lake,
)
from dagster_beiwe.cli.messages import red, say, when_interrupted
from dagster_beiwe.cli.options import (
    as_of_option,
    json_option,
    optional_study_option,
    participants_option,
    yes_option,
)
from dagster_beiwe.cli.output import paragraph, print_json
from dagster_beiwe.cli.progress import progress
from dagster_beiwe.client import StudyListing
from dagster_beiwe.environment import BEIWE_LAKE_PASSPHRASE
from dagster_beiwe.errors import UnknownStateError
from dagster_beiwe.ids import check_participant_id
from dagster_beiwe.lake import BeiweLake, StudyLake
from dagster_beiwe.lake.catalog.opening import Seen
from dagster_beiwe.lake.layout import NO_STUDY
from dagster_beiwe.lake.snapshots import contents_of, snapshots
from dagster_beiwe.maintenance.repair import Repaired, repair_study
from dagster_beiwe.maintenance.verify import Verification, verify_study
from dagster_beiwe.tables.files import TableFiles
from dagster_beiwe.text import as_typed, counted, human_size, one_line

Found: TypeAlias = tuple[StudyListing, StudyLake]

_SHOWN = 50


def _share(ctx: click.Context, param: click.Parameter, value: float) -> float:  # noqa: ARG001 - the signature of click
    if not 0 <= value <= 1:
        raise click.BadParameter(f"{value} is not between 0 and 1.")
    return value


@click.command(cls=Command, examples=["verify", "verify --share 0.1", "verify --repair"])
@optional_study_option
@participants_option
@click.option("--share", default=1.0, callback=_share, help="Part of the files to read, from 0 to 1. Default: all.")
@as_of_option
@click.option("--repair", is_flag=True, help="Remove what is damaged, so that runs download it again.")
@click.option("--accept", is_flag=True, help="Accept a study that was restored from a backup.")
@yes_option
@json_option
def command(
    *,
    study: str | None,
    participants: tuple[str, ...],
    share: float,
    as_of: int | datetime | str | None,
    repair: bool,
    accept: bool,
    yes: bool,
    as_json: bool,
) -> int:
    """Prove that the lake is what was committed."""
    if as_of is not None and (repair or accept):
        raise click.UsageError("--as-of looks at a past state only. Leave out --repair and --accept.")
    wanted = {check_participant_id(each) for each in participants}
    lake, intact, unknown, remembered = open_lake(), True, set(wanted), heads_in_dagster()
    studies = _after_the_place(lake, studies_in_lake(lake, study), as_json=as_json)
    if accept:
        studies = (_accepted(each, part, remembered, yes=yes) for each, part in studies)
    for each, part, result in _results(studies, share=share, participants=wanted, as_of=as_of, remembered=remembered):
        known = {finding.participant for finding in result.findings}
        known |= wanted.intersection(part.participants(skip_damaged=True)) if result.head else wanted
        unknown -= known
        if wanted and result.intact and not wanted & known:
            continue
        intact = intact and result.intact
        content = _content(part, as_of) if result.intact and not wanted else None
        if not as_json:
            _print(named(each), result, content=content)
        repaired = _repair(part, result, yes=yes) if repair and not result.intact else None
        if as_json:
            _print_json(each.id, result, _place(lake), content=content, repaired=repaired)
        elif repaired is not None:
            _print_repaired(repaired)
    if unknown:
        raise not_held(sorted(unknown))
    if not wanted and as_of is None:
        intact = _tables_of_no_study(lake, share=share, remembered=remembered, as_json=as_json) and intact
    return 0 if intact else 1


def _after_the_place(lake: BeiweLake, studies: Iterable[Found], *, as_json: bool) -> Iterator[Found]:
    """The studies, after the lake's place was printed: nobody should take the proof of one for that of another."""
    for number, found in enumerate(studies):
        if not (number or as_json):
            print(f"The lake at {_place(lake)}")
        yield found


def _place(lake: BeiweLake) -> str:
    return as_typed(lake.storage.describe())


def _results(studies: Iterable[Found], **options: Any) -> Iterator[tuple[StudyListing, StudyLake, Verification]]:
    """Verify studies. One that lacks the past state is named, and an error only if all of them lack it."""
    lacking, verified = list[UnknownStateError](), False
    for study, lake in studies:
        try:
            result = _verified(lake, **options)
        except UnknownStateError as error:
            lacking.append(error)
            continue
        verified = True
        yield study, lake, result
    if lacking and not verified:
        raise lacking[0]
    for each in lacking:
        say("warning", f"Not verified: {each}")


def _verified(lake: StudyLake | TableFiles, **options: Any) -> Verification:
    with (
        progress("windows and tables") as shown,
        when_interrupted(lambda: f"{shown.reached().count} of the study were verified. Run the command again."),
    ):
        return verify_study(lake, progress=shown, processes=True, **options)


def _content(lake: StudyLake, as_of: int | datetime | str | None) -> tuple[str, str] | None:
    """The hash of a snapshot's content now, and when it was made; None for another state."""
    if not isinstance(as_of, str):
        return None
    (made,) = [kept.snapshot.content for kept in snapshots(lake) if kept.snapshot.name == as_of]
    return contents_of(lake.at(as_of)).content, made


def _tables_of_no_study(lake: BeiweLake, *, share: float, remembered: Sequence[Seen], as_json: bool) -> bool:
    """Verify the tables that belong to no study, and tell whether they are intact."""
    passphrase = opener().lake_passphrase()
    held = set(lake.storage.list(""))
    logs = {"Tables about nobody": TableFiles.of_nobody(lake.storage, witness=lake.witness)}
    if passphrase:
        logs["Tables of no study"] = TableFiles.of_lake(lake.storage, passphrase=passphrase, witness=lake.witness)
    elif NO_STUDY in held:
        say("warning", f"Not verified: tables of no study, because {BEIWE_LAKE_PASSPHRASE} is not set.")
    intact = True
    for name, tables in logs.items():
        result = _verified(tables, share=share, remembered=remembered)
        if not result.intact:
            intact = False
            if as_json:
                _print_json(tables.log.folder, result, _place(lake))
            else:
                _print(f"{name} ({tables.log.folder})", result)
    return intact


def _print_json(
    study_id: str,
    result: Verification,
    place: str,
    *,
    content: tuple[str, str] | None = None,
    repaired: Repaired | None = None,
) -> None:
    now, made = content or (None, None)
    print_json({"study_id": study_id, "lake": place, "intact": result.intact,
                "findings": list(map(str, result.findings)),
                "partitions": result.partitions, "repaired": repaired and repaired.partitions,
                "tables_to_materialize": repaired and repaired.tables,
                "damaged_snapshots": repaired and repaired.snapshots, "record": result.head and result.head.number,
                "hash": result.head and result.head.digest, "participants": result.participants,
                "windows": result.windows, "tables": result.tables, "files": result.files,
                "files_checked": result.files_checked, "withdrawn": result.withdrawn,
                "content": now, "snapshot_content": made})  # fmt: skip


def _print(name: str, result: Verification, *, content: tuple[str, str] | None = None) -> None:
    now, made = content or (None, None)
    verdict = "intact" if result.intact else counted(len(result.findings), "finding")
    line = paragraph(
        f"{name}: {verdict}; "
        f"{counted(result.participants, 'participant')}, {counted(result.windows, 'window')}, "
        f"{counted(result.tables, 'table')}, {counted(result.files, 'file')}; "
        f"read {result.files_checked:,}, past versions included ({human_size(result.bytes_checked)})."
    )
    print(line if result.intact else red(line, sys.stdout))
    if result.head:
        print(f"  The log ends at record {result.head.number}, hash {result.head.digest}.")
    if result.withdrawn:
        records = ", ".join(f"record {number}" for number in dict.fromkeys(result.withdrawn))
        print(f"  {len(result.withdrawn)} withdrawn since, {records}: and so in no state.")
    if now is not None and now == made:
        print(f"  The content has the SHA-256 {now}, as when the snapshot was made.")
    elif now is not None:
        print(
            f"  The content has the SHA-256 {now}. It had {made} when the snapshot was made: participants have been "
            "withdrawn since."
        )
    for finding in result.findings[:_SHOWN]:
        print(f"  {one_line(str(finding))}")
    if len(result.findings) > _SHOWN:
        print(f"  ... and {len(result.findings) - _SHOWN} more: use --json")
    if result.partitions:
        print("  Partitions: " + ", ".join(result.partitions))


def _accepted(study: StudyListing, lake: StudyLake, remembered: Sequence[Seen], *, yes: bool) -> Found:
    if not lake.log.lost(remembered):
        say("note", f"{study.name}: nothing that was seen before is missing, so there is nothing to accept.")
        return study, lake
    question = (
        f"Records of {one_line(study.name)} that were seen before, and that the lake lacks, will be given up for good. "
        "Stop all runs of the study first."
    )
    if confirmed(question, yes=yes):
        lost = lake.log.accept(remembered, run_id="verify")
        say("note", f"{study.name}: gave up {counted(len(lost), 'record')} seen before.")
    else:
        say("note", "Nothing was changed.")
    return study, lake


def _print_repaired(repaired: Repaired) -> None:
    print(
        "  Removed what was damaged. Materialize these partitions of raw_data again: "
        + (", ".join(repaired.partitions) or "none")
    )
    if repaired.tables:
        print(f"  Materialize these tables again: {', '.join(repaired.tables)}")
    if repaired.snapshots:
        print(
            f"  Damaged versions that these snapshots keep were left as they are: {', '.join(repaired.snapshots)}. "
            "Restore their files from a backup, or remove the snapshots (`dagster-beiwe snapshot remove`)."
        )


def _repair(lake: StudyLake, result: Verification, *, yes: bool) -> Repaired | None:
    """Repair a study; None if that was not confirmed."""
    question = (
        "Damaged files and unaccounted files will be removed. What is damaged must be downloaded again, and so must "
        "all data of participants whose folder is gone."
    )
    if not confirmed(question, yes=yes):
        say("note", "Nothing was changed.")
        return None
    with when_interrupted(lambda: "What was removed so far stays removed. Run the command again to continue."):
        return repair_study(lake, result.findings, run_id="verify")
