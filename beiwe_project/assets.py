"""The lab's own tables, made from raw data: what came per day, of each participant, and in a whole week.

Three shapes of dependency: the same partition, all windows of one participant, all participants of one window. Dagster
infers them from the partitions of the two assets. Each table follows its raw data automatically once the sensor
``lab_tables`` is on, and only where the raw data has new content.

An asset returns the tables of all partitions of its run at once, so the backfill policy bounds how many these are. A
backfill of ``raw_data`` and ``daily_counts`` runs the latter afterwards; with the policy of ``raw_data`` it would be
part of the same run. Dagster's command ``asset materialize --partition-range`` takes the policy of ``raw_data`` only:
backfill ``daily_counts`` in the UI, or give the command one ``--partition``.
"""

# Without `from __future__ import annotations`: Dagster reads the types of inputs when it decorates.

import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import dagster as dg
import pandas as pd

from dagster_beiwe import BeiwePartitions, Study, on_new_content, raw_data_partitions

TABLES = "beiwe_table_io_manager"
"""Encrypted Parquet in the lake. The study in an asset's metadata decides with which passphrase."""

OWNERS = ["team:data"]
"""Whom to ask about an asset: email addresses, or ``team:`` and a name."""


def lab_assets(study: Study) -> Sequence[dg.AssetsDefinition]:
    """What this lab adds to a study."""
    return [daily_counts(study), participant_files(study), window_overview(study)]


def lab_table(
    study: Study, name: str, partitions: dg.PartitionsDefinition, *, description: str
) -> Callable[[Callable[..., Any]], dg.AssetsDefinition]:
    """Decorates a function that makes the tables of some partitions from raw data: {partition key: table}."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)  # backfill policies
        return dg.asset(
            key=["beiwe", study.key, name],
            group_name=study.key,
            kinds={"pandas", "parquet"},
            owners=OWNERS,
            io_manager_key=TABLES,
            metadata=study.to_metadata(),
            description=description,
            partitions_def=partitions,
            backfill_policy=dg.BackfillPolicy.multi_run(100),
            automation_condition=on_new_content(),
            ins={"raw_data": dg.AssetIn(study.asset_key("raw_data"))},
        )


def daily_counts(study: Study) -> dg.AssetsDefinition:
    """Same partition: reads a window's files of two streams, decrypted on the way and never on disk."""

    @lab_table(
        study,
        "daily_counts",
        raw_data_partitions(study),
        description="GPS fixes and answered surveys per participant and day (UTC).",
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

    @lab_table(
        study,
        "participant_files",
        raw_data_partitions(study).get_partitions_def_for_dimension("participant"),
        description="Per stream: number and size of files, first and last hour.",
    )
    def files(raw_data: BeiwePartitions) -> dict[str, pd.DataFrame]:
        listed: dict[str, list[tuple[str, datetime, int]]] = {who: [] for who in raw_data.participants}
        for file in raw_data.files():
            listed[file.participant].append((file.stream, file.time, file.size_bytes or 0))
        return {participant: _files_table(rows) for participant, rows in listed.items()}

    return files


def window_overview(study: Study) -> dg.AssetsDefinition:
    """All participants of a window: who sent what, from the raw data's manifests alone."""

    @lab_table(
        study,
        "window_overview",
        raw_data_partitions(study).get_partitions_def_for_dimension("window"),
        description="Per participant: files by stream in this window.",
    )
    def overview(raw_data: BeiwePartitions) -> dict[str, pd.DataFrame]:
        counts: dict[str, dict[str, Counter[str]]] = {
            window: {participant: Counter() for participant in raw_data.participants} for window in raw_data.windows
        }
        for file in raw_data.files():
            counts[file.window][file.participant][file.stream] += 1
        return {window: _overview_table(study, by_participant) for window, by_participant in counts.items()}

    return overview


def _daily_table(participant: str, counts: pd.DataFrame) -> pd.DataFrame:
    table: pd.DataFrame = counts.sort_index().fillna(0).astype("int64").rename_axis("day").reset_index()
    table["day"] = pd.to_datetime(table["day"])
    table.insert(0, "participant", participant)
    return table


def _files_table(rows: Sequence[tuple[str, datetime, int]]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["stream", "time", "size_bytes"])
    frame["time"] = pd.to_datetime(frame["time"], utc=True)
    table: pd.DataFrame = frame.groupby("stream", as_index=False).agg(
        files=("time", "size"), size_bytes=("size_bytes", "sum"), first=("time", "min"), last=("time", "max")
    )
    return table


def _overview_table(study: Study, counts: Mapping[str, Counter[str]]) -> pd.DataFrame:
    sent = sorted({stream for count in counts.values() for stream in count})
    streams = list(dict.fromkeys([*study.config.streams, *sent]))  # the study lists none: then those that came
    rows = [{"participant": who, **dict.fromkeys(streams, 0), **count} for who, count in counts.items()]
    table: pd.DataFrame = pd.DataFrame(rows, columns=["participant", *streams])
    return table
