"""``python -m benchmarks.scale``: measure, print, and write the results as JSON and as documentation."""

from __future__ import annotations

import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import command, machine
from benchmarks.command import say
from benchmarks.process import is_real_time
from benchmarks.scale.pages import measure_pages
from benchmarks.scale.pools import measure_pool
from benchmarks.scale.process import measure
from benchmarks.scale.report import as_document, as_text
from benchmarks.scale.server import Plan, ServerProcess
from dagster_beiwe.windows import Granularity

Facts = dict[str, Any]

STUDIES, PARTICIPANTS_EACH = 20, 500
PAGES: Sequence[tuple[int, int, Granularity, bool]] = (
    (500, 52, "weekly", False),
    (500, 156, "weekly", False),
    (2000, 156, "monthly", False),
    (2000, 52, "weekly", False),
    (2000, 156, "weekly", False),
    (2000, 156, "weekly", True),
)
"""Participants, weeks, windows, and whether Dagster's records are in Postgres."""
RUN_SIZES = {"short": (20, 2), "long": (40, 13)}
"""Participants by weeks of two runs: the difference between them is what partitions cost, and not the run itself."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = command.parser("benchmarks.scale", __doc__)
    parser.add_argument("--quick", action="store_true", help="fewer sizes and repetitions")
    parser.add_argument("--only", nargs="+", choices=sorted(SECTIONS | APART), metavar="NAME", default=list(SECTIONS))
    options = parser.parse_args(arguments)
    results = command.load(options.source or options.json)
    if not options.source:
        results = run(options.only, quick=options.quick, folder=options.folder, earlier=results)
    command.keep(results, options)
    print(as_text(results))
    if options.doc:
        options.doc.write_text(as_document(results), encoding="utf-8")
    return 0


def run(only: Sequence[str], *, quick: bool, folder: Path, earlier: Facts) -> Facts:
    """Measure the named sections; others are kept from ``earlier`` results."""
    taken = {
        "taken": machine.moment()["taken"],
        "machine": machine.describe(folder),
        "versions": machine.versions(),
        "real_time": is_real_time(),
    }
    results = {**taken, **earlier, **(taken if SECTIONS.keys() & only else {})}
    for name in only:
        say(f"{name} ...")
        found = (SECTIONS | APART)[name](quick=quick, folder=folder)
        results[name] = found | taken if name in APART else found
    return results


def definitions(*, quick: bool, folder: Path) -> Facts:
    """Many studies, each with many participants, against an empty project."""
    times: dict[str, list[Facts]] = {"empty": [], "first": [], "again": []}
    plan = Plan(studies=STUDIES, participants=PARTICIPANTS_EACH)
    with ServerProcess(plan) as server:
        for _ in range(1 if quick else 5):
            with _temporary(folder) as own:
                environment = server.environment(own)
                server.counts()
                times["empty"].append(measure("empty_project", environment))
                for turn in ("first", "again"):
                    facts = measure("load", environment, studies=list(server.studies), weeks=52)
                    times[turn].append(facts | asdict(server.counts()))
                say(f"  {times['first'][-1]['cpu_seconds'] - times['empty'][-1]['cpu_seconds']:.2f} s beyond empty")
    return {turn: _median(cases) for turn, cases in times.items()} | {
        "studies": STUDIES,
        "participants_each": PARTICIPANTS_EACH,
    }


def ticks(*, quick: bool, folder: Path) -> Facts:
    """Every sensor and schedule of a study, by its size."""
    found = {}
    for participants, weeks in _sizes(quick):
        with ServerProcess(Plan(participants=participants, days=14)) as server, _temporary(folder) as own:
            found[_size(participants, weeks)] = measure(
                "ticks", server.environment(own), studies=list(server.studies), weeks=weeks
            )
        say(f"  {participants} x {weeks}")
    return found


def studies(*, quick: bool, folder: Path) -> Facts:
    """Every sensor and schedule of many studies, one after the other, as Dagster's daemon evaluates them."""
    number = 2 if quick else STUDIES
    plan = Plan(studies=number, participants=PARTICIPANTS_EACH, days=14)
    with ServerProcess(plan) as server, _temporary(folder) as own:
        found = measure("ticks", server.environment(own), studies=list(server.studies), weeks=52)
    return {"studies": number, "participants_each": PARTICIPANTS_EACH, "ticks": found}


