"""How much one evaluation may request."""

from __future__ import annotations

PARTITIONS_PER_RUN = 500
"""Size of a rectangle: large enough for the five seconds that a run costs by itself to be small."""

RUNS_PER_TICK = 25
PARTITIONS_PER_TICK = 4_000
"""Dagster submits five small runs a second, but takes up to 8 s for a run of 500 partitions. Further runs wait for the
next evaluation."""

PARTICIPANTS_PER_TICK = 40
PARTICIPANT_RUNS_PER_TICK = 10
"""Participants whose histories one evaluation requests, which is 200 requests, and the runs that they may take: one for
each stretch of neighbors."""
