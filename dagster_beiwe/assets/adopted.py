"""Record windows of raw data that a command brought into the lake, as a run of ``raw_data`` would have."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import dagster as dg

from dagster_beiwe.assets.provenance import raw_provenance
from dagster_beiwe.assets.study_asset import AssetOptions
from dagster_beiwe.assets.translator import BeiweTranslator, BeiweTranslatorData
from dagster_beiwe.assets.window_events import window_metadata
from dagster_beiwe.cells import Cell
from dagster_beiwe.lake import StudyLake
from dagster_beiwe.partitions.definitions import participants_name
from dagster_beiwe.partitions.events import partition_event
from dagster_beiwe.studies.study import Study
from dagster_beiwe.sync import WindowReport
from dagster_beiwe.sync.results import held_report


class _AsDefined(BeiweTranslator):
    """Gives the spec that the project's own translator has given."""

    def __init__(self, spec: dg.AssetSpec) -> None:
        self._spec = spec

    def get_asset_spec(self, data: BeiweTranslatorData) -> dg.AssetSpec:  # noqa: ARG002 - there is one asset
        return self._spec


class AdoptedWindows:
    """Records windows of one study in Dagster's history, each with its metadata and data version.

    ``spec`` is that of the study's ``raw_data``, ``run_id`` what the lake calls the run that committed them.
    """

    def __init__(
        self, instance: dg.DagsterInstance, study: Study, spec: dg.AssetSpec, lake: StudyLake, *, run_id: str
    ) -> None:
        self._instance, self._study, self._lake = instance, study, lake
        self._key = study.asset_key("raw_data")
        options = AssetOptions(translator=_AsDefined(spec))
        self._provenance = raw_provenance(instance, study, "raw_data", options, run_id=run_id)
        self._recorded = set(instance.get_materialized_partitions(self._key))
        self._before = lake.at()

    def add_participants(self, participants: Sequence[str]) -> None:
        """Make participants partitions, in this order, after those that are."""
        name = participants_name(self._study.id)
        known = set(self._instance.get_dynamic_partitions(name))
        if added := [each for each in participants if each not in known]:
            self._instance.add_dynamic_partitions(name, added)

    def record(self, report: WindowReport) -> None:
        """Record a window that was just committed, unless it was complete before, and nothing has changed."""
        before = self._before.index(report.cell.participant).get(report.cell.window.key)
        is_known = before is not None and before.complete and str(report.cell.key) in self._recorded
        if is_known and not report.changes_anything:
            return
        metadata = window_metadata(report, self._lake)
        event = partition_event(
            self._key, report.cell.key, metadata=metadata, version=report.data_version, tags=self._provenance
        )
        self._instance.report_runless_asset_event(event)
        self._recorded.add(str(report.cell.key))

    def record_held(self, cells: Iterable[Cell]) -> None:
        """Record complete windows of the lake that Dagster does not know.

        An adoption that was killed between the commit and the record has left one, and one without Dagster all.
        """
        lake = self._lake.at()
        for cell in cells:
            if str(cell.key) not in self._recorded:
                version = lake.index(cell.participant)[cell.window.key]
                manifest = lake.manifest_of(cell.participant, cell.window.key, version)
                self.record(held_report(cell, manifest, record=version.at))
