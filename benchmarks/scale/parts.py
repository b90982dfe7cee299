"""The measurements, each run in a process of its own: ``python -m benchmarks.scale.parts NAME JSON``."""

from __future__ import annotations

import json
import logging
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from benchmarks.scale.pools import request_backfill, wait_for_runs
from benchmarks.scale.process import Stopwatch

Facts = dict[str, Any]


def empty_project() -> Facts:
    """What any project costs: importing Dagster with its storage, as code servers do, and one small asset."""
    with Stopwatch() as watch:
        import dagster as dg

        dg.DagsterInstance.ephemeral().dispose()

        @dg.asset
        def one() -> None: ...

        dg.Definitions(assets=[one], executor=dg.in_process_executor).get_repository_def().load_all_definitions()
    return watch.facts()


def load(studies: Sequence[str], weeks: int) -> Facts:
    """The same with this package and many studies, and what the code server then hands to the webserver."""
    with Stopwatch() as watch:
        import dagster as dg

        from benchmarks.scale.project import definitions

        dg.DagsterInstance.ephemeral().dispose()
        repository = definitions(studies, weeks=weeks).get_repository_def()
        repository.load_all_definitions()
    return watch.facts() | {"assets": len(list(repository.asset_graph.get_all_asset_keys()))}


def ticks(studies: Sequence[str], weeks: int) -> Facts:
    """Every sensor and schedule, evaluated twice: with everything new, and with nothing new. Sums over the studies, and
    the slowest of them."""
    import dagster as dg

    from benchmarks.scale.project import definitions, history

    repository = definitions(studies, weeks=weeks).get_repository_def()
    resources = repository.get_top_level_resources()
    found: Facts = {}

    def add(name: str, turn: str, watch: Stopwatch, runs: int) -> None:
        facts = found.setdefault(re.sub(r"^s\d+_", "", name), {}).setdefault(turn, {"runs": 0, "slowest_seconds": 0.0})
        facts.update({clock: facts.get(clock, 0.0) + seconds for clock, seconds in watch.facts().items()})
        facts["runs"] += runs
        facts["slowest_seconds"] = max(facts["slowest_seconds"], watch.seconds)

    with history({}) as instance:
        # The one that makes participants partitions goes first, or there is nothing for the others.
        for sensor in sorted(repository.sensor_defs, key=lambda each: not each.name.endswith("_participants")):
            cursor = None
            for turn in ("first", "next"):
                with (
                    Stopwatch() as watch,
                    dg.build_sensor_context(
                        instance=instance,
                        cursor=cursor,
                        resources={name: resources[name] for name in sensor.required_resource_keys},
                        repository_def=repository,
                    ) as context,
                ):
                    result = sensor.evaluate_tick(context)
                cursor = result.cursor
                for request in result.dynamic_partitions_requests or ():
                    instance.add_dynamic_partitions(request.partitions_def_name, list(request.partition_keys))
                add(sensor.name, turn, watch, len(result.run_requests or ()))
        for schedule in repository.schedule_defs:
            moment = datetime.now(timezone.utc)
            with (
                Stopwatch() as watch,
                dg.build_schedule_context(
                    instance=instance, scheduled_execution_time=moment, repository_def=repository
                ) as scheduled,
            ):
                runs = schedule.evaluate_tick(scheduled).run_requests or ()
            add(f"{schedule.name} (schedule)", "next", watch, len(runs))
    return found


def backfills(study: str, participants: int, weeks: int) -> Facts:
    """The daemon's first iteration of a backfill, which decides which runs there are."""
    from dagster._core.asset_graph_view.asset_graph_view import AssetGraphView
    from dagster._core.definitions.temporal_context import TemporalContext
    from dagster._core.execution.asset_backfill import AssetBackfillData, execute_asset_backfill_iteration_inner

    from benchmarks.scale.project import definitions, first_day, history, raw_data
    from benchmarks.scale.selections import selections
    from dagster_beiwe.automation.limits import PARTITIONS_PER_RUN
    from dagster_beiwe.cells import CellKey
    from dagster_beiwe.partitions.rectangles import cover

    graph = definitions([study], weeks=weeks).get_repository_def().asset_graph
    people = [f"p{number:05}" for number in range(participants)]
    windows = [(first_day(weeks) + timedelta(weeks=number)).isoformat() for number in range(weeks)]
    found: Facts = {}
    with history({study: people}) as instance:
        for name, keys in selections(people, windows).items():
            now = datetime.now(timezone.utc)
            with Stopwatch() as asked:
                data = AssetBackfillData.from_asset_partitions(
                    asset_graph=graph,
                    partition_names=keys,
                    asset_selection=[raw_data()],
                    dynamic_partitions_store=instance,
                    all_partitions=False,
                    backfill_start_timestamp=now.timestamp(),
                )
            view = AssetGraphView(
                temporal_context=TemporalContext(effective_dt=now, last_event_id=None),
                instance=instance,
                asset_graph=graph,
            )
            with Stopwatch() as watch:
                result = execute_asset_backfill_iteration_inner(
                    "benchmark", data, view, now.timestamp(), logging.getLogger("benchmark"), None
                )
            with Stopwatch() as covering:
                cells = set(map(CellKey.parse, keys))
                ours = cover(cells, participants=people, windows=windows, largest=PARTITIONS_PER_RUN)
            found[name] = watch.facts() | {
                "partitions": len(keys),
                "runs": len(result.run_requests),
                "rectangles": len(ours),
                "covering_seconds": covering.cpu_seconds,
                "asked_seconds": asked.seconds,
            }
    return found


