"""The IO manager of tables: DataFrames as encrypted Parquet in the lake.

The metadata of an asset's definition (``Study.to_metadata``) says which study it belongs to, and so which passphrase
encrypts it. That holds for a lab's own tables as well::

    @dg.asset(io_manager_key="beiwe_table_io_manager", metadata=study.to_metadata(), partitions_def=...)
    def daily_gps(raw_data: BeiwePartitions) -> pd.DataFrame: ...
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, get_origin

import dagster as dg
import pandas as pd

from dagster_beiwe.errors import ConfigurationError, TableMissingError
from dagster_beiwe.io_managers.contexts import checked_lake, name_of, upstream_metadata
from dagster_beiwe.io_managers.partition_keys import (
    input_partition_keys,
    output_partition_keys,
    warn_of_partitioned_check,
)
from dagster_beiwe.io_managers.pickles import NO_PARTICIPANTS_METADATA_KEY, refuse_pickles
from dagster_beiwe.lake.manifest import TableManifest
from dagster_beiwe.partitions.events import partition_event
from dagster_beiwe.resource import BeiweResource
from dagster_beiwe.runs.dagster_private import COLUMN_SCHEMA
from dagster_beiwe.runs.failures import clear_failures
from dagster_beiwe.studies.study import Study
from dagster_beiwe.tables.partitions import TablePartitions
from dagster_beiwe.tables.store import TableStore, require_passphrase
from dagster_beiwe.text import listed

_ALLOW_MISSING = "allow_missing_partitions"


class EncryptedTableIOManager(dg.ConfigurableIOManager):
    """Stores DataFrames as encrypted Parquet in the lake, one file per partition.

    An input of one partition, or of an asset without partitions, is a DataFrame. An input of several partitions is a
    lazy mapping, ``TablePartitions``. A parameter's annotation chooses the form for any number of partitions:
    ``pd.DataFrame``, ``dict``, ``TablePartitions``, ``polars.LazyFrame``, ``duckdb.DuckDBPyRelation``, or
    ``pyarrow.dataset.Dataset``. Partitions that were never materialized are an error, unless the input's metadata has
    ``allow_missing_partitions``. A run over several partitions returns {partition key: DataFrame}.

    ``build_beiwe_definitions(default_io_manager=True)`` also binds it to ``io_manager``, for assets that name no IO
    manager. The table of an asset whose metadata names no study is encrypted with the lake's own passphrase. Anything
    but a DataFrame is refused and never pickled, and no input is loaded for an asset whose result Dagster would pickle.
    """

    beiwe: BeiweResource

    @clear_failures()
    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        if not context.has_asset_key:
            raise ConfigurationError(
                f"The op {name_of(context)} returned a {type(obj).__name__}, which belongs to no asset and has no "
                "place in the lake. Nothing was stored. Give the op's output an `io_manager_key` of its own, or bind "
                "`io_manager` yourself and write `default_io_manager=False`."
            )
        keys = output_partition_keys(context)
        frames = _frames_by_partition(context, keys, obj)
        key = list(context.asset_key.path)
        store = self._store(key, context.definition_metadata, context)
        written = store.write_all(key, frames, run_id="" if context.run_id is None else context.run_id)
        context.add_output_metadata(_metadata(written.values(), frames.values(), context))
        recorded_by_dagster = set(context.asset_partition_keys) if keys else set()
        for partition in keys:
            if partition not in recorded_by_dagster:
                _record(context, partition, written[str(partition)], frames[str(partition)])

    @clear_failures()
    def load_input(self, context: dg.InputContext) -> Any:
        key, metadata = list(context.asset_key.path), upstream_metadata(context)
        if not metadata.get(NO_PARTICIPANTS_METADATA_KEY):
            refuse_pickles(context)
        store = self._store(key, metadata, context).at()  # all partitions of one state, whatever is written meanwhile
        annotation = context.dagster_type.typing_type
        if not context.has_asset_partitions:
            return _as_annotated(TablePartitions(store, key, [None]), annotation, several=False)
        warn_of_partitioned_check(context)
        wanted = input_partition_keys(context)
        stored = store.partitions(key)
        missing = [each for each in wanted if each not in stored]
        _check_missing(context, key, wanted, missing, mapping=len(wanted) > 1 or _is_mapping(annotation))
        view = TablePartitions(store, key, [each for each in wanted if each in stored], missing=missing)
        return _as_annotated(view, annotation, several=len(wanted) > 1)

    def _store(
        self, asset_key: list[str], metadata: Mapping[str, Any] | None, context: dg.InputContext | dg.OutputContext
    ) -> TableStore:
        study = Study.from_metadata(metadata or {})
        if study is not None:
            return TableStore.of_study(checked_lake(self.beiwe, study, context))
        lake = self.beiwe.get_lake()
        passphrase = self.beiwe.passphrase()
        if passphrase is None and (metadata or {}).get(NO_PARTICIPANTS_METADATA_KEY):
            return TableStore.of_nobody(lake.storage, witness=lake.witness)
        found = require_passphrase(asset_key, passphrase, variable=self.beiwe.passphrase_variable)
        return TableStore.of_lake(lake.storage, passphrase=found, witness=lake.witness)


def _as_annotated(view: TablePartitions, annotation: Any, *, several: bool) -> Any:
    """A table as a parameter's annotation asks for it; without one, a DataFrame of one partition, else the view."""
    if _is_mapping(annotation):
        return view if annotation is TablePartitions else dict(view)
    package = getattr(annotation, "__module__", "").partition(".")[0].lstrip("_")
    match package, getattr(annotation, "__name__", ""):
        case "polars", "LazyFrame":
            return view.to_polars()
        case "pyarrow", "Dataset":
            return view.dataset
        case "duckdb", "DuckDBPyRelation":
            return view.to_duckdb()
        case "pandas", "DataFrame":
            return view.to_pandas()
    return view if several else view.to_pandas()


