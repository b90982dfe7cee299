"""``dagster-beiwe verify``: is the lake still what was committed, and what to do if not."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from typing import Any

from dagster_beiwe.cli.context import add_study_option, confirmed, human_size, not_held, open_lake, studies_in_lake
from dagster_beiwe.client import Study
from dagster_beiwe.errors import ConfigurationError
from dagster_beiwe.lake import BeiweLake, StudyLake
from dagster_beiwe.lake.keys import key_path
from dagster_beiwe.lake.repair import repair_study
from dagster_beiwe.lake.seals import KEY_PLACE, unaccounted_tables, unowned_tables
from dagster_beiwe.lake.verify import Finding, Verification, verify_study
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
    lake, intact, unknown = open_lake(), True, set(wanted)
    for study, part in studies_in_lake(lake, options.study):
        result = verify_study(part, share=options.share, participants=wanted)
        known = {*part.participants(), *(finding.participant for finding in result.findings)}
        unknown -= known
        if wanted and result.intact and not wanted & known:
            continue
        tables = TableStore.of_study(part).damaged() if not wanted else ()
        result.findings += [Finding(kind="table changed", participant="", path=path) for path in tables]
        intact = intact and result.intact
        _print(study, result, as_json=options.json)
        if options.repair and not result.intact:
            _repair(part, result, yes=options.yes)
    if unknown:
        raise not_held(sorted(unknown))
    if not wanted:
        intact = _tables_of_no_study(lake, as_json=options.json) and intact
    return 0 if intact else 1


def _tables_of_no_study(lake: BeiweLake, *, as_json: bool) -> bool:
    """Look at the tables that belong to the lake as a whole or to nobody who is known; whether they are intact."""
    from dagster_beiwe.lake.tables import TableStore

    passphrase = os.environ.get("BEIWE_LAKE_PASSPHRASE") or None
    stores = [TableStore.of_nobody(lake.storage)]
    if passphrase:
        stores.append(TableStore.of_lake(lake.storage, passphrase=passphrase))
    elif lake.storage.exists(key_path(KEY_PLACE)):
        print("Tables of no study need BEIWE_LAKE_PASSPHRASE, which is not set: not looked at.", file=sys.stderr)
    changed = {path for store in stores for path in store.damaged()}
    findings = [Finding(kind="table changed", participant="", path=path) for path in sorted(changed)]
    unowned = sorted(set(unowned_tables(lake.storage, lake.studies())) - changed)
    findings += [Finding(kind="table without owner", participant="", path=path) for path in unowned]
    strangers = unaccounted_tables(lake.storage)
    findings += [Finding(kind="file unlisted", participant="", path=path) for path in strangers]
    if findings and as_json:
        print(json.dumps({"study_id": None, "intact": False, "findings": list(map(str, findings))}))
    elif findings:
        print(f"Tables of no study: {len(findings)} findings. Materialise them again, or remove what is not yours.")
        _print_findings(findings)
    return not findings


def _print(study: Study, result: Verification, *, as_json: bool) -> None:
    if as_json:
        findings = [str(finding) for finding in result.findings]
        print(json.dumps({"study_id": study.id, "intact": result.intact, "findings": findings,
                          "partitions": result.partitions, "roll": result.roll, "windows": result.windows,
                          "files": result.files, "files_checked": result.files_checked}))  # fmt: skip
        return
    print(
        f"{one_line(study.name)} ({study.id}): {'intact' if result.intact else f'{len(result.findings)} findings'}; "
        f"{result.participants} participants, {result.windows} windows, {result.files} files, "
        f"{result.files_checked} of them read ({human_size(result.bytes_checked)})."
    )
    _print_findings(result.findings)
    if result.partitions:
        print("  Partitions: " + ", ".join(result.partitions))


def _print_findings(findings: Sequence[Finding]) -> None:
    for finding in findings[:_SHOWN]:
        print(f"  {one_line(str(finding))}")
    if len(findings) > _SHOWN:
        print(f"  ... and {len(findings) - _SHOWN} more: use --json")


def _repair(lake: StudyLake, result: Verification, *, yes: bool) -> None:
    if not confirmed("Damaged and unlisted files will be removed, and must be fetched again.", yes=yes):
        print("  Nothing was changed.")
        return
    partitions = repair_study(lake, result.findings, run_id="verify")
    print("  Taken out. Materialise these partitions of raw_data again: " + (", ".join(partitions) or "none"))
