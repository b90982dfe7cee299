"""What it costs to watch a large study in which nothing is new: ``coverage``, ``complete``, and ``intact`` in one run.

The lake has every window and every file, but many names are one file on the disk. ``python -m benchmarks.watch`` is the
process of the run; its standard input tells of which lake.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

from benchmarks import machine
from benchmarks.made_files import made_file, made_manifest
from benchmarks.process import is_real_time, measured, run_module
from benchmarks.server import Served, ServerProcess
from benchmarks.worlds import WATCHED_BYTES, Scale
from dagster_beiwe.lake import BeiweLake, FileRecord, LakeWriter
from dagster_beiwe.private_files import make_folder
from dagster_beiwe.windows import Window, windows_between

Costs = dict[str, Any]

FILES_A_DAY: Mapping[Scale, tuple[int, ...]] = {"full": (1, 24), "quick": (1,), "tiny": (1,)}
"""Of a participant. With the larger number, a tenth of the participants show what a file costs."""

PASSPHRASE = "benchmark"
_CONTENT = hashlib.sha256(b"benchmark").digest() * 625
_SHA256 = hashlib.sha256(_CONTENT).hexdigest()
_MOST_LINKS = 60_000
_HOUR = timedelta(hours=1)


def measure(scale: Scale, *, folder: Path, say: Callable[[str], None] = lambda _: None) -> Costs:
    """Seconds and memory of a run, for each number of files a day: the first, and one after which nothing is new."""
    costs: Costs = machine.moment() | {"real_time": is_real_time()}
    folder.mkdir(exist_ok=True)
    studies: list[Costs] = []
    for files_a_day in FILES_A_DAY[scale]:
        with ServerProcess(f"watched, {files_a_day} a day", scale) as server:
            place = folder / str(files_a_day)
            place.mkdir()
            windows = fill(place / "lake", server.served, files_a_day=files_a_day)
            facts: Costs = {
                "participants": len(server.served.participants),
                "windows": windows,
                "files_a_day": files_a_day,
            }
            for name in ("first", "again"):
                facts[name] = watch(server.served, place)
                say(f"  {files_a_day} a day, {name}: {facts[name]['seconds']:.1f} s")
            studies.append(facts)
    return {**costs, "studies": studies}


def fill(folder: Path, served: Served, *, files_a_day: int) -> int:
    """Commit all windows, with their files, as runs would have; returns their number."""
    lake = BeiweLake(folder).study(served.study_id, passphrase=PASSPHRASE)
    windows = _windows(served)
    links = _Links(folder)
    with mock.patch("os.fsync"):  # nothing of this has to survive
        for participant in served.participants:
            with LakeWriter(lake, run_id="benchmark", participants=[participant]) as writer:
                plan = writer.plan(participant, windows)
                for window in windows:
                    manifest = made_manifest(
                        served, participant, window, _records(served, participant, window, files_a_day)
                    )
                    for record in manifest.files:
                        links.put(folder / lake.folder(participant, record.path))
                    writer.adopt(plan, manifest, [], compared=int(window.end.timestamp()))
    return len(windows) * len(served.participants)


class _Links:
    """Files of equal content, as names of as few files as the file system allows."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._count = folder.parent, 0
        self._made = set[Path]()

    def put(self, path: Path) -> None:
        if self._count % _MOST_LINKS == 0:
            self._source = self._folder / f"content-{self._count}"
            self._source.write_bytes(_CONTENT)
            self._source.chmod(0o600)
        if path.parent not in self._made:
            make_folder(path.parent)
            self._made.add(path.parent)
        os.link(self._source, path)
        self._count += 1


def _windows(served: Served) -> list[Window]:
    start, end = (datetime.fromisoformat(text) for text in (served.start, served.end))
    return list(windows_between("weekly", start, end))


def _records(served: Served, participant: str, window: Window, files_a_day: int) -> Iterator[FileRecord]:
    (stream,) = served.streams
    step = 24 // files_a_day
    for hour in range(0, window.hours, step):
        moment = window.start + hour * _HOUR
        if moment >= datetime.fromisoformat(served.end):
            return
        yield made_file(
            served, participant, stream, moment, at=window.end, zone="UTC", size_bytes=WATCHED_BYTES,
            stored_size_bytes=len(_CONTENT), stored_sha256=_SHA256, suffix=".zst.lock",
        )  # fmt: skip


def watch(served: Served, folder: Path) -> Costs:
    """One run in a process of its own."""
    home = folder / "home"
    home.mkdir(exist_ok=True)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("BEIWE_", "DAGSTER_"))},
        "BEIWE_URL": served.url,
        "BEIWE_ACCESS_KEY": served.access_key,
        "BEIWE_SECRET_KEY": served.secret_key,
        "BEIWE_LAKE": str(folder / "lake"),
        "BEIWE_LAKE_PASSPHRASE": PASSPHRASE,
        "DAGSTER_HOME": str(home),
    }
    return run_module("benchmarks.watch", given=vars(served), environment=environment)


def _run(served: Mapping[str, Any]) -> Costs:
    """The run. Imports, and loading the definitions, are not counted; Dagster's own steps are."""
    import dagster as dg
    import pandas  # noqa: ICN001, F401

    from benchmarks.scale.project import history
    from dagster_beiwe import StudyConfig, build_beiwe_definitions

    config = StudyConfig(served["study_id"], key="s0", start=datetime.fromisoformat(served["start"]).date())
    coverage = dg.AssetKey(["beiwe", "s0", "coverage"])
    checks = [dg.AssetCheckKey(coverage, name) for name in ("complete", "intact")]
    chosen = dg.AssetSelection.assets(coverage).without_checks() | dg.AssetSelection.checks(*checks)
    job = dg.define_asset_job("watch", selection=chosen, executor_def=dg.in_process_executor)
    beiwe = build_beiwe_definitions([config])
    found = dg.Definitions.merge(beiwe, dg.Definitions(jobs=[job])).resolve_job_def("watch")
    with history({served["study_id"]: served["participants"]}) as instance:
        costs: dict[str, Any] = {}
        with measured(costs):
            result = found.execute_in_process(instance=instance)
        judged = {each.check_name: (each.passed, each.description) for each in result.get_asset_check_evaluations()}
        files = result.asset_materializations_for_node("beiwe__s0__coverage")[0].metadata["files"].value
        steps = {
            event.step_key: event.event_specific_data.duration_ms / 1000  # type: ignore[union-attr]
            for event in result.all_events
            if event.event_type_value == "STEP_SUCCESS"
        }
    assert {*judged} == {"complete", "intact"}
    assert all(passed for passed, _ in judged.values()), judged
    return {**costs, "files": files, "steps": steps}


def _main() -> None:
    print("\n" + json.dumps(_run(json.load(sys.stdin))))


if __name__ == "__main__":
    _main()
