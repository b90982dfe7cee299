"""How much one evaluation may request."""

from __future__ import annotations

PARTITIONS_PER_RUN = 500
"""Size of a rectangle: long enough to make the five seconds that a run costs by itself small."""

RUNS_PER_TICK = 25
PARTITIONS_PER_TICK = 4_000
"""Dagster submits small runs five in a second, but needs up to 8 s for one of 500 partitions: what is more waits for
the next evaluation."""
