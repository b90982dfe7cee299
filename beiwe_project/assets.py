"""The lab's own tables, made from raw data: what came per day, of each participant, and in a whole week.

Three shapes of dependency: the same partition, all windows of one participant, all participants of one window. Dagster
infers them from the partitions of the two assets.
``daily_counts`` returns the tables of all partitions of its run at once, so its backfill policy bounds how many these
are. A backfill of both runs it after ``raw_data``; with the policy of ``raw_data`` it would be part of the same run.
Dagster's command ``asset materialize --partition-range`` takes the policy of ``raw_data`` only: backfill
``daily_counts`` in the UI, or give the command one ``--partition``.
"""

# Without `from __future__ import annotations`: Dagster reads the types of inputs when it decorates.

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence

import dagster as dg
import pandas as pd

from dagster_beiwe import BeiwePartitions, Study, raw_data_partitions

TABLES = "beiwe_table_io_manager"
"""Encrypted Parquet in the lake. The study in an asset's metadata decides with which passphrase."""

OWNERS = ["team:data"]
"""Whom to ask about an asset: e-mail addresses, or ``team:`` and a name."""


def lab_assets(study: Study) -> Sequence[dg.AssetsDefinition]:
    """What this lab adds to a study."""
    return [daily_counts(study), participant_files(study), window_overview(study)]


def daily_counts(study: Study) -> dg.AssetsDefinition:
    """Same partition: reads a window's files of two streams, decrypted on the way and never on disk."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)  # backfill policies

        @dg.asset(
            key=["beiwe", study.key, "daily_counts"],
            group_name=study.key,
            kinds={"pandas", "parquet"},
            owners=OWNERS,
            io_manager_key=TABLES,
            metadata=study.to_metadata(),
            description="GPS fixes and answered surveys per participant and day (UTC).",
            partitions_def=raw_data_partitions(study),
            backfill_policy=dg.BackfillPolicy.multi_run(100),
            ins={"raw_data": dg.AssetIn(study.asset_key("raw_data"))},
        )
        def daily(raw_data: BeiwePartitions) -> dict[str, pd.DataFrame]:
            tables = {}
            for key, window in raw_data.items():
                days = {
                    "gps_fixes": window.read("gps", columns=["UTC time"])["UTC time"].dt.date,
                    "surveys": pd.Series([file.time.date() for file in window.files("survey_answers")], dtype=object),
                }
                counts = pd.DataFrame({name: values.value_counts() for name, values in days.items()})
                tables[key] = _daily_table(window.participant, counts)
            return tables

    return daily


def participant_files(study: Study) -> dg.AssetsDefinition:
    """All windows of a participant: from the manifests alone, so nothing is decrypted."""
    grid = raw_data_partitions(study)

    @dg.asset(
        key=["beiwe", study.key, "participant_files"],
        group_name=study.key,
        kinds={"pandas", "parquet"},
        owners=OWNERS,
        io_manager_key=TABLES,
        metadata=study.to_metadata(),
        description="Per stream: number and size of files, first and last hour.",
        partitions_def=grid.get_partitions_def_for_dimension("participant"),
        ins={"raw_data": dg.AssetIn(study.asset_key("raw_data"))},
    )
    def files(raw_data: BeiwePartitions) -> pd.DataFrame:
        listed = [(file.stream, file.time, file.size_bytes or 0) for file in raw_data.files()]
        frame = pd.DataFrame(listed, columns=["stream", "time", "size_bytes"])
        frame["time"] = pd.to_datetime(frame["time"], utc=True)
        grouped = frame.groupby("stream", as_index=False)
        table: pd.DataFrame = grouped.agg(
            files=("time", "size"), size_bytes=("size_bytes", "sum"), first=("time", "min"), last=("time", "max")
        )
        return table

    return files


def window_overview(study: Study) -> dg.AssetsDefinition:
    """All participants of a window: who sent what, from the raw data's manifests alone."""
    grid = raw_data_partitions(study)

    @dg.asset(
        key=["beiwe", study.key, "window_overview"],
        group_name=study.key,
        kinds={"pandas", "parquet"},
        owners=OWNERS,
        io_manager_key=TABLES,
        metadata=study.to_metadata(),
        description="Per participant: files by stream in this window.",
        partitions_def=grid.get_partitions_def_for_dimension("window"),
        ins={"raw_data": dg.AssetIn(study.asset_key("raw_data"))},
    )
    def overview(raw_data: BeiwePartitions) -> pd.DataFrame:
        counts: Mapping[str, Counter[str]] = {participant: Counter() for participant in raw_data.participants}
        for file in raw_data.files():
            counts[file.participant][file.stream] += 1
        sent = sorted({stream for count in counts.values() for stream in count})
        streams = list(dict.fromkeys([*study.config.streams, *sent]))  # the study lists none: then those that came
        rows = [{"participant": who, **dict.fromkeys(streams, 0), **count} for who, count in counts.items()]
        table: pd.DataFrame = pd.DataFrame(rows, columns=["participant", *streams])
        return table

    return overview


def _daily_table(participant: str, counts: pd.DataFrame) -> pd.DataFrame:
    table: pd.DataFrame = counts.sort_index().fillna(0).astype("int64").rename_axis("day").reset_index()
    table["day"] = pd.to_datetime(table["day"])
    table.insert(0, "participant", participant)
    return table