def sync(study: str, people: Sequence[str], weeks: int) -> Facts:
    """The transfers alone: what a run does, without Dagster."""
    cells = _cells(people, weeks)
    with Stopwatch() as watch:
        facts, reports = _sync(study, cells), 0
        for report in facts:
            assert report.complete
            reports += 1
    return watch.facts() | {"partitions": reports}


def run(study: str, people: Sequence[str], weeks: int) -> Facts:
    """One run over all partitions: how long Dagster takes to create it, to execute it, and what its history weighs."""
    import dagster as dg
    from dagster._core.definitions.job_base import InMemoryJob
    from dagster._core.execution.api import execute_run

    from benchmarks.scale.project import definitions, folder_bytes, history, raw_data
    from dagster_beiwe.partitions.run_keys import rectangle_tags

    partitions = len(people) * weeks
    windows = sorted({cell.window.key for cell in _cells(people[:1], weeks)})
    built = definitions([study], weeks=weeks)
    key = raw_data()
    job = built.resolve_implicit_job_def_def_for_assets([key])
    assert job is not None
    home = Path(os.environ["DAGSTER_HOME"])
    with history({study: people}) as instance:
        subset = job.get_subset(asset_selection={key})
        before = folder_bytes(home)
        with Stopwatch() as created:
            planned = instance.create_run_for_job(
                subset, tags=rectangle_tags(people, windows), asset_selection=frozenset({key})
            )
        between = folder_bytes(home)
        with Stopwatch() as executed:
            events = list(_quietly(lambda: execute_run(InMemoryJob(subset), planned, instance)).all_events)
        recorded = sum(event.event_type == dg.DagsterEventType.ASSET_MATERIALIZATION for event in events)
        assert recorded == partitions, f"{recorded} of {partitions} recorded"
        after = folder_bytes(home)
    return {
        "partitions": partitions,
        "created": created.facts(),
        "executed": executed.facts(),
        "planned_bytes": between - before,
        "recorded_bytes": after - between,
    }


def events(count: int) -> Facts:
    """Recording alone: the smallest event that Dagster can be given, one per partition."""
    import dagster as dg

    from benchmarks.scale.project import history

    @dg.op
    def record(context):  # type: ignore[no-untyped-def]  # Dagster looks its type up where `dg` is not known
        with Stopwatch() as watch:
            for number in range(count):
                context.log_event(dg.AssetMaterialization(asset_key="measured", partition=str(number)))
        found.update(watch.facts())

    @dg.job(executor_def=dg.in_process_executor)
    def recording() -> None:
        record()

    found: Facts = {"partitions": count}
    with history({}) as instance:
        _quietly(lambda: recording.execute_in_process(instance=instance))
    return found


def fill(study: str, person: str, participants: int) -> Facts:
    """A long history, and what the daemon's iterations take with it."""
    from benchmarks.scale.long_history import fill

    return _quietly(lambda: fill(study, person, participants))  # type: ignore[no-any-return]


def _cells(people: Sequence[str], weeks: int) -> list[Any]:
    from benchmarks.scale.project import first_day
    from dagster_beiwe.sync import Cell
    from dagster_beiwe.windows import windows_between

    start = datetime.combine(first_day(weeks), datetime.min.time(), timezone.utc)
    windows = list(windows_between("weekly", start, start + timedelta(weeks=weeks)))
    return [Cell(person, window) for person in people for window in windows]


def _sync(study: str, cells: Sequence[Any]) -> Any:
    """As ``raw_data`` does it."""
    from dagster_beiwe import BeiweClient, BeiweLake
    from dagster_beiwe.credentials import Credentials
    from dagster_beiwe.sync import StudySync

    credentials = Credentials(
        url=os.environ["BEIWE_URL"],
        access_key=os.environ["BEIWE_ACCESS_KEY"],
        secret_key=os.environ["BEIWE_SECRET_KEY"],
    )
    lake = BeiweLake(os.environ["BEIWE_LAKE"]).study(study, passphrase=os.environ["BEIWE_LAKE_PASSPHRASE"])
    with BeiweClient(credentials) as client:
        yield from StudySync(client, lake, run_id="benchmark").run(cells)


def _quietly(work: Callable[[], Any]) -> Any:
    """With Dagster's log going where nobody reads it, as it does in a real run."""
    stderr = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
        try:
            return work()
        finally:
            os.dup2(stderr, 2)


PARTS: Mapping[str, Callable[..., Facts]] = {
    part.__name__: part
    for part in (empty_project, load, ticks, backfills, sync, run, events, fill, request_backfill, wait_for_runs)
}

if __name__ == "__main__":
    print(json.dumps(PARTS[sys.argv[1]](**json.loads(sys.argv[2]))))
