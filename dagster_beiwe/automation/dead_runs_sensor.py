"""The sensor that ends runs whose process is gone. It is on by default: other runs wait while such a run counts."""

from __future__ import annotations

import dagster as dg

from dagster_beiwe.runs.dead_runs import SilentLooks, end_dead_runs


def build_dead_runs_sensor(*, interval_seconds: int = 60) -> dg.SensorDefinition:
    """The sensor ``beiwe_dead_runs``. A code location needs one."""

    @dg.sensor(
        name="beiwe_dead_runs",
        minimum_interval_seconds=interval_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Marks runs of Beiwe assets as failed if their process is gone, so that no run waits for them.",
    )
    def dead_runs(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        looks = SilentLooks(context.cursor)
        ended = end_dead_runs(context.instance, is_silent=looks)
        context.update_cursor(looks.to_text())
        if ended:
            context.log.warning("Ended runs whose process is gone: %s", ", ".join(ended))
        return dg.SkipReason(f"Ended: {', '.join(ended)}." if ended else "No run is dead.")

    return dead_runs
