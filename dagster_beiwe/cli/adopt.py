"""``dagster-beiwe adopt``: take over what mano, lochness or a script has downloaded, without downloading it again."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dagster_beiwe.adoption.adoption import RUN_ID, Adoption, AdoptionPlan
from dagster_beiwe.adoption.forecast import Forecast
from dagster_beiwe.adoption.old_lake import continue_log
from dagster_beiwe.adoption.old_tree import OldFile, OldTree
from dagster_beiwe.adoption.taking import Outcomes
from dagster_beiwe.cells import Cell
from dagster_beiwe.cli.adopt_report import (
    incomplete_facts,
    outcome_facts,
    plan_facts,
    print_forecast,
    print_outcomes,
    print_plan,
)
from dagster_beiwe.cli.command import Command
from dagster_beiwe.cli.context import check_apart, check_dagster_home, dagster_history
from dagster_beiwe.cli.messages import when_interrupted
from dagster_beiwe.cli.options import json_option, participants_option
from dagster_beiwe.cli.output import print_json
from dagster_beiwe.cli.progress import progress
from dagster_beiwe.credentials import find_secret, secrets_from_keyring
from dagster_beiwe.environment import BEIWE_OLD_PASSPHRASE, DAGSTER_HOME
from dagster_beiwe.errors import BadAnswerError, ConfigurationError
from dagster_beiwe.opening import user_path
from dagster_beiwe.sync import DailyIndex, WindowReport

if TYPE_CHECKING:
    import dagster as dg

    from dagster_beiwe.client import BeiweClient
    from dagster_beiwe.resource import BeiweResource
    from dagster_beiwe.studies.study import Study

_INTERRUPTED = (
    "The old folder is unchanged, and the windows that were complete are in the lake. Run the same command again to "
    "continue."
)


@click.command(
    cls=Command,
    examples=[
        'adopt ~/mano-data --study "Sleep and Mood" --dry-run',
        'adopt /data/PHOENIX --study "Sleep and Mood" --secrets lab',
    ],
)
@click.argument("folder", type=user_path, metavar="FOLDER")
@click.option(
    "--study", metavar="STUDY", help="Id, beginning of an id, or name of the study. Default: the project's only one."
)
@participants_option
@click.option(
    "--module", "-m", metavar="MODULE",
    help="Module of the definitions that configure the study. Default: what Dagster loads in this folder, or the "
    "environment alone.",
)  # fmt: skip
@click.option(
    "--secrets", metavar="SECTION", help="Also try the passphrases in SECRETS of this section of the keyring."
)
@click.option("--reencrypt", is_flag=True, help="Encrypt every file anew, also those that could be kept as they are.")
@click.option("--dry-run", is_flag=True, help="Compare sizes only, and write nothing.")
@json_option
def command(
    *,
    folder: Path,
    study: str | None,
    participants: tuple[str, ...],
    module: str | None,
    secrets: str | None,
    reencrypt: bool,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Take over what mano, lochness or a script has downloaded.

    Each file in FOLDER is compared with the server by hash. Files that are the same are encrypted into the lake and
    not downloaded; everything else of their windows comes from the server. FOLDER is only read. Run the command again
    to continue one that was interrupted.
    """
    from dagster_beiwe.cli.project import configured_study, project_definitions

    if home := os.environ.get(DAGSTER_HOME):
        check_dagster_home(home)
    chosen, resource, spec = configured_study(project_definitions(module), study)
    with (
        resource.process_config_and_initialize_cm() as live,
        live.get_client() as client,
        _history() as (instance, recorded),
    ):
        adoption = _adoption(
            chosen, live, client, instance, folder, secrets, partly=bool(participants), reencrypt=reencrypt
        )
        plan = adoption.plan(_known(participants, client, chosen))
        facts = {"study_id": chosen.id, "dry_run": dry_run, **plan_facts(chosen, plan, adoption.tree)}
        if not as_json:
            print_plan(chosen, plan, adoption.tree, begins=adoption.windows[0].start)
        if not (plan.files or plan.files_held or plan.outside):
            whose = "of these participants" if participants else "that could be one of the study's"
            raise ConfigurationError(
                f"{folder} has no file {whose}. Nothing was adopted. Name the folder that has a folder for each "
                "participant, and check --study and --participant."
            )
        if dry_run:
            forecast = _forecast(adoption, plan, chosen, instance)
            if as_json:
                print_json({**facts, "forecast": asdict(forecast)})
            else:
                print_forecast(forecast)
            return 1 if forecast.unreadable else 0
        incomplete: list[WindowReport] = []

        def report(*, finished: bool) -> None:
            if as_json:
                found = {**outcome_facts(adoption.outcomes), "incomplete": incomplete_facts(incomplete)}
                print_json({**facts, **found, "finished": finished, "recorded": recorded})
            else:
                print_outcomes(adoption.outcomes, incomplete, recorded=recorded)

        try:
            _adopt(adoption, plan, chosen, instance, spec if recorded else None, incomplete)
        except BaseException:
            if adoption.outcomes != Outcomes():
                report(finished=False)  # no other call says it again
            raise
        report(finished=True)
    return 1 if incomplete or adoption.outcomes.needs_attention else 0


