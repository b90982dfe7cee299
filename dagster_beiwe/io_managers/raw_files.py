"""The IO manager of raw data: a lazy view of the files in the lake."""

from __future__ import annotations

from typing import Any

import dagster as dg

from dagster_beiwe.errors import ConfigurationError
from dagster_beiwe.io_managers.contexts import checked_lake, name_of, upstream_metadata
from dagster_beiwe.io_managers.partition_keys import input_partition_keys, warn_of_partitioned_check
from dagster_beiwe.io_managers.pickles import refuse_pickles
from dagster_beiwe.reading import BeiwePartitions
from dagster_beiwe.resource import BeiweResource
from dagster_beiwe.runs.failures import clear_failures
from dagster_beiwe.studies.study import Study


class EncryptedLakeIOManager(dg.ConfigurableIOManager):
    """Loads the raw data of an asset's partitions as ``BeiwePartitions``: lazily, decrypted, and verified.

    Dagster's partition mapping decides which windows: the same partition, all windows of a participant, all
    participants of a window, or everything for an asset without partitions. ``raw_data`` itself writes to the lake.
    """

    beiwe: BeiweResource

    @clear_failures()
    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        raise ConfigurationError(
            f"{name_of(context)} returned a {type(obj).__name__}, but this IO manager only loads raw data. Nothing was "
            "stored. Give the asset the IO manager for tables (`io_manager_key='beiwe_table_io_manager'`)."
        )

    @clear_failures()
    def load_input(self, context: dg.InputContext) -> BeiwePartitions:
        study = Study.from_metadata(upstream_metadata(context))
        if study is None:
            raise ConfigurationError(
                f"The input {context.name!r} reads an asset that has no Beiwe study in its metadata. Nothing was read. "
                "Let it read the raw_data of a study: `dg.AssetIn(study.asset_key('raw_data'))`."
            )
        refuse_pickles(context)
        lake = checked_lake(self.beiwe, study, context)
        if context.has_asset_partitions:
            warn_of_partitioned_check(context)
            view = BeiwePartitions.of_keys(lake, input_partition_keys(context))
        else:
            # A study of which nothing was committed yet is an empty view, not an error.
            view = BeiwePartitions.of(lake) if lake.exists else BeiwePartitions(lake, ())
        context.log.info(
            "Raw data of %s: %d windows of %d participants, of which the lake holds %d.",
            study.title,
            len(view),
            len(view.participants),
            len(view) - len(view.missing),
        )
        return view
