"""Several partitions of a table: read one by one, or joined."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd
from pandas.api.types import union_categoricals

from dagster_beiwe.tables.store import TableStore


class TablePartitions(Mapping[str, pd.DataFrame]):
    """Several partitions of a table: {partition key: DataFrame}. Each is read when it is accessed, and not kept."""

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


def _concat(frames: list[pd.DataFrame]) -> pd.DataFrame:
    """Concatenate frames and join their categories, which pandas alone would turn into objects."""
    for name in frames[0].columns if frames else ():
        parts = [frame[name] for frame in frames if name in frame]
        if len(parts) == len(frames) and _can_join_categories([part.dtype for part in parts]):
            dtype = union_categoricals(parts, sort_categories=False).dtype
            frames = [frame.assign(**{name: frame[name].astype(dtype)}) for frame in frames]
    numbered = all(isinstance(frame.index, pd.RangeIndex) for frame in frames)
    joined: pd.DataFrame = pd.concat(frames, ignore_index=numbered) if frames else pd.DataFrame()
    return joined


def _can_join_categories(dtypes: Sequence[Any]) -> bool:
    """Whether categories have a union: they are the same, or unordered and of one type."""
    if not all(isinstance(dtype, pd.CategoricalDtype) for dtype in dtypes):
        return False
    unordered = not any(dtype.ordered for dtype in dtypes)
    return len(set(dtypes)) == 1 or (unordered and len({dtype.categories.dtype for dtype in dtypes}) == 1)
