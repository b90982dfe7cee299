"""IO managers: raw data as a lazy view, DataFrames as encrypted Parquet: a skin over ``reading`` and ``lake.tables``.

Which study an asset belongs to, and so which passphrase, comes from the metadata of its definition
(``Study.to_metadata``), for tables of a lab as well::

    @dg.asset(io_manager_key="beiwe_table_io_manager", metadata=study.to_metadata(), partitions_def=...)
    def daily_gps(raw_data: BeiwePartitions) -> pd.DataFrame: ...
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, get_origin

import dagster as dg
import pandas as pd
from pandas.api.types import union_categoricals

from dagster_beiwe.errors import ConfigurationError, TableMissingError
from dagster_beiwe.io_managers.partition_keys import (
    input_partition_keys,
    output_partition_keys,
    tell_of_partitioned_check,
)
from dagster_beiwe.io_managers.pickles import NO_PARTICIPANTS_METADATA_KEY, refuse_pickles
from dagster_beiwe.lake import StudyLake
from dagster_beiwe.lake.manifest import TableManifest
from dagster_beiwe.partitions.definitions import partition_event
from dagster_beiwe.reading import BeiwePartitions
from dagster_beiwe.resource import BeiweResource
from dagster_beiwe.runs.failures import clear_failures, listed
from dagster_beiwe.runs.remembered_heads import remembered_heads
from dagster_beiwe.studies.study import Study
from dagster_beiwe.tables.store import TableStore, require_passphrase

_ALLOW_MISSING = "allow_missing_partitions"


class EncryptedLakeIOManager(dg.ConfigurableIOManager):
    """Gives downstream assets the raw data of their partitions as ``BeiwePartitions``: lazily, decrypted, verified.

    Which windows: those that Dagster's partition mapping says, so the same partition, all windows of a participant, all
    participants of a window, or everything for an asset without partitions. ``raw_data`` writes to the lake itself.
    """

    beiwe: BeiweResource

    @clear_failures()
    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        raise ConfigurationError(
            f"Expected only raw data of Beiwe studies under this IO manager, got a {type(obj).__name__} of "
            f"{_name(context)}; nothing was stored. raw_data writes to the lake by itself; give tables the IO manager "
            "for tables (`io_manager_key='beiwe_table_io_manager'`)."
        )

    @clear_failures()
    def load_input(self, context: dg.InputContext) -> BeiwePartitions:
        study = Study.from_metadata(_upstream_metadata(context))
        if study is None:
            raise ConfigurationError(
                f"Expected the raw_data of a Beiwe study as input {context.name!r}, got an asset without a study in "
                "its metadata; nothing was read. Depend on ['beiwe', <study key>, 'raw_data']."
            )
        refuse_pickles(context)
        lake = _as_remembered(self.beiwe.study_lake(study), study, context)
        if context.has_asset_partitions:
            tell_of_partitioned_check(context)
            view = BeiwePartitions.of_keys(lake, input_partition_keys(context))
        else:
            # Before anything of the study was committed, everything is nothing.
            view = BeiwePartitions.of(lake) if lake.exists else BeiwePartitions(lake, ())
        context.log.info(
            "Raw data of %s: %d windows of %d participants, of which the lake holds %d.",
            study.title,
            len(view),
            len(view.participants),
            len(view) - len(view.missing),
        )
        return view


def _as_remembered(lake: StudyLake, study: Study, context: dg.InputContext | dg.OutputContext) -> StudyLake:
    """The lake, once it is certain that it has all that Dagster has seen of it.

    A context that somebody has made by hand may know no history: then nobody remembers.
    """
    instance = None
    with suppress(dg.DagsterInvariantViolationError):
        instance = context.instance if isinstance(context, dg.InputContext) else context.step_context.instance
    if instance is not None:
        lake.log.check(remembered_heads(instance, study))
    return lake


class TablePartitions(Mapping[str, pd.DataFrame]):
    """Several partitions of a table: {partition key: DataFrame}; each is read when it is asked for, and not kept."""

    def __init__(self, store: TableStore, asset_key: list[str], keys: list[str]) -> None:
        self._store, self._asset_key, self._keys = store, asset_key, dict.fromkeys(keys)

    def __getitem__(self, key: str) -> pd.DataFrame:
        if str(key) not in self._keys:
            raise KeyError(key)
        return self._store.read(self._asset_key, partition=str(key))

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)

    def __repr__(self) -> str:
        return f"<TablePartitions of {'/'.join(self._asset_key)}: {len(self)} partitions>"

    def concat(self) -> pd.DataFrame:
        """All partitions in one DataFrame, in the order of their keys."""
        return _concat([self[key] for key in self])


class EncryptedTableIOManager(dg.ConfigurableIOManager):
    """Stores DataFrames as encrypted Parquet in the lake, one file per partition.

    An input of one partition (or an asset without partitions) is a DataFrame. An input of several is a lazy mapping
    ``TablePartitions``; one DataFrame of all of them if the parameter is annotated ``pd.DataFrame``. One that is
    annotated as ``TablePartitions`` or a dict is that for any number of partitions. Partitions that were never
    materialised are an error, unless the input's metadata says ``allow_missing_partitions``. A run over several
    partitions returns {partition key: DataFrame}.

    ``build_beiwe_definitions(default_io_manager=True)`` binds it to ``io_manager`` too, for assets that name none. A
    table of an asset whose metadata names no study is encrypted with the lake's own passphrase. Anything but DataFrames
    is refused, never pickled; and no input is read for an asset whose result Dagster would pickle.
    """

    beiwe: BeiweResource

    @clear_failures()
    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        if not context.has_asset_key:
            raise ConfigurationError(
                f"The op {_name(context)} returned a {type(obj).__name__}, which belongs to no asset and has no place "
                "in the lake. Nothing was stored. Give the op's output an `io_manager_key` of its own, or bind "
                "`io_manager` yourself and leave out `default_io_manager=True`."
            )
        keys = output_partition_keys(context)
        frames = _frames_by_partition(context, keys, obj)
        key = list(context.asset_key.path)
        store = self._store(key, context.definition_metadata, context)
        run_id = "" if context.run_id is None else context.run_id
        written = store.write_all(key, frames, run_id=run_id)
        context.add_output_metadata(_metadata(written.values(), frames.values(), context.definition_metadata))
        told = set(context.asset_partition_keys) if keys else set()
        for partition in keys:
            if partition not in told:
                _record(context, partition, written[str(partition)], frames[str(partition)])

    @clear_failures()
    def load_input(self, context: dg.InputContext) -> Any:
        key, metadata = list(context.asset_key.path), _upstream_metadata(context)
        if not metadata.get(NO_PARTICIPANTS_METADATA_KEY):
            refuse_pickles(context)
        store = self._store(
            key, metadata, context
        ).at()  # all partitions as they are now, whatever is written meanwhile
        if not context.has_asset_partitions:
            return store.read(key)
        tell_of_partitioned_check(context)
        wanted = input_partition_keys(context)
        annotation = context.dagster_type.typing_type
        as_dict = annotation is dict or get_origin(annotation) is dict
        if len(wanted) == 1 and not as_dict and annotation is not TablePartitions:
            return store.read(key, partition=wanted[0])
        stored = store.partitions(key)
        there, absent = ([each for each in wanted if (each in stored) is here] for here in (True, False))
        if absent and not (context.definition_metadata or {}).get(_ALLOW_MISSING):
            raise TableMissingError(
                f"Expected {len(wanted)} partitions of {'/'.join(key)}, got {len(there)}; nothing was read. "
                f"Materialise the others first ({', '.join(absent[:5])}{', ...' if len(absent) > 5 else ''}), or give "
                f"the input the metadata {{'{_ALLOW_MISSING}': True}}."
            )
        context.log.info("Table %s: %d of %d partitions.", "/".join(key), len(there), len(wanted))
        view = TablePartitions(store, key, there)
        if annotation is pd.DataFrame:
            return view.concat()
        return dict(view) if as_dict else view

    def _store(
        self, asset_key: list[str], metadata: Mapping[str, Any] | None, context: dg.InputContext | dg.OutputContext
    ) -> TableStore:
        study = Study.from_metadata(metadata or {})
        if study is not None:
            return TableStore.of_study(_as_remembered(self.beiwe.study_lake(study), study, context))
        lake = self.beiwe.get_lake()
        passphrase = self.beiwe.passphrase()
        if passphrase is None and (metadata or {}).get(NO_PARTICIPANTS_METADATA_KEY):
            return TableStore.of_nobody(lake.storage, witness=lake.witness)
        found = require_passphrase(asset_key, passphrase, variable=self.beiwe.passphrase_variable)
        return TableStore.of_lake(lake.storage, passphrase=found, witness=lake.witness)


def _frames_by_partition(
    context: dg.OutputContext, partitions: Sequence[str], obj: Any
) -> dict[str | None, pd.DataFrame]:
    """What an asset returned, by partition key (None: it has no partitions)."""
    keys: list[str | None] = [str(partition) for partition in partitions] or [None]
    frames: dict[Any, Any] = {}
    if isinstance(obj, pd.DataFrame):
        frames = {keys[0]: obj}
    elif isinstance(obj, Mapping):
        frames = {str(key): frame for key, frame in obj.items()}
    if set(frames) == set(keys) and _is_frames(obj):
        return frames
    raise ConfigurationError(f"{_name(context)} {_what_is_wrong(keys, obj)} Nothing was stored.")


def _what_is_wrong(keys: Sequence[str | None], obj: Any) -> str:
    if keys == [None] or not _is_frames(obj):
        return (
            f"returned a {type(obj).__name__}. Return pandas DataFrames, annotate an asset that returns nothing "
            "`-> None`, or give the asset an `io_manager_key` of its own that writes nothing about participants "
            "unencrypted."
        )
    given = {str(key) for key in obj} if isinstance(obj, Mapping) else set()
    absent = [key for key in map(str, keys) if key not in given]
    foreign = sorted(given - set(map(str, keys)))
    what = f"DataFrames for {len(given)} partitions" if isinstance(obj, Mapping) else "one DataFrame"
    text = f"returned {what}, but this run is about {len(keys)}."
    if given and absent:
        text += f" Missing: {listed(absent)}."
    if foreign:
        text += f" Not of this run: {listed(foreign)}."
    return (
        f"{text} Return {{partition key: DataFrame}} for each partition of the run. The keys of an input name them "
        "all; `context.partition_keys` names only the first one in a backfill that a job launched."
    )


def _is_frames(obj: Any) -> bool:
    frames = obj.values() if isinstance(obj, Mapping) else [obj]
    return all(isinstance(frame, pd.DataFrame) for frame in frames)


def _record(context: dg.OutputContext, partition: str, table: TableManifest, frame: pd.DataFrame) -> None:
    """A partition that Dagster itself would not record for this output. Its data version is made from its content."""
    metadata = _metadata([table], [frame], context.definition_metadata)
    context.log_event(partition_event(context.asset_key, partition, metadata=metadata, version=table.sha256[:16]))


def _metadata(
    tables: Collection[TableManifest], frames: Collection[pd.DataFrame], definition: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Numbers, and the names and types of columns: never a value."""
    known = (definition or {}).get("dagster/column_schema")
    texts = {column.name: column.description for column in known.columns} if isinstance(known, dg.TableSchema) else {}
    columns = [
        dg.TableColumn(str(name), str(dtype), description=texts.get(str(name)))
        for frame in list(frames)[:1]
        for name, dtype in frame.dtypes.items()
    ]
    return {
        "dagster/row_count": sum(table.rows for table in tables),
        "dagster/size_bytes": sum(table.stored_size_bytes for table in tables),
        "dagster/column_schema": dg.TableSchema(columns),
        "encryption": ", ".join(sorted({table.encryption for table in tables})),
    }


