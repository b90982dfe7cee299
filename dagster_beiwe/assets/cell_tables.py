"""Tables partitioned by participant and window, that a run makes and records one by one.

What fails is one partition's failure. A partition that was recorded with the same inputs is recorded again as it is.
"""

from __future__ import annotations

import hashlib
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import dagster as dg

from dagster_beiwe.assets.provenance import provenance_tags
from dagster_beiwe.assets.study_asset import AssetOptions
from dagster_beiwe.cells import Cell, CellKey
from dagster_beiwe.errors import BeiweError, TableNotMadeError
from dagster_beiwe.partitions.definitions import cell_of
from dagster_beiwe.partitions.events import newest_events, partition_event, version_of
from dagster_beiwe.partitions.run_keys import readable_tags
from dagster_beiwe.reading.raw_files import RawFile
from dagster_beiwe.resource import resource_of
from dagster_beiwe.runs.failures import partly_failed
from dagster_beiwe.runs.remembered_heads import remembered_heads
from dagster_beiwe.studies.study import Study
from dagster_beiwe.tables.store import TableStore

Metadata = Mapping[str, Any]


class CellTables:
    """The partitions of one asset in one run: reads the study's ``lake``, writes to its ``store``, and records.

    ``made_from`` and ``follows`` are assets, as in ``provenance_tags``. ``inputs_tag`` is the tag of what a partition
    was made from. ``of_asset`` is metadata that says the same of each partition.
    """

    def __init__(
        self,
        context: dg.AssetExecutionContext,
        study: Study,
        name: str,
        options: AssetOptions,
        *,
        made_from: Iterable[dg.AssetKey],
        follows: Iterable[dg.AssetKey] = (),
        inputs_tag: str,
        of_asset: Metadata,
    ) -> None:
        self._context, self._study, self._tag = context, study, inputs_tag
        self.key = study.asset_key(name)
        self.lake = resource_of(context, study).study_lake(study)
        self.lake.log.check(remembered_heads(context.instance, study))
        self.store = TableStore.of_study(self.lake)
        self._provenance = provenance_tags(
            context.instance, study, name, options, made_from=made_from, follows=follows, run_id=context.run.run_id
        )
        # It is the same for every partition, and may be long. Dagster shows that of the newest event, so the last of a
        # run has it.
        self._of_asset = of_asset
        self._last: Cell | None = None
        self._recorded: Mapping[str, dg.AssetMaterialization] = {}

    def run(self, keys: Sequence[str], make: Callable[[Cell], None], *, failure: str) -> None:
        """Make each partition, in order of participant and window. Raises a failure that names those that failed;
        ``failure`` says what became of them."""
        instance, run_id = self._context.instance, self._context.run.run_id
        instance.add_run_tags(run_id, readable_tags(map(CellKey.parse, keys)))
        self._recorded = newest_events(instance, self.key, keys)
        cells = sorted(cell_of(self._study, key) for key in keys)
        failed, self._last = [], cells[-1]
        for cell in cells:
            try:
                make(cell)
            except Exception as error:  # noqa: BLE001  # of any kind: it is one partition's failure
                shown = _without_data(error)
                self._context.log.error("%s: %s: %s", cell.key, type(shown).__name__, shown)
                failed.append(str(cell.key))
        if failed:
            raise partly_failed(f"{len(failed)} of {len(keys)} partitions {failure}", failed)

    def record_unchanged(self, cell: Cell, inputs: str, *, notes: Metadata | None = None) -> bool:
        """Record a partition again as it is, if it was recorded with the same inputs; otherwise return False.

        ``notes`` are metadata that are no longer what they were.
        """
        event = self._recorded.get(str(cell.key))
        if event is None or (event.tags or {}).get(self._tag) != inputs:
            return False
        if not self.store.exists(self.key.path, partition=str(cell.key)):
            return False
        self.record(cell, inputs, {**event.metadata, **(notes or {})}, version=version_of(event))
        return True

    def record(self, cell: Cell, inputs: str, metadata: Metadata, *, version: str) -> None:
        """Log the event of a partition at once: it stays recorded if the run dies."""
        own = {name: value for name, value in metadata.items() if name not in self._of_asset}
        metadata = {**own, **self._of_asset} if cell == self._last else own
        tags = {**self._provenance, self._tag: inputs}
        self._context.log_event(partition_event(self.key, cell.key, metadata=metadata, version=version, tags=tags))


def _without_data(error: Exception) -> BeiweError:
    """An error that may be shown: the text of one that nobody foresaw may contain rows."""
    if isinstance(error, BeiweError):
        return error
    place = traceback.extract_tb(error.__traceback__)[-1]
    return TableNotMadeError(
        f"{type(error).__name__} in {Path(place.filename).name}, line {place.lineno}. The partition was not recorded. "
        "Report this to the maintainers of dagster-beiwe: its message is not shown because it may contain data."
    )


_DIGITS: Final = 32


def inputs_of(facts: Iterable[str], files: Iterable[RawFile]) -> str:
    """A hash of all that decides on a partition's rows: facts in their order, and files in any."""
    lines = [*facts, *sorted(f"{file.name} {file.sha256}" for file in files)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:_DIGITS]
