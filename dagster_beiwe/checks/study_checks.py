"""Asset checks of a study: whether the lake is complete, intact, and protected, who is silent, and what changed around
the data.

They look at the whole study, when run from the UI, by the schedule, or by the sensor after its runs.
"""

# Without `from __future__ import annotations`: Dagster reads the types of contexts and configs when it decorates.

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
from pydantic import Field

from dagster_beiwe.assets import DEFAULT_TRANSLATOR, BeiweTranslator, translated
from dagster_beiwe.assets.settings import (
    CHANGES_METADATA,
    FINGERPRINTS_METADATA,
    SHOWN_METADATA,
    current_settings,
    json_before,
)
from dagster_beiwe.assets.translator import study_assets
from dagster_beiwe.checks.comparison import Comparison
from dagster_beiwe.checks.places import Places
from dagster_beiwe.checks.quality import QUALITY_CHECKS, judge_quality
from dagster_beiwe.checks.silence import look_for_silence
from dagster_beiwe.checks.verdicts import (
    Verdict,
    judge_completeness,
    judge_protection,
    judge_roster,
    judge_settings,
    judge_verification,
)
from dagster_beiwe.client import BeiweClient
from dagster_beiwe.errors import BeiweError, RouteMissingError, ServerFailedError
from dagster_beiwe.io_managers.pickles import pickles_below
from dagster_beiwe.lake import StudyLake
from dagster_beiwe.lake.storage.local import LocalStorage
from dagster_beiwe.maintenance.exposure import Exposure, find_exposures
from dagster_beiwe.maintenance.verify import verify_study
from dagster_beiwe.partitions.definitions import participants_name, study_windows
from dagster_beiwe.partitions.events import recorded_participants
from dagster_beiwe.resource import resource_of
from dagster_beiwe.runs.remembered_heads import remembered_heads
from dagster_beiwe.studies.choice import identify_study
from dagster_beiwe.studies.config import StudyConfig
from dagster_beiwe.studies.discovery import StudyMemory
from dagster_beiwe.studies.roster import ids_in_table
from dagster_beiwe.studies.server_counts import all_counts, batches, find_zone
from dagster_beiwe.studies.settings import changed_settings, describe_changes
from dagster_beiwe.studies.study import Study
from dagster_beiwe.sync import DailyIndex, Gap, measure_completeness
from dagster_beiwe.tables.store import TableStore
from dagster_beiwe.text import error_in_words, utc_minute
from dagster_beiwe.windows import Window

CHECKS = {
    "complete": ("coverage", "The lake has the bytes that the server counts, by participant, day, and stream."),
    "intact": (
        "coverage",
        "The log is complete, every file is as it was committed, and no file is missing or unaccounted for.",
    ),
    "protected": (
        "coverage",
        "Everything that should be encrypted is, other users have no access, and nothing is pickled.",
    ),
    "silent": (
        "coverage",
        "Every enrolled participant is sending data, from every stream that the settings lead you to expect.",
    ),
    "roster": ("roster", "Server, partitions, and lake have the same participants, and none is flagged as deleted."),
    "settings": (
        "settings",
        "No setting of the study changed recently. Lists each change with its old and new value, and when it was seen.",
    ),
}
"""{name: (asset that it is shown on, description)}. Those on ``quality`` are in ``dagster_beiwe.checks.quality``."""

_HISTORY = 500
_DATES = "intervention_date"
"""Dates of participants are not settings of the study: they change with every enrollment."""


class ChecksConfig(dg.Config):
    """Options for one run of the checks."""

    verify_share: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Share of the stored files that the check intact reads. Default: the study's verify_share.",
    )
    accept_older: bool = Field(
        default=False,
        description="Let the check intact accept a study that was restored from a backup on purpose.",
    )
    settings_days: int = Field(default=7, ge=1, description="For how many days the check settings warns of a change.")


def build_study_checks(
    study: StudyConfig,
    *,
    state_folder: str | Path | None = None,
    translator: BeiweTranslator = DEFAULT_TRANSLATOR,
) -> dg.AssetChecksDefinition:
    """The checks of one study, for a project that assembles its definitions itself; see ``build_study_assets``.

    Raises ``ConfigurationError`` for a study that is not known.
    """
    found = identify_study(study, StudyMemory(study.deployment, folder=state_folder).studies())
    return checks_of(translated(found, translator))


