"""The project that is measured, and Dagster's history of it in sqlite as ``dagster dev`` has it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime, timedelta, timezone
from pathlib import Path

import dagster as dg
from dagster._core.execution.backfill import PartitionBackfill

from dagster_beiwe import StudyConfig, build_beiwe_definitions
from dagster_beiwe.partitions.definitions import participants_name
from dagster_beiwe.windows import Granularity

SETTINGS = """
telemetry: {enabled: false}
nux: {enabled: false}
compute_logs:
  module: dagster._core.storage.noop_compute_log_manager
  class: NoOpComputeLogManager
"""


def first_day(weeks: int) -> date:
    """The Monday so many weeks back that there are that many weekly windows, the present one among them."""
    today = datetime.now(timezone.utc).date()
    return today - timedelta(days=today.weekday(), weeks=weeks - 1)


def definitions(studies: Sequence[str], *, weeks: int, window: Granularity = "weekly") -> dg.Definitions:
    """The library's own definitions for studies ``s0``, ``s1`` and so on, configured completely."""
    start = first_day(weeks)
    beiwe = build_beiwe_definitions(
        [StudyConfig(study, key=f"s{number}", start=start, window=window) for number, study in enumerate(studies)]
    )
    return dg.Definitions.merge(beiwe, dg.Definitions(executor=dg.in_process_executor))


@contextmanager
def history(participants: Mapping[str, Sequence[str]]) -> Iterator[dg.DagsterInstance]:
    """``DAGSTER_HOME``, with participants of each study as partitions."""
    home = Path(os.environ["DAGSTER_HOME"])
    settings = home / "dagster.yaml"
    if not settings.exists():
        settings.write_text(SETTINGS)
    with dg.DagsterInstance.from_config(str(home)) as instance:
        for study, people in participants.items():
            instance.add_dynamic_partitions(participants_name(study), list(people))
        yield instance


def raw_data(number: int = 0) -> dg.AssetKey:
    return dg.AssetKey(["beiwe", f"s{number}", "raw_data"])


def add_backfill(
    instance: dg.DagsterInstance, built: dg.Definitions, keys: Sequence[str], *, name: str
) -> PartitionBackfill:
    """Request a backfill of raw data, as the button in the UI does."""
    backfill = PartitionBackfill.from_asset_partitions(
        backfill_id=name,
        asset_graph=built.get_repository_def().asset_graph,
        partition_names=keys,
        asset_selection=[raw_data()],
        backfill_timestamp=time.time(),
        tags={},
        dynamic_partitions_store=instance,
        all_partitions=False,
        title=None,
        description=None,
        run_config=None,
    )
    instance.add_backfill(backfill)
    return backfill


def folder_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