def _adoption(
    study: Study,
    resource: BeiweResource,
    client: BeiweClient,
    instance: dg.DagsterInstance,
    folder: Path,
    secrets: str | None,
    *,
    partly: bool,
    reencrypt: bool,
) -> Adoption:
    """Open the lake, and list the folder. Raises ``IntegrityError`` if the lake lacks what Dagster has seen of it."""
    from dagster_beiwe.partitions.definitions import study_windows
    from dagster_beiwe.runs.remembered_heads import remembered_heads

    lake, passphrase = resource.study_lake(study), resource.passphrase(study)
    check_apart(folder, lake.storage)
    of_section = secrets_from_keyring(secrets).values() if secrets else ()
    old = find_secret(BEIWE_OLD_PASSPHRASE, os.environ)
    passphrases = [each for each in (old and old.value, passphrase, *of_section) if each]
    remembered = remembered_heads(instance, study)
    if lake.catalog() is None:  # or raises for a wrong passphrase
        of_log = passphrases if passphrase else [*passphrases, None]
        continue_log(folder, lake.log, of_log, remembered, partly=partly)
    lake.log.check(remembered)
    tree = OldTree.read(
        folder,
        study_id=study.id,
        participants=client.participants(study.id),
        streams=client.choose_streams(study.id, study.config.streams),
    )
    return Adoption(
        client,
        lake,
        tree,
        windows=study_windows(study, now=datetime.now(timezone.utc)),
        streams=study.config.streams,
        passphrases=passphrases,
        passphrase=passphrase,
        reencrypt=reencrypt,
    )


@contextmanager
def _history() -> Iterator[tuple[dg.DagsterInstance, bool]]:
    """Dagster's history, and whether it is one that stays."""
    from dagster import DagsterInstance

    stays = bool(os.environ.get(DAGSTER_HOME))
    with dagster_history() if stays else DagsterInstance.ephemeral() as instance:
        yield instance, stays


def _known(participants: tuple[str, ...], client: BeiweClient, study: Study) -> tuple[str, ...]:
    if unknown := sorted(set(participants) - set(client.participants(study.id))):
        raise ConfigurationError(
            f"The server has no participants {', '.join(name[:64] for name in unknown)} in this study. Nothing was "
            "adopted. Correct the ids, or --study."
        )
    return participants


def _forecast(adoption: Adoption, plan: AdoptionPlan, study: Study, instance: dg.DagsterInstance) -> Forecast:
    found = Forecast()
    with progress("files") as shown, when_interrupted(lambda: "Nothing was written."):
        shown.expect(plan.files, plan.size_bytes)
        for participant, cells in plan.cells.items():
            for file in adoption.forecast(participant, cells, _counts(adoption, study, instance, cells), found):
                shown.advance(1, file.size_bytes)
    return found


def _counts(adoption: Adoption, study: Study, instance: dg.DagsterInstance, cells: Sequence[Cell]) -> DailyIndex:
    """The server's counts of the days of some windows. Raises ``BadAnswerError`` if there are none."""
    from dagster_beiwe.studies.server_counts import counts_for_cells

    daily = counts_for_cells(adoption.client, study, instance, cells, {})
    if daily is None:
        raise BadAnswerError(
            "The server did not return its daily counts, which show whether it still has a file. What was adopted "
            "before is kept. Run the command again."
        )
    return daily


def _adopt(
    adoption: Adoption,
    plan: AdoptionPlan,
    study: Study,
    instance: dg.DagsterInstance,
    spec: dg.AssetSpec | None,
    incomplete: list[WindowReport],
) -> None:
    """Adopt all windows of a plan, and record them if there is a ``spec``; ``incomplete`` gets reports of others."""
    from dagster_beiwe.assets.adopted import AdoptedWindows
    from dagster_beiwe.automation.roster_sensor import participants_in_order

    adoption.check_passphrases(plan)
    recorder = None
    if spec is not None:
        recorder = AdoptedWindows(instance, study, spec, adoption.lake, run_id=RUN_ID)
        ids = {*plan.cells, *plan.held}
        recorder.add_participants([each for each in participants_in_order(adoption.client, study) if each in ids])
        for cells in plan.held.values():
            recorder.record_held(cells)
    with (
        progress("files") as shown,
        when_interrupted(lambda: _INTERRUPTED),
        adoption.working(plan, processes=True) as at_work,
    ):
        shown.expect(plan.files, plan.size_bytes)

        def advance(file: OldFile) -> None:
            shown.advance(1, file.size_bytes)

        for cells in adoption.parts(plan):
            daily = _counts(adoption, study, instance, cells)
            with closing(adoption.run(cells, daily, at_work, on_file=advance)) as reports:
                for report in reports:
                    if not report.complete:
                        incomplete.append(report)
                    elif recorder is not None:
                        recorder.record(report)
