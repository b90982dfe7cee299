"""What Dagster's own programs load: the studies named in the environment."""

from __future__ import annotations

import os

import dagster as dg

from benchmarks.scale.project import definitions
from benchmarks.scale.server import STUDY_VARIABLE, WEEKS_VARIABLE, WINDOW_VARIABLE
from dagster_beiwe.windows import check_granularity


@dg.definitions
def defs() -> dg.Definitions:
    window = check_granularity(os.environ.get(WINDOW_VARIABLE, "weekly"))
    return definitions([os.environ[STUDY_VARIABLE]], weeks=int(os.environ[WEEKS_VARIABLE]), window=window)
