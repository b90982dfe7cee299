"""Join DataFrames of several partitions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
from pandas.api.types import union_categoricals


def concat(frames: list[pd.DataFrame]) -> pd.DataFrame:
    """Frames one below the other, with their categories joined, which pandas alone would turn into objects."""
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
