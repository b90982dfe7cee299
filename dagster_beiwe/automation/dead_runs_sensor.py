"""Ends runs whose process is gone. It is on from the start: while such a run counts, others wait for it."""

from __future__ import annotations

import dagster as dg

from dagster_beiwe.runs.dead_runs import SilentLooks, end_dead_runs


def build_dead_runs_sensor(*, interval_seconds: int = 60) -> dg.SensorDefinition:
    """The sensor ``beiwe_dead_runs``, of which a code location needs one."""

    @dg.sensor(
        name="beiwe_dead_runs",
        minimum_interval_seconds=interval_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Marks runs with Beiwe assets whose process is gone as failed, so that none waits for them.",
    )
    def dead_runs(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        looks = SilentLooks(context.cursor)
        ended = end_dead_runs(context.instance, is_silent=looks)
        context.update_cursor(looks.to_text())
        if ended:
            context.log.warning("Runs whose process is gone were ended: %s", ", ".join(ended))
        return dg.SkipReason(f"Ended: {', '.join(ended)}." if ended else "No run is dead.")

    return dead_runs