def _is_mapping(annotation: Any) -> bool:
    return annotation is TablePartitions or annotation is dict or get_origin(annotation) is dict


def _check_missing(
    context: dg.InputContext, key: list[str], wanted: Sequence[str], missing: Sequence[str], *, mapping: bool
) -> None:
    """Raise ``TableMissingError`` unless the input may lack partitions; a single one only as a ``mapping``."""
    name = "/".join(key)
    if missing and not (mapping and (context.definition_metadata or {}).get(_ALLOW_MISSING)):
        raise TableMissingError(
            f"{len(missing)} of {len(wanted)} partitions of {name} were never materialized. Nothing was read. "
            f"Materialize them first ({', '.join(missing[:5])}{', ...' if len(missing) > 5 else ''}), or give the "
            f"input the metadata {{'{_ALLOW_MISSING}': True}}."
        )
    context.log.info("Table %s: %d of %d partitions.", name, len(wanted) - len(missing), len(wanted))


def _frames_by_partition(
    context: dg.OutputContext, partitions: Sequence[str], obj: Any
) -> dict[str | None, pd.DataFrame]:
    """What an asset returned, by partition key; the key is None if the asset has no partitions."""
    keys: list[str | None] = [str(partition) for partition in partitions] or [None]
    frames: dict[Any, Any] = {}
    if isinstance(obj, pd.DataFrame):
        frames = {keys[0]: obj}
    elif isinstance(obj, Mapping):
        frames = {str(key): frame for key, frame in obj.items()}
    if set(frames) == set(keys) and _is_frames(obj):
        return frames
    raise ConfigurationError(f"{name_of(context)} {_what_is_wrong(keys, obj)} Nothing was stored.")


def _what_is_wrong(keys: Sequence[str | None], obj: Any) -> str:
    if keys == [None] or not _is_frames(obj):
        return (
            f"returned a {type(obj).__name__}. Return pandas DataFrames, annotate an asset that returns nothing "
            "`-> None`, or give the asset an `io_manager_key` of its own that writes nothing about participants "
            "unencrypted. An asset that names none has this IO manager only if the project asked for it: "
            "`default_io_manager=False` gives it back the one that it had."
        )
    given = {str(key) for key in obj} if isinstance(obj, Mapping) else set()
    missing = [key for key in map(str, keys) if key not in given]
    foreign = sorted(given - set(map(str, keys)))
    what = f"DataFrames for {len(given)} partitions" if isinstance(obj, Mapping) else "one DataFrame"
    text = f"returned {what}, but this run has {len(keys)} partitions."
    if given and missing:
        text += f" Missing: {listed(missing)}."
    if foreign:
        text += f" Not in this run: {listed(foreign)}."
    return (
        f"{text} Return {{partition key: DataFrame}} for each partition of the run. The keys of an input name them "
        "all; `context.partition_keys` names only the first one in a backfill that a job launched."
    )


def _is_frames(obj: Any) -> bool:
    frames = obj.values() if isinstance(obj, Mapping) else [obj]
    return all(isinstance(frame, pd.DataFrame) for frame in frames)


def _record(context: dg.OutputContext, partition: str, table: TableManifest, frame: pd.DataFrame) -> None:
    """Record a partition that Dagster would not record for this output, with a data version made from its content."""
    metadata = _metadata([table], [frame], context)
    context.log_event(partition_event(context.asset_key, partition, metadata=metadata, version=table.sha256[:16]))


def _metadata(
    tables: Collection[TableManifest], frames: Collection[pd.DataFrame], context: dg.OutputContext
) -> dict[str, Any]:
    """Numbers, and the names and types of columns: never a value. Dagster shows what it knows as the asset's, so the
    rows and the size of a partition have other names."""
    rows, size = "dagster/row_count", "dagster/size_bytes"
    if context.has_asset_partitions:
        rows, size = "dagster/partition_row_count", "size_bytes"
    texts = {**_described(context.definition_metadata), **_described(context.output_metadata)}
    columns = [
        dg.TableColumn(str(name), str(dtype), description=texts.get(str(name)))
        for frame in list(frames)[:1]
        for name, dtype in frame.dtypes.items()
    ]
    return {
        rows: sum(table.rows for table in tables),
        size: sum(table.stored_size_bytes for table in tables),
        COLUMN_SCHEMA: dg.TableSchema(columns),
        "encryption": ", ".join(sorted({table.encryption for table in tables})),
    }


def _described(metadata: Mapping[str, Any] | None) -> dict[str, str | None]:
    """What metadata say of columns: those of an asset's definition, and those that came with the table."""
    found = (metadata or {}).get(COLUMN_SCHEMA)
    schema = found.value if isinstance(found, dg.TableSchemaMetadataValue) else found
    return {column.name: column.description for column in schema.columns} if isinstance(schema, dg.TableSchema) else {}
