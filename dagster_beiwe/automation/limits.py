"""How much one evaluation may ask for, and how patiently."""

from __future__ import annotations

from dagster_beiwe.client import HttpPolicy

SENSOR_POLICY = HttpPolicy(connect_timeout_seconds=5, read_timeout_seconds=20, attempts=1)
"""A sensor has 60 s for an evaluation: two requests of this patience, and the rest for Dagster's own work."""

PARTITIONS_PER_RUN = 500
"""Size of a rectangle: long enough to make the five seconds that a run costs by itself small."""

RUNS_PER_TICK = 25
PARTITIONS_PER_TICK = 4_000
"""Dagster submits small runs five in a second, but needs up to 8 s for one of 500 partitions: what is more waits for
the next evaluation."""
