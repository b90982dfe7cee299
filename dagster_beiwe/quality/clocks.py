"""Find phones whose clock is off, from when their files reached the server. Pure.

A phone names each file by its own clock when it opens it, and uploads it later: so a file is never younger than its
upload, and a phone that uploads also sends what it has recorded lately.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import tzinfo
from typing import Final, cast

import numpy as np
import pandas as pd

UPLOAD_COLUMNS: Final = ("kind", "time", "stream", "opened")
"""Columns of ``participant``: of an upload, when it reached the server, its stream, and when the phone opened it."""

UPLOAD_COUNTS: Final = ("uploaded_ahead", "uploaded_behind")

CLOCKS_AGREE: Final = pd.Timedelta(minutes=10)
"""A smaller difference between clocks does not count."""

_ALL_OLD: Final = pd.Timedelta(days=1)
_MANY: Final = 20
"""A phone that uploads so many files on a day, and none that is younger, has a clock that is behind."""


def off_by_uploads(history: pd.DataFrame, zone: tzinfo) -> pd.DataFrame:
    """By study-local day (of the phone's clock) and stream, files that were uploaded before the time that they are
    dated at, and those of uploads in which everything was old. ``history`` has the columns ``UPLOAD_COLUMNS``."""
    uploads = history[history["kind"] == "upload"].dropna(subset=list(UPLOAD_COLUMNS))
    age = uploads["time"] - uploads["opened"]
    on = age.groupby(uploads["time"].dt.floor("D"))
    behind = (on.transform("min") > _ALL_OLD) & (on.transform("size") >= _MANY)
    day = uploads["opened"].dt.tz_convert(zone).dt.tz_localize(None).dt.normalize().astype("datetime64[s]")
    counts = pd.DataFrame(
        {"day": day, "stream": uploads["stream"], "uploaded_ahead": age < -CLOCKS_AGREE, "uploaded_behind": behind}
    )
    found = counts.groupby(["day", "stream"], observed=True)[[*UPLOAD_COUNTS]].sum()
    return cast("pd.DataFrame", found[found.any(axis=1)].reset_index())


def with_clocks(days: pd.DataFrame, histories: Mapping[str, pd.DataFrame], zone: tzinfo) -> pd.DataFrame:
    """The days with what the uploads of {participant: history} say of clocks."""
    found = [off_by_uploads(history, zone).assign(participant=each) for each, history in histories.items()]
    if not any(len(each) for each in found):
        return days
    keys = ["participant", "day", "stream"]
    plain = days.astype({"participant": "string", "stream": "string"})
    counts = plain[keys].merge(pd.concat(found, ignore_index=True), on=keys, how="left")[[*UPLOAD_COUNTS]].fillna(0)
    ahead = np.maximum(days["dated_ahead"].to_numpy(), counts["uploaded_ahead"].to_numpy())
    return cast("pd.DataFrame", days.assign(dated_ahead=ahead, dated_behind=counts["uploaded_behind"].to_numpy()))