def checks_of(study: Study) -> dg.AssetChecksDefinition:
    """``complete``, ``intact``, ``protected``, ``silent``, ``roster``, and ``settings`` of a study."""
    rows = {name: ("quality", text) for name, text in QUALITY_CHECKS.items()} if study.config.looked_at else {}
    specs = [
        dg.AssetCheckSpec(name, asset=study.asset_key(asset), description=text)
        for name, (asset, text) in {**CHECKS, **rows}.items()
    ]

    @dg.multi_asset_check(
        name=f"{study.key}_check_data",
        specs=specs,
        can_subset=True,
        required_resource_keys={study.config.deployment},
        description=f"Whether the data of {study.title} is complete, intact, and protected, and who is silent.",
    )
    def checks(context: dg.AssetCheckExecutionContext, config: ChecksConfig) -> Iterator[dg.AssetCheckResult]:
        wanted = {key.name for key in context.selected_asset_check_keys}
        inspection = _Inspection(context, study, config)
        for spec in specs:
            if spec.name in wanted:
                yield inspection.result(spec)

    return checks


class _Inspection:
    """One run of the checks."""

    def __init__(self, context: dg.AssetCheckExecutionContext, study: Study, config: ChecksConfig) -> None:
        self._context, self._study, self._config = context, study, config
        self._instance = context.instance
        self._resource = resource_of(context, study)
        self._now = datetime.now(timezone.utc)
        self._windows = study_windows(study, now=self._now)
        self._participants: Sequence[str] = self._instance.get_dynamic_partitions(participants_name(study.id))

    def result(self, spec: dg.AssetCheckSpec) -> dg.AssetCheckResult:
        """The check's result. A check that can't be made fails, and says why."""
        judge: Mapping[str, Callable[[], Verdict]] = {
            "complete": self._complete,
            "intact": self._intact,
            "protected": self._protected,
            "silent": self._silent,
            "roster": self._roster,
            "settings": self._settings,
            **{name: partial(self._quality, name) for name in QUALITY_CHECKS},
        }
        try:
            verdict = judge[spec.name]()
        except BeiweError as error:
            verdict = Verdict(passed=False, description=f"Could not be checked. {error}")
        return dg.AssetCheckResult(
            asset_key=spec.asset_key,
            check_name=spec.name,
            passed=verdict.passed,
            severity=verdict.severity,
            description=verdict.description,
            metadata=verdict.metadata,
        )

    def _complete(self) -> Verdict:
        lake = self._lake.at()
        days = (self._windows[-1].end - self._windows[0].start).days
        keys = {window.key for window in self._windows}
        with self._resource.get_client() as client:
            zone = find_zone(self._study, self._instance, client).zone
            streams = client.choose_streams(self._study.id, self._study.config.streams)
            on_server = set(client.participants(self._study.id))
            everybody = sorted({*self._participants, *on_server, *lake.participants(skip_damaged=True)})
            found = Comparison(today=self._now.astimezone(zone.zone).date())
            for batch in batches(everybody, days=days):
                try:
                    daily = all_counts(client, self._study, zone, participants=batch)
                except RouteMissingError:
                    return _no_counts()
                part = measure_completeness(lake, daily, participants=batch, windows=self._windows, streams=streams)
                found.add(part, partial(self._reason, lake, daily, streams))
                for participant in on_server.intersection(batch):  # nobody can compare what others have
                    found.add_contents(lake.index(participant), keys)
        return judge_completeness(found, self._places(), zone)

    def _intact(self) -> Verdict:
        share = self._study.config.verify_share if self._config.verify_share is None else self._config.verify_share
        remembered = remembered_heads(self._instance, self._study)
        if self._config.accept_older:
            self._lake.log.accept(remembered, run_id=self._context.run.run_id)
        found = verify_study(self._lake, share=share, remembered=remembered)
        return judge_verification(found, self._places(), share=share, remembered=remembered)

    def _protected(self) -> Verdict:
        lake = self._lake
        share = 1.0 if isinstance(lake.storage, LocalStorage) else self._study.config.verify_share
        found = find_exposures(lake, share=share)
        for path in sorted({path for prefix in self._prefixes() for path in pickles_below(self._instance, prefix)}):
            found.note(Exposure(kind="readable pickle", path=path))
        return judge_protection(found, self._places(), encrypted=self._study.config.encrypted)

    def _silent(self) -> Verdict:
        return look_for_silence(self._study, TableStore.of_study(self._lake), now=self._now)

    def _quality(self, name: str) -> Verdict:
        return judge_quality(name, self._quality_table)

    @cached_property
    def _quality_table(self) -> pd.DataFrame | None:
        return TableStore.of_study(self._lake).find(self._study.asset_key("quality").path)

    def _prefixes(self) -> set[tuple[str, ...]]:
        """What keys of the study's assets begin with, those of a lab's own among them."""
        keys = (self._study.asset_key(name) for name in study_assets(self._study))
        return {("beiwe", self._study.key), *(tuple(key.path[:-1]) for key in keys if len(key.path) > 1)}

    def _roster(self) -> Verdict:
        with self._resource.get_client() as client:
            ids = client.participants(self._study.id)
            table = _ids_in_table(client, self._study)
        return judge_roster(
            ids=ids,
            table=table,
            partitions=self._participants,
            held=self._lake.participants(skip_damaged=True),
            recorded=recorded_participants(self._instance, self._study),
        )

    def _settings(self) -> Verdict:
        key = self._study.asset_key("settings")
        events = self._instance.fetch_materializations(key, limit=_HISTORY).records
        moments = [datetime.fromtimestamp(event.timestamp, timezone.utc) for event in events]
        since = self._now - timedelta(days=self._config.settings_days)
        unrecorded = self._unrecorded_settings() if events else []
        history = _changes(unrecorded, seen=self._now, not_seen=moments[0], recent=True) if unrecorded else []
        for event, seen, not_seen in zip(events, moments, [*moments[1:], None], strict=False):
            metadata = event.asset_materialization.metadata if event.asset_materialization else {}
            changes = getattr(metadata.get(CHANGES_METADATA), "value", None) or []
            history += _changes(changes, seen=seen, not_seen=not_seen, recent=seen > since)
        return judge_settings(
            history,
            days=self._config.settings_days,
            looked_at=moments[0] if moments else None,
            unrecorded=[str(change["setting"]) for change in unrecorded],
        )

    def _unrecorded_settings(self) -> list[dict[str, Any]]:
        """What changed on the server after the settings were last materialized."""
        key = self._study.asset_key("settings")
        with self._resource.get_client() as client:
            snapshot = current_settings(client, self._resource, self._study)
        before = json_before(self._instance, key, FINGERPRINTS_METADATA)
        names = changed_settings(before, snapshot.fingerprints()) if before else []
        shown_before = json_before(self._instance, key, SHOWN_METADATA)
        changes: list[dict[str, Any]] = list(describe_changes(names, shown_before, snapshot.shown()))
        return [change for change in changes if change["setting"] != _DATES]

    @cached_property
    def _lake(self) -> StudyLake:
        return self._resource.study_lake(self._study)

    def _places(self) -> Places:
        asset = self._study.asset_key("raw_data").to_user_string()
        return Places(asset=asset, participants=self._participants, windows=[window.key for window in self._windows])

    def _reason(self, lake: StudyLake, daily: DailyIndex, streams: Sequence[str], gap: Gap) -> str:
        windows = [window for window in self._windows if window.key in gap.windows]
        return _reason(lake, daily, gap, windows, streams)


