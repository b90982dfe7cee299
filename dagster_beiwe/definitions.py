"""A whole project: every study of one or more deployments as Dagster definitions."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import BaseModel, ConfigDict

from dagster_beiwe.assets import (
    DEFAULT_TRANSLATOR,
    AssetOptions,
    BeiweTranslator,
    StudyAssets,
    build_studies_asset,
    translated,
)
from dagster_beiwe.assets.studies import Ask
from dagster_beiwe.assets.study_assets import build_tables
from dagster_beiwe.automation.audit import build_audit_job
from dagster_beiwe.automation.changes_sensor import build_changes_sensor
from dagster_beiwe.automation.dead_runs_sensor import build_dead_runs_sensor
from dagster_beiwe.automation.histories_sensor import build_histories_sensor
from dagster_beiwe.automation.notices import Notices
from dagster_beiwe.automation.notices_sensor import build_notices_sensors
from dagster_beiwe.automation.roster_sensor import build_roster_sensor
from dagster_beiwe.automation.schedules import (
    DEFAULT_AUDIT_CRON,
    DEFAULT_CHECKS_CRON,
    DEFAULT_CRON,
    DEFAULT_REPORT_CRON,
    build_checks_job,
    build_job_schedule,
    build_quality_job,
    build_refresh_schedule,
    build_report_job,
)
from dagster_beiwe.checks import checks_of
from dagster_beiwe.environment import is_strict
from dagster_beiwe.errors import ConfigurationError
from dagster_beiwe.io_managers import EncryptedLakeIOManager, EncryptedTableIOManager
from dagster_beiwe.resource import BeiweResource, credentials_from_environment
from dagster_beiwe.runs.dagster_private import AssetJob
from dagster_beiwe.studies.config import (
    DEFAULT_DEPLOYMENT,
    StudyConfig,
    lake_io_manager_key,
    table_io_manager_key,
)
from dagster_beiwe.studies.study import Study
from dagster_beiwe.study_finder import StudyFinder, ask_and_remember

LabAssets = Callable[[Study], Sequence[dg.AssetsDefinition]]
"""Returns a lab's own assets for a study."""


class Automation(dg.Resolvable, BaseModel):
    """When schedules and sensors run."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    running: bool = False
    """Turns on the schedules and sensors that nobody has switched on or off yet."""

    refresh_cron: str = DEFAULT_CRON
    """When the schedule ``<key>_refresh`` runs, in UTC."""

    audit_cron: str = DEFAULT_AUDIT_CRON
    """When the schedule ``<key>_audit`` runs, in UTC."""

    checks_cron: str = DEFAULT_CHECKS_CRON
    """When the schedules ``<key>_checks`` and ``<key>_quality`` run, in UTC."""

    report_cron: str = DEFAULT_REPORT_CRON
    """When the schedule ``<key>_report`` runs, in UTC."""

    roster_seconds: int = 600
    """The time between two looks for new participants."""

    changes_seconds: int = 3600
    """The time between two looks at the server's counts, which change about hourly."""

    histories_seconds: int = 3600
    """The time between two looks for phones that reported something."""


def build_beiwe_definitions(
    studies: Sequence[StudyConfig] | None = None,
    *,
    deployments: Mapping[str, BeiweResource] | None = None,
    per_study: LabAssets | None = None,
    automation: Automation = Automation(),  # noqa: B008  # frozen
    notices: Sequence[Notices] = (),
    translator: BeiweTranslator = DEFAULT_TRANSLATOR,
    default_io_manager: bool = False,
    strict: bool = False,
    state_folder: str | Path | None = None,
) -> dg.Definitions:
    """Build assets, schedules, sensors, and resources for the studies. Call it in a function with ``@dg.definitions``.

    Without ``studies``, they are those of ``BEIWE_STUDIES`` on any of the deployments, or all that the access keys can
    see, starting at ``BEIWE_START``, with the stream tables in ``BEIWE_TABLES``. Without ``deployments`` ({name:
    resource}) there is one, ``beiwe``, with credentials from the environment or from the keyring that it names. Each
    server is asked for its studies: one request with short timeouts, and no other for five minutes unless something
    was missing. If a server does not answer, the last known studies are used, which are kept in ``state_folder``
    (default ``$DAGSTER_HOME/beiwe``).

    ``per_study`` returns a lab's own assets for a study; they read ``study.asset_key("raw_data")``. ``translator``
    decides the keys, groups, owners, descriptions, and metadata of all other assets.

    ``notices`` say who gets a message about new problems that the checks find. By default, nobody does.

    The result can be merged into a lab's project in any order and changes none of its defaults: it has no executor, no
    logger, and no ``io_manager``. Everything runs under the in-process and the multiprocess executor. The former saves
    about five seconds per run (``dg.Definitions(executor=dg.in_process_executor)``).

    ``default_io_manager`` binds the resource ``io_manager`` to encrypted tables, for the results of assets that name no
    IO manager. Without it, Dagster pickles those results, and an asset that reads Beiwe data is refused if Dagster
    would pickle its result.

    Raises ``ConfigurationError`` for a configuration that can't be used. A server that is down is only logged, unless
    with ``strict``, or ``BEIWE_STRICT=1``, a study lacks assets for it: that is for tests of a project.
    """
    if deployments is None:
        deployments = default_deployments()
    if studies is not None:
        check_deployments(studies, deployments)
    finder = StudyFinder.of(studies, deployments, folder=state_folder)
    finder.ask_if_due()
    return assemble_definitions(
        finder.found(strict=strict or is_strict(os.environ)),
        deployments=deployments,
        per_study=per_study,
        automation=automation,
        notices=notices,
        options=AssetOptions(translator=translator),
        default_io_manager=default_io_manager,
        ask=partial(ask_and_remember, folder=state_folder),
    )


