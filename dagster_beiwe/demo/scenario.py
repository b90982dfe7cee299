"""``dagster-beiwe demo --scenario``: data arrive late, change and are deleted on a simulated server; the lake follows.

What it prints is in ``docs/completeness.md``. Everything it makes is in a temporary folder that is removed at the end.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path

import dagster as dg

from dagster_beiwe.checks import CHECKS
from dagster_beiwe.checks.places import ROSTER_FIRST
from dagster_beiwe.demo.stage import KEY, Cost, Outcome, Stage, environment
from dagster_beiwe.environment import (
    BEIWE_ACCESS_KEY,
    BEIWE_LAKE,
    BEIWE_LAKE_PASSPHRASE,
    BEIWE_SECRET_KEY,
    BEIWE_URL,
    DAGSTER_HOME,
)
from dagster_beiwe.simulator import ContentPlan, ParticipantPlan, SimulatedServer, StudyPlan, World
from dagster_beiwe.studies.config import StudyConfig
from dagster_beiwe.text import human_size

ANNA, BERT, CLEO, DORA, EMIL = ("anna1111", "bert2222", "cleo3333", "dora4444", "emil5555")
_DAY, _HOUR = timedelta(days=1), timedelta(hours=1)

_SHOWN = [name for name in CHECKS if name != "silent"]
"""Checks that compare lake and server: the data of this story ends with a week, which is one to seven days ago."""

_MANO_START = datetime(2015, 9, 1, tzinfo=timezone.utc)
_MANO_WINDOW = timedelta(days=5)
_MANO_PAUSE_SECONDS = 3


def run_scenario() -> int:
    """Play it and print what happens; returns 0."""
    now = datetime.now(timezone.utc).replace(minute=0, second=0, microsecond=0)
    start = now.replace(hour=0) - timedelta(days=now.weekday(), weeks=4)
    world = _world(start, now)
    with tempfile.TemporaryDirectory() as folder, SimulatedServer(world) as server:
        values = {
            BEIWE_URL: server.url,
            BEIWE_ACCESS_KEY: server.access_key,
            BEIWE_SECRET_KEY: server.secret_key,
            BEIWE_LAKE: str(Path(folder) / "lake"),
            BEIWE_LAKE_PASSPHRASE: "for synthetic data only",
            DAGSTER_HOME: folder,
        }
        with environment(values), dg.DagsterInstance.ephemeral() as instance:
            config = StudyConfig("Sleep and Mood", key=KEY, start=start.date(), verify_share=1)
            _Scenario(Stage(server, instance, config), world, start).play()
    return 0


def _world(start: datetime, now: datetime) -> World:
    """Four participants over the last four full weeks, one of them with a wrong clock."""
    plan = StudyPlan(
        name="Sleep and Mood",
        participants=(
            ParticipantPlan(id=ANNA),
            ParticipantPlan(id=BERT, os="IOS"),
            ParticipantPlan(id=CLEO),
            ParticipantPlan(id=DORA, os="IOS", wrong_clock=True),
        ),
        start=start,
        end=min(now, start + timedelta(weeks=4)),
        hours=(13, 16, 20),
        streams=("accelerometer", "gps", "power_state"),
        content=ContentPlan(rows_by_stream={"accelerometer": 400, "gps": 60}),
    )
    return World.build(plan, now=now)


class _Scenario:
    """The acts, in order."""

    def __init__(self, stage: Stage, world: World, start: datetime) -> None:
        self._stage, self._world, self._start = stage, world, start
        (self._study,) = world.studies.values()
        self._costs: dict[str, Cost] = {}

    def play(self) -> None:
        self._first_backfill()
        self._nothing_new()
        self._one_late_hour()
        self._much_happens()
        self._sensors_follow()
        self._server_recovers()
        self._compare()

    def _first_backfill(self) -> None:
        _title("First backfill")
        self._stage.run("settings")
        self._stage.cost()
        outcome = self._stage.launch(self._stage.tick("participants"))
        self._costs["first backfill"] = self._stage.cost()
        _tell(outcome, self._costs["first backfill"])
        self._checks()
        print("  -> out_of_range is materialized for the participants that `complete` names")
        self._stage.run("out_of_range", partition=DORA)
        self._checks("complete")

    def _nothing_new(self) -> None:
        _title("Refresh with nothing new")
        self._stage.tick("changes")
        self._stage.cost()
        requests = self._stage.tick("changes")
        self._costs["refresh, nothing new"] = self._stage.cost()
        print(f"  sensor {KEY}_changes: {len(requests)} runs requested; {_text(self._costs['refresh, nothing new'])}")

    def _one_late_hour(self) -> None:
        _title("One late hour, of three weeks ago")
        self._world.add_rows(ANNA, "gps", self._hour(week=1, day=2), rows=40)
        self._stage.cost()
        outcome = self._stage.launch(self._stage.tick("changes"))
        self._costs["refresh, one late hour"] = self._stage.cost()
        _tell(outcome, self._costs["refresh, one late hour"])

    def _much_happens(self) -> None:
        _title("A lot happens on the server")
        self._world.add_rows(ANNA, "gps", self._hour(week=2, day=1), rows=25)
        print(f"  {ANNA}: late rows of one hour")
        noon = self._hour(week=1, day=3)
        self._world.reprocess(BERT, noon - 4 * _HOUR, noon + 8 * _HOUR, stream="accelerometer")
        print(f"  {BERT}: a day of accelerometer data is processed again, and grows by a quarter")
        self._world.delete_files(CLEO, stream="gps", hour=self._hour(week=0, day=4))
        print(f"  {CLEO}: an hour of GPS data is deleted")
        poisoned = self._hour(week=2, day=2)
        self._world.add_rows(DORA, "gps", poisoned)
        self._stage.server.misbehave(
            "poisoned_hour", participant=DORA, stream="gps", start=poisoned, end=poisoned + _HOUR
        )
        print(f"  {DORA}: late rows of an hour that the server can no longer read")
        joined = self._start + timedelta(weeks=3)
        self._world.add_participant(self._study.id, ParticipantPlan(id=EMIL, start=joined, end=joined + 4 * _DAY))
        print(f"  {EMIL}: a new participant, with four days of data")
        self._world.change_settings(self._study.id, gps_off_duration_seconds=1200)
        print("  settings: the pause between GPS measurements is longer")
        self._checks()

    def _sensors_follow(self) -> None:
        _title("The next evaluations of the sensors")
        for sensor in ("participants", "changes"):
            outcome = self._stage.launch(self._stage.tick(sensor))
            print(f"  sensor {KEY}_{sensor}:")
            _tell(outcome, self._stage.cost())
        again = self._stage.tick("changes")
        print(f"  sensor {KEY}_changes, an hour later: {len(again)} runs; what failed is tried again after 6 hours")
        self._stage.run("roster", "settings", "restatements")
        print("  restatements:")
        for row in self._stage.table("restatements", study_id=self._study.id).itertuples():
            before, now = row.size_bytes_before, row.size_bytes
            deleted = row.state == "deleted upstream"
            what = f"deleted upstream, {now} bytes are kept" if deleted else f"{before} -> {now} bytes"
            print(f"    {row.participant} {row.window} {row.stream:13} {what}")
        self._checks()

    def _server_recovers(self) -> None:
        _title("The server can read the hour again")
        self._stage.server.behave()
        (evaluation,) = self._stage.check("complete")
        key = str(evaluation.metadata["partitions to run"].value)
        print(f"  -> the partition that `complete` names is materialized: {key}")
        self._stage.cost()
        _tell(self._stage.run("raw_data", partition=key), self._stage.cost())
        self._checks()

    def _compare(self) -> None:
        _title("What it cost, and what mano's backfill needs for the same (computed)")
        people = len(self._study.participants)
        windows = -(-(self._world.now - _MANO_START) // _MANO_WINDOW)
        requests = people * windows
        hours = requests * _MANO_PAUSE_SECONDS / 3600
        for name, cost in self._costs.items():
            print(f"  {name:24} {_text(cost)}")
        print(f"  mano, first backfill     {requests:,} requests ({people} participants), {hours:.1f} h of pauses")
        print("  mano, any refresh        0 requests: it marks participants COMPLETE and never looks again; to find")
        print(f"                           the late hour, all {requests:,} requests and all files again")

    def _checks(self, *names: str) -> None:
        for evaluation in self._stage.check(*(names or _SHOWN)):
            verdict = "passed" if evaluation.passed else f"FAILED ({evaluation.severity.value.lower()})"
            print(f"  {evaluation.check_name:9} {verdict}: {evaluation.description}")
            for row in _rows(evaluation, "first gaps")[:8]:
                sizes = f"{row['server bytes']} bytes on the server, {row['lake bytes']} in the lake"
                print(f"      {row['participant']} {row['day']} {row['stream']:13} {sizes}: {row['why']}")
            for name in ("partitions to run", "out-of-range partitions to run", ROSTER_FIRST):
                if name in evaluation.metadata:
                    print(f"      {name}: {evaluation.metadata[name].value}")
            for row in _rows(evaluation, "history"):
                print(f"      {row['setting']}: {row['from']} -> {row['to']}")
        self._stage.cost()

    def _hour(self, *, week: int, day: int) -> datetime:
        return self._start + timedelta(weeks=week, days=day, hours=16)


def _title(text: str) -> None:
    print(f"\n{text}\n{'-' * len(text)}")


def _tell(outcome: Outcome, cost: Cost) -> None:
    listed: Sequence[str] = outcome.partitions if len(outcome.partitions) <= 10 else []
    print(f"  {len(outcome.partitions)} partitions recorded{': ' if listed else ''}{', '.join(listed)}")
    for failure in outcome.failures:
        print(f"  run failed: {failure}")
    print(f"  {_text(cost)}")


def _text(cost: Cost) -> str:
    return f"{cost.requests:,} request{'' if cost.requests == 1 else 's'}, {human_size(cost.size_bytes)} received"


def _rows(evaluation: dg.AssetCheckEvaluation, name: str) -> list[dict[str, object]]:
    table = evaluation.metadata.get(name)
    return [dict(record.data) for record in table.records] if isinstance(table, dg.TableMetadataValue) else []
