"""What ``dagster-beiwe adopt`` prints: for people, and as facts for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from dagster_beiwe.adoption.adoption import AdoptionPlan
from dagster_beiwe.adoption.forecast import Forecast
from dagster_beiwe.adoption.old_tree import OldTree
from dagster_beiwe.adoption.taking import Outcomes
from dagster_beiwe.cli.context import named
from dagster_beiwe.client import StudyListing
from dagster_beiwe.environment import BEIWE_OLD_PASSPHRASE, DAGSTER_HOME
from dagster_beiwe.sync import WindowReport
from dagster_beiwe.text import as_typed, counted, error_in_words, human_size, one_line

if TYPE_CHECKING:
    from dagster_beiwe.studies.study import Study

_LISTED: Final = 20


def plan_facts(study: Study, plan: AdoptionPlan, tree: OldTree) -> dict[str, Any]:
    """What the folder holds."""
    return {
        "folder": tree.folder,
        "window": study.config.window,
        "participants": len(plan.cells),
        "windows": sum(map(len, plan.cells.values())),
        "files": plan.files,
        "size_bytes": plan.size_bytes,
        "windows_held": sum(map(len, plan.held.values())),
        "files_held": plan.files_held,
        "other_participants": dict(tree.strangers),
        "outside": list(plan.outside),
        "absent": list(plan.absent),
        "duplicates": tree.duplicates,
        "unknown": tree.unknown,
    }


def outcome_facts(outcomes: Outcomes) -> dict[str, Any]:
    """What became of the files."""
    return asdict(outcomes)


def incomplete_facts(incomplete: Sequence[WindowReport]) -> list[dict[str, Any]]:
    """Windows of which a part could not be fetched."""
    return [
        {
            "participant": report.cell.participant,
            "window": report.cell.window.key,
            "errors": sorted({failure.error for failure in report.failures}),
        }
        for report in incomplete
    ]


def print_plan(study: Study, plan: AdoptionPlan, tree: OldTree, *, begins: datetime) -> None:
    """What the folder holds, and what of it is not adopted. The study's windows begin at ``begins``."""
    windows = sum(map(len, plan.cells.values()))
    length = study.config.window  # which a lake keeps
    print(
        f"{named(StudyListing(id=study.id, name=study.name))}: {counted(plan.files, 'file')} "
        f"({human_size(plan.size_bytes)}) in {counted(windows, f'{length} window')} of "
        f"{counted(len(plan.cells), 'participant')} in {one_line(as_typed(str(tree.folder)))}"
    )
    if held := sum(map(len, plan.held.values())):
        print(f"  {counted(plan.files_held, 'file')} in {counted(held, 'window')} that the lake holds already")
    _print_paths("missing from windows that the lake holds as complete", dict.fromkeys(plan.absent, ""))
    others = {f"{who} ({files:,})": "" for who, files in sorted(tree.strangers.items())}
    _print_paths("of participants who are not in the study, by participant", others, sum(tree.strangers.values()))
    _print_paths(
        f"dated outside the study's windows, which begin {begins:%Y-%m-%d}, and therefore not adopted",
        dict.fromkeys(plan.outside, ""),
    )
    _print_paths("beside a newer copy", dict.fromkeys(tree.duplicates, ""))
    _print_paths("without a name that the server gives", dict.fromkeys(tree.unknown, ""))


def print_forecast(forecast: Forecast) -> None:
    """What the sizes of files tell beforehand."""
    print(
        f"By size, {forecast.same:,} of {counted(forecast.days, 'day')} of streams are as the server counts them. "
        f"Of the others, the server has {human_size(forecast.lacking_bytes)} more, which will be downloaded, and the "
        f"folder {human_size(forecast.surplus_bytes)} more."
    )
    if forecast.unknown:
        print(f"  For {counted(forecast.unknown, 'day')}, the sizes of files are not known until they are decrypted.")
    if forecast.sent_again:
        files, size = counted(forecast.sent_again, "file"), human_size(forecast.sent_again_bytes)
        print(f"  {files} ({size}) will be downloaded again, because servers cannot compare files of their kind.")
    _print_unreadable("unreadable, of those tried: one of each participant and stream", forecast.unreadable)


def print_outcomes(outcomes: Outcomes, incomplete: Sequence[WindowReport], *, recorded: bool) -> None:
    """What became of the files, and what deserves a look."""
    if outcomes == Outcomes() and not incomplete:
        print("Nothing is left to adopt.")
    else:
        kept = f", {outcomes.kept:,} of them stored as they were" if outcomes.kept else ""
        print(f"Adopted: {counted(outcomes.adopted, 'file')} ({human_size(outcomes.adopted_bytes)}){kept}.")
    if outcomes.sent_again:
        print(f"  {counted(outcomes.sent_again, 'file')} the same, but downloaded: the server could not compare them")
    if outcomes.held:
        print(f"  {counted(outcomes.held, 'file')} in the lake already")
    if outcomes.missing:
        print(
            f"  {counted(outcomes.missing, 'file')} missing here, and downloaded ({human_size(outcomes.missing_bytes)})"
        )
    _print_paths(
        "differing from the server's copy (changed there, or damaged here), which was downloaded",
        dict.fromkeys(outcomes.changed, ""),
    )
    _print_paths("not on the server (foreign), and therefore not adopted", dict.fromkeys(outcomes.foreign, ""))
    _print_unreadable("unreadable; what the server has of complete windows was downloaded", outcomes.unreadable)
    if outcomes.not_compared:
        print(f"  {counted(outcomes.not_compared, 'file')} not compared: in windows that are incomplete")
    for report in incomplete[:_LISTED]:
        errors = ", ".join(sorted({error_in_words(failure.error) for failure in report.failures}))
        print(f"Incomplete: {report.cell.participant}, window {report.cell.window.key} ({errors}). Run it in Dagster.")
    if len(incomplete) > _LISTED:
        print(f"... and {len(incomplete) - _LISTED:,} more")
    if not recorded:
        print(
            f"The lake holds these windows, and Dagster knows nothing of them, because {DAGSTER_HOME} is not set. Run "
            "the command again where it is: what the lake holds is not compared again."
        )
    else:
        print("Dagster shows the adopted windows as materialized.")


def _print_unreadable(what: str, reasons: Mapping[str, str]) -> None:
    _print_paths(what, reasons)
    if any("passphrase" in reason for reason in reasons.values()):
        print(f"    If {BEIWE_OLD_PASSPHRASE} is not their passphrase, set it, and run the command again.")


def _print_paths(what: str, paths: Mapping[str, str], number: int | None = None) -> None:
    """The number of some paths, and the first of them, each with a reason if there is one."""
    if not paths:
        return
    print(f"  {counted(len(paths) if number is None else number, 'file')} {what}:")
    for path, reason in [*paths.items()][:_LISTED]:
        print(f"    {one_line(as_typed(path))}{f' ({reason})' if reason else ''}")
    if len(paths) > _LISTED:
        print(f"    ... and {len(paths) - _LISTED:,} more (--json lists all)")
