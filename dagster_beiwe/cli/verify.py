"""``dagster-beiwe verify``: is the lake still what was committed, and what to do if not."""

from __future__ import annotations

import argparse
import json
from typing import Any

from dagster_beiwe.cli.context import add_study_option, confirmed, human_size, not_held, open_lake, studies_in_lake
from dagster_beiwe.client import Study
from dagster_beiwe.errors import ConfigurationError
from dagster_beiwe.lake import StudyLake
from dagster_beiwe.lake.verify import Finding, Verification, repair_study, verify_study
from dagster_beiwe.names import check_participant_id, one_line

_SHOWN = 50


def add_parser(commands: Any) -> None:
    parser = commands.add_parser("verify", help="compare every stored file with its manifest")
    add_study_option(parser, required=False)
    parser.add_argument("--participant", action="append", default=[], help="only this participant; may be repeated")
    parser.add_argument("--share", type=float, default=1.0, help="part of the files to read, 0 to 1 (default: all)")
    parser.add_argument("--repair", action="store_true", help="take what is damaged out, to be fetched again")
    parser.add_argument("--yes", action="store_true", help="repair without asking")
    parser.add_argument("--json", action="store_true", help="print findings as JSON, one study a line")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    if not 0 <= options.share <= 1:
        raise ConfigurationError(f"Expected --share between 0 and 1, got {options.share}; nothing was read.")
    from dagster_beiwe.lake.tables import TableStore  # pandas is slow to import, and most commands don't need it

    wanted = {check_participant_id(each) for each in options.participant}
    intact, unknown = True, set(wanted)
    for study, lake in studies_in_lake(open_lake(), options.study):
        result = verify_study(lake, share=options.share, participants=wanted)
        known = {*lake.participants(), *(finding.participant for finding in result.findings)}
        unknown -= known
        if wanted and result.intact and not wanted & known:
            continue
        tables = TableStore.of_study(lake).damaged() if not wanted else ()
        result.findings += [Finding(kind="table changed", participant="", path=path) for path in tables]
        intact = intact and result.intact
        _print(study, result, as_json=options.json)
        if options.repair and not result.intact:
            _repair(lake, result, yes=options.yes)
    if unknown:
        raise not_held(sorted(unknown))
    return 0 if intact else 1


def _print(study: Study, result: Verification, *, as_json: bool) -> None:
    if as_json:
        findings = [str(finding) for finding in result.findings]
        print(json.dumps({"study_id": study.id, "intact": result.intact, "findings": findings,
                          "partitions": result.partitions, "windows": result.windows, "files": result.files,
                          "files_checked": result.files_checked}))  # fmt: skip
        return
    print(
        f"{one_line(study.name)} ({study.id}): {'intact' if result.intact else f'{len(result.findings)} findings'}; "
        f"{result.participants} participants, {result.windows} windows, {result.files} files, "
        f"{result.files_checked} of them read ({human_size(result.bytes_checked)})."
    )
    for finding in result.findings[:_SHOWN]:
        print(f"  {one_line(str(finding))}")
    if len(result.findings) > _SHOWN:
        print(f"  ... and {len(result.findings) - _SHOWN} more: use --json")
    if result.partitions:
        print("  Partitions: " + ", ".join(result.partitions))


def _repair(lake: StudyLake, result: Verification, *, yes: bool) -> None:
    if not confirmed("Damaged and unlisted files will be removed, and must be fetched again.", yes=yes):
        print("  Nothing was changed.")
        return
    partitions = repair_study(lake, result.findings, run_id="verify")
    print("  Taken out. Materialise these partitions of raw_data again: " + (", ".join(partitions) or "none"))