def _concat(frames: list[pd.DataFrame]) -> pd.DataFrame:
    """One after the other; categories are joined, where pandas alone would fall back to objects."""
    for name in frames[0].columns if frames else ():
        parts = [frame[name] for frame in frames if name in frame]
        if len(parts) == len(frames) and _can_join_categories([part.dtype for part in parts]):
            dtype = union_categoricals(parts, sort_categories=False).dtype
            frames = [frame.assign(**{name: frame[name].astype(dtype)}) for frame in frames]
    numbered = all(isinstance(frame.index, pd.RangeIndex) for frame in frames)
    joined: pd.DataFrame = pd.concat(frames, ignore_index=numbered) if frames else pd.DataFrame()
    return joined


def _can_join_categories(dtypes: Sequence[Any]) -> bool:
    """Categories of one type without an order, or the same ones: anything else has no union."""
    if not all(isinstance(dtype, pd.CategoricalDtype) for dtype in dtypes):
        return False
    unordered = not any(dtype.ordered for dtype in dtypes)
    return len(set(dtypes)) == 1 or (unordered and len({dtype.categories.dtype for dtype in dtypes}) == 1)


def _upstream_metadata(context: dg.InputContext) -> Mapping[str, Any]:
    upstream = context.upstream_output
    return (upstream.definition_metadata if upstream else None) or {}


def _name(context: dg.OutputContext) -> str:
    return "/".join(context.asset_key.path) if context.has_asset_key else context.name
