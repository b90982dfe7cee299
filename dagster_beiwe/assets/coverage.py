"""``coverage``: what arrived, by participant, day, and stream, compared with what is expected from the settings.

The checks of the whole study are on this asset.

They are not on ``raw_data``, whose runs cover only a few windows: each run would plan the checks, leave them out, and
so hide the last result.
"""

# Without `from __future__ import annotations`: Dagster reads the types of contexts and outputs when it decorates.

from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

import dagster as dg
import pandas as pd

from dagster_beiwe.assets.coverage_pictures import coverage_pictures
from dagster_beiwe.assets.lineage import SOURCES, column_lineage
from dagster_beiwe.assets.roster import participant_table
from dagster_beiwe.assets.settings import settings_changes, settings_until_now
from dagster_beiwe.assets.study_asset import DEFAULT_OPTIONS, AssetOptions, study_asset, table_output
from dagster_beiwe.coverage import Enrollment, SilenceLimits, enrollments
from dagster_beiwe.coverage.changes import with_changes
from dagster_beiwe.coverage.earlier import NUMBERS
from dagster_beiwe.coverage.frame import enrolled_now
from dagster_beiwe.coverage.measure import Basis, measure_coverage
from dagster_beiwe.coverage.silence import with_limits
from dagster_beiwe.errors import ConfigurationError, EncryptionError, IntegrityError, TableMissingError
from dagster_beiwe.lake import StudyLake
from dagster_beiwe.partitions.definitions import study_windows
from dagster_beiwe.pictures.study_charts import DRAWN_OF_QUALITY
from dagster_beiwe.resource import BeiweResource, resource_of
from dagster_beiwe.studies.roster import roster_rows
from dagster_beiwe.studies.server_counts import counts_in_batches, find_zone
from dagster_beiwe.studies.study import Study
from dagster_beiwe.tables.content import content_version
from dagster_beiwe.tables.store import TableStore


def build_coverage_asset(study: Study, options: AssetOptions = DEFAULT_OPTIONS) -> dg.AssetsDefinition:
    """``beiwe/<key>/coverage``. Its data version changes with what the lake holds, the server counts, or a day ends."""

    @study_asset(
        study,
        "coverage",
        options,
        deps=[study.asset_key(name) for name in ("raw_data", "roster", "settings")],
    )
    def coverage(context: dg.AssetExecutionContext) -> dg.Output[Any]:
        return options.retried(lambda: _output(context, study), context.log)

    return coverage


class _Tables:
    """The study's other tables, as far as this host can read them: coverage does without those that it cannot."""

    def __init__(self, context: dg.AssetExecutionContext, study: Study, lake: StudyLake) -> None:
        self._log, self._study, self._store = context.log, study, TableStore.of_study(lake)
        self._logged: set[tuple[str, type[Exception]]] = set()

    def earlier(self) -> pd.DataFrame | None:
        """What is needed of the last table of coverage."""
        return self._read("coverage", columns=NUMBERS)

    def quality(self) -> pd.DataFrame | None:
        """What is drawn of quality."""
        return self._read("quality", columns=DRAWN_OF_QUALITY)

    def uploads(self, participant: str) -> pd.DataFrame | None:
        """What a participant's phone has uploaded, if that was ever asked."""
        history = self._read("participant", partition=participant, columns=["kind", "stream", "opened"])
        return None if history is None else history[history["kind"] == "upload"]

    def _read(self, name: str, *, columns: Sequence[str], partition: str | None = None) -> pd.DataFrame | None:
        try:
            return self._store.read(self._study.asset_key(name).path, partition=partition, columns=columns)
        except TableMissingError:
            return None
        except (ConfigurationError, EncryptionError, IntegrityError) as error:  # other columns, no key, or damaged
            if (name, type(error)) not in self._logged:  # there is one of each participant
                self._log.warning("Coverage is made without the table %s. %s", name, error)
                self._logged.add((name, type(error)))
            return None


def _output(context: dg.AssetExecutionContext, study: Study) -> dg.Output[Any]:
    resource = resource_of(context, study)
    lake = resource.study_lake(study).at()
    tables = _Tables(context, study, lake)
    frame, roster = _measure(context, study, resource, lake, tables)
    pictures = coverage_pictures(context, study, frame, roster, quality=tables.quality)
    metadata = {**pictures, **_totals(frame), **column_lineage(study, SOURCES["coverage"])}
    return table_output(frame, metadata, version=content_version(frame))


def _totals(frame: pd.DataFrame) -> Mapping[str, int | float]:
    over = frame.loc[frame["state"].isin(["complete", "partial", "missing"]), "state"]
    return {
        "dagster/row_count": len(frame),
        "participants": frame["participant"].nunique(),
        "enrolled": len(enrolled_now(frame)),
        "files": int(frame["files"].sum()),
        "size_bytes": int(frame["lake_bytes"].sum()),
        **({"complete share": round(float((over == "complete").mean()), 3)} if len(over) else {}),
    }


def _measure(
    context: dg.AssetExecutionContext, study: Study, resource: BeiweResource, lake: StudyLake, tables: _Tables
) -> tuple[pd.DataFrame, Mapping[str, Enrollment]]:
    """The table, and the roster that it was made with."""
    now = datetime.now(timezone.utc)
    windows = study_windows(study, now=now)
    with resource.get_client() as client:
        zone = find_zone(study, context.instance, client).zone
        roster = roster_rows(client.participants(study.id), participant_table(client, resource, study, context.log))
        basis = Basis(
            windows=windows,
            streams=client.choose_streams(study.id, study.config.streams),
            roster=enrollments(roster),
            history=settings_until_now(context, client, study, now=now),
            zone=zone,
            now=now,
            uploads=tables.uploads,
        )
        participants = list(dict.fromkeys([*basis.roster, *lake.participants()]))
        counts = counts_in_batches(client, study, zone, windows, participants)
        frame = measure_coverage(lake, basis, counts, earlier=tables.earlier())
        frame = with_limits(frame, SilenceLimits.configured(study.config))
    return with_changes(frame, settings_changes(context.instance, study, zone.zone)), basis.roster