def assemble_definitions(
    found: Iterable[Study],
    *,
    deployments: Mapping[str, BeiweResource],
    per_study: LabAssets | None,
    automation: Automation,
    notices: Sequence[Notices],
    options: AssetOptions,
    default_io_manager: bool,
    ask: Ask,
) -> dg.Definitions:
    """The definitions of studies that were found; see ``build_beiwe_definitions``."""
    parts = [dg.Definitions(assets=[build_studies_asset(list(deployments), options, ask=ask)])]
    for study in (translated(each, options.translator) for each in found):
        pool = f"beiwe_{deployments[study.config.deployment].credentials.server_name()}"
        parts.append(_study_definitions(study, replace(options, pool=pool), automation))
        if per_study and study.start:
            parts.append(dg.Definitions(assets=per_study(study)))
    resources = _resources(deployments)
    if default_io_manager:
        resources["io_manager"] = resources[table_io_manager_key(next(iter(deployments)))]
    common = dg.Definitions(resources=resources, sensors=[build_dead_runs_sensor(), *build_notices_sensors(notices)])
    return dg.Definitions.merge(*parts, common)


def default_deployments() -> dict[str, BeiweResource]:
    """One server, with credentials from the environment."""
    return {DEFAULT_DEPLOYMENT: BeiweResource(credentials=credentials_from_environment(os.environ))}


def _study_definitions(study: Study, options: AssetOptions, automation: Automation) -> dg.Definitions:
    """A study's assets with their checks and automation. If its start is not known, only what needs none."""
    running = automation.running
    if study.start is None:
        tables = build_tables(study, options)
        refresh = build_refresh_schedule(study, tables=tables, cron=automation.refresh_cron, running=running)
        return dg.Definitions(assets=tables, schedules=[refresh])
    assets = StudyAssets.of(study, options)
    checks = checks_of(study)
    checks_job = build_checks_job(study, assets.summaries, checks, quality=assets.quality)
    jobs: list[tuple[AssetJob | dg.JobDefinition, str]] = [
        (checks_job, automation.checks_cron),
        (build_report_job(study, assets.report), automation.report_cron),
    ]
    if assets.quality:
        jobs.append((build_quality_job(study, assets.quality), automation.checks_cron))
    if study.config.audit_days:
        jobs.append((build_audit_job(study, options), automation.audit_cron))
    return dg.Definitions(
        assets=assets.all,
        asset_checks=[checks],
        jobs=[job for job, _ in jobs],
        schedules=[
            build_refresh_schedule(
                study, tables=assets.tables, raw_data=assets.raw_data, cron=automation.refresh_cron, running=running
            ),
            *(build_job_schedule(job, cron=cron, running=running) for job, cron in jobs),
        ],
        sensors=[
            build_roster_sensor(study, assets.raw_data, interval_seconds=automation.roster_seconds, running=running),
            build_histories_sensor(
                study, assets.participant, interval_seconds=automation.histories_seconds, running=running
            ),
            build_changes_sensor(
                study, assets.raw_data, checks_job, interval_seconds=automation.changes_seconds, running=running
            ),
        ],
    )


def _resources(deployments: Mapping[str, BeiweResource]) -> dict[str, Any]:
    resources: dict[str, Any] = dict(deployments)
    for name, resource in deployments.items():
        resources[table_io_manager_key(name)] = EncryptedTableIOManager(beiwe=resource)
        resources[lake_io_manager_key(name)] = EncryptedLakeIOManager(beiwe=resource)
    return resources


def check_deployments(configs: Sequence[StudyConfig], deployments: Mapping[str, BeiweResource]) -> None:
    unknown = sorted({config.deployment for config in configs} - deployments.keys())
    if unknown:
        raise ConfigurationError(
            f"There is no deployment {', '.join(unknown)}. Nothing was built. Correct `deployment` in the studies' "
            f"configuration, or add it to the deployments: {', '.join(sorted(deployments)) or 'none'}."
        )