def backfills(*, quick: bool, folder: Path) -> Facts:
    """The daemon's first iteration, by size and selection."""
    found = {}
    with ServerProcess(Plan()) as server:
        study = next(iter(server.studies))
        for participants, weeks in _sizes(quick):
            with _temporary(folder) as own:
                found[_size(participants, weeks)] = measure(
                    "backfills", server.environment(own), study=study, participants=participants, weeks=weeks
                )
            say(f"  {participants} x {weeks}: {found[_size(participants, weeks)]['all']['runs']} runs")
    return found


def runs(*, quick: bool, folder: Path) -> Facts:
    """What a partition costs in a run, beside its transfer."""
    people = max(people for people, _ in RUN_SIZES.values())
    cases: dict[str, dict[str, list[Facts]]] = {}
    recorded = []
    with ServerProcess(Plan(participants=people, days=7 * max(weeks for _, weeks in RUN_SIZES.values()))) as server:
        ((study, everybody),) = server.studies.items()
        for _ in range(1 if quick else 3):
            for size, (participants, weeks) in RUN_SIZES.items():
                for part in ("sync", "run"):
                    with _temporary(folder) as own:
                        facts = measure(
                            part, server.environment(own), study=study, people=everybody[:participants], weeks=weeks
                        )
                    cases.setdefault(size, {}).setdefault(part, []).append(facts)
            with _temporary(folder) as own:
                recorded.append(measure("events", server.environment(own), count=300))
            say(f"  {recorded[-1]['cpu_seconds'] / 300 * 1000:.1f} ms per event alone")
    return {size: {part: _median(facts) for part, facts in parts.items()} for size, parts in cases.items()} | {
        "events": _median(recorded)
    }


def pools(*, quick: bool, folder: Path) -> Facts:
    """A real daemon's backfill, with the project's own limit and others."""
    size = 4 if quick else 5
    changes: Mapping[str, Facts] = {
        "as shipped": {},
        "by step, not by run": {"granularity": "op"},
        "not limited": {"default_limit": size},
    }
    found = {}
    for name, change in changes.items():
        found[name] = measure_pool(folder, size=size, change=change)
        say(f"  {name}: {found[name]['peak_downloads']} downloads at once, {found[name]['runs']} runs")
    return found


def pages(*, quick: bool, folder: Path) -> Facts:
    """What a webserver takes to answer the queries of its pages, and a daemon's iterations, by size."""
    found = {}
    for participants, weeks, window, postgres in PAGES[:1] if quick else PAGES:
        name = f"{participants} x {weeks} weeks, {window}" + (", Postgres" if postgres else "")
        found[name] = measure_pages(folder, participants=participants, weeks=weeks, window=window, postgres=postgres)
        say(f"  {name}")
    return {"sizes": found}


def containers(*, quick: bool, folder: Path) -> Facts:
    """A backfill in containers, four at once, with faults. Needs root, podman, and hours."""
    from benchmarks.containers.engines import Containers
    from benchmarks.containers.postgres import Postgres
    from benchmarks.containers.scenario import Size, play
    from benchmarks.s3 import object_store

    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))  # containers would outlive it
    size = Size(
        participants=20 if quick else 500,
        weeks=8 if quick else 52,
        limit=4,
        patience_seconds=8 * 3600,
        request_seconds=0.15,
    )
    with _temporary(folder) as own, Postgres() as postgres, object_store() as store:
        (own / "containers").mkdir()
        outcome = play(own / "containers", size, Containers(), postgres=postgres, store=store, say=say)
    return asdict(size) | asdict(outcome)


SECTIONS: dict[str, Callable[..., Facts]] = {part.__name__: part for part in (ticks, backfills, runs, pools)}
APART: dict[str, Callable[..., Facts]] = {part.__name__: part for part in (definitions, pages, studies, containers)}
"""What is measured only if it is named, and not together with the rest: each says when and where."""


def _sizes(quick: bool) -> Iterator[tuple[int, int]]:
    for participants in (10, 100, 500) if quick else (10, 100, 500, 2000):
        for weeks in (52,) if quick else (52, 156):
            yield participants, weeks


def _size(participants: int, weeks: int) -> str:
    return f"{participants} x {weeks}"


def _median(cases: Sequence[Facts]) -> Facts:
    """Medians of numbers, also in dictionaries of them; anything else of the last case."""
    merged: Facts = {}
    for name, last in cases[-1].items():
        values = [case[name] for case in cases]
        if isinstance(last, dict) and all(value.keys() == last.keys() for value in values):
            merged[name] = _median(values)
        else:
            merged[name] = median(values) if isinstance(last, (int, float)) else last
    return merged


@contextmanager
def _temporary(folder: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=folder, prefix="beiwe-scale-") as own:
        yield Path(own)


if __name__ == "__main__":
    raise SystemExit(main())