def _changes(
    changes: Iterable[Mapping[str, Any]], *, seen: datetime, not_seen: datetime | None, recent: bool
) -> list[dict[str, Any]]:
    """Changes of settings, each with when it was seen and when not yet, which is empty after a single look."""
    times = {
        "seen": utc_minute(seen),
        "not yet seen": utc_minute(not_seen) if not_seen else "",
        "recent": recent,
    }
    return [{**change, **times} for change in changes if change["setting"] != _DATES]


def _reason(lake: StudyLake, daily: DailyIndex, gap: Gap, windows: Sequence[Window], streams: Sequence[str]) -> str:
    """Why a day differs from the server's count, as far as the lake can tell."""
    index, secret = lake.index(gap.participant), lake.counts_secret(gap.participant)
    for window in windows:
        manifest = lake.manifest(gap.participant, window)
        if manifest is None:
            return "never fetched"
        if manifest.failures:
            errors = {error_in_words(failure.error) for failure in manifest.failures}
            return f"could not be fetched: {', '.join(sorted(errors))}"
        if not daily.agrees(index[window.key].counts, gap.participant, window, streams, secret):
            return "changed since it was fetched"
    if gap.server_bytes < gap.lake_bytes:
        return "more held than counted: deleted or lost on the server, or not counted yet"
    return "gap or out-of-range file" if gap.cut else "counted but not sent by the server"


def _ids_in_table(client: BeiweClient, study: Study) -> list[str] | None:
    try:
        return ids_in_table(client.participant_table(study.id))
    except (RouteMissingError, ServerFailedError):
        return None


def _no_counts() -> Verdict:
    return Verdict(
        passed=False,
        severity=dg.AssetCheckSeverity.WARN,
        description=(
            "Unknown: this server is older than June 2024 and does not count bytes per day. The schedule fetches the "
            "newest windows again."
        ),
    )
