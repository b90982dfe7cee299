"""The results as text, and as docs/dagster-scale.md."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from benchmarks import machine
from dagster_beiwe.automation.limits import PARTITIONS_PER_RUN, PARTITIONS_PER_TICK, RUNS_PER_TICK
from dagster_beiwe.partitions.definitions import COMFORTABLE_PARTITIONS

Facts = dict[str, Any]

_AIM = "500 x 52"
_INTRODUCTION = """# Dagster at scale

This page is the output of `python -m benchmarks.scale --json PATH --doc PATH` (`--quick` for fewer sizes), except that
pages in a browser were measured by hand. It measures Dagster's own functions with a history in SQLite. Times are
processor seconds unless stated otherwise. Elapsed time is in parentheses; it is longer if other programs are running
(see the load). A partition is one participant in one week.
"""

_CHOICES = (
    (
        "window: weekly",
        f"Dagster's documented limit is {COMFORTABLE_PARTITIONS:,} partitions; see [above](#how-large-may-a-study-be).",
    ),
    (
        "runs of a backfill: one per stretch of adjacent partitions (`BackfillPolicy.single_run`)",
        "A run costs about five processor seconds by itself, and what it committed stays if it dies.",
    ),
    (
        (
            f"runs that schedules and sensors request: rectangles of up to {PARTITIONS_PER_RUN} partitions, "
            f"{RUNS_PER_TICK} with {PARTITIONS_PER_TICK:,} at a time"
        ),
        "Dagster plans each partition before the run starts (see above); larger rectangles would keep its daemon busy.",
    ),
    ("order of participants: by enrollment", "Dagster joins only adjacent partitions: see the rows about enrollment."),
    ("runs at once against one server: 2 (the pool)", "A Beiwe server has few workers, and a download occupies one."),
    (
        "runs at once in total: 3 with SQLite",
        "SQLite writes one event at a time: with more runs, each event only waits longer.",
    ),
)

_SIZES = """## How large may a study be

Partitions are participants times windows, and Dagster's work grows with them. Its documented limit is {limit:,} per
asset.

| participants | `window: weekly`, below {limit:,} for | `window: monthly`, below {limit:,} for |
| --- | --- | --- |
{rows}

- **Below {limit:,} partitions**, keep the default, `weekly`.
- **Above**, write `window: monthly` and `changes_seconds: 86400` before the first backfill: there are 4.3 times fewer
  partitions. A window that changed is compared as a whole: the request lists what the lake holds of it, and only what
  is new is downloaded. A month's list is four times as long as a week's, so [look once a
  day](cost.md#a-study-of-321-participants-by-365-days). A window that cannot be downloaded as a whole is split by time,
  whatever its length.
- **If a weekly study has outgrown the limit**, [adopt its lake into a new one](moving.md#wider-windows-for-an-old-lake)
  with `window: monthly`: the files are kept byte for byte, and little is downloaded. Until you delete the old lake,
  both need disk.
- **If you stay above**, everything still works, and takes as long as the last column says. The first page after a start
  or after many new partitions is the slowest. Give the webserver 1 GB of memory, and backfill some months at a time:
  Dagster plans each partition [before its run starts](#one-partition-in-a-run).

A study has one length of windows and is listed once, so it cannot be split in two: weeks for new data and months for
old. Other studies do not count, however many there are: pages and backfills ask for each asset by itself.

Windows do not change what `coverage` needs, which is most of what the daily checks need: it has a row for each
participant, day, and stream. [Performance](performance.md#coverage-of-a-large-study) says how much time and memory that
takes.
"""

_LIMITS = """
**Scattered selections** are split by Dagster, which does not form rectangles: scattered partitions become nearly as
many runs. If you can, select the whole rectangle around them. A window that the lake already holds, or that is before
enrollment, costs a small request and some tens of milliseconds, and downloads nothing. The sensor that follows
the server's daily counts forms rectangles of exactly what changed (last column), up to {runs} of them per evaluation.

**History grows** with everything that is recorded, including a window that is fetched again and has not changed: a
daily refresh of the newest 3 windows of 500 participants adds 1,500 records per day. For large studies, use the sensor
that follows the daily counts, which records only what changed, and delete old runs (in the UI, or with
`dagster run delete`). The status of partitions stays.
"""


def as_text(results: Facts) -> str:
    """What fits on a terminal: the document's tables."""
    lines = as_document(results).splitlines()
    return "\n".join(line for line in lines if line.startswith(("|", "## ")))


def as_document(results: Facts) -> str:
    sections = {
        "pages": _pages,
        "browser": _browser,
        "runs": _runs,
        "backfills": _backfills,
        "definitions": _definitions,
        "studies": _studies,
        "ticks": _ticks,
        "pools": _pools,
        "containers": _containers,
    }
    parts = [_INTRODUCTION, *_machine(results)]
    parts += ["\n".join(section(results[name])) for name, section in sections.items() if name in results]
    choices = ["## The defaults, and why\n", *_table(("default", "because"), _CHOICES)]
    return "\n".join([*parts, *choices, _LIMITS.format(runs=RUNS_PER_TICK)])


def per_partition(runs: Facts, clock: str) -> dict[str, float]:
    """Seconds and bytes of one more partition: the long run less the short one, which cancels what a run costs."""
    long, short = runs["long"], runs["short"]
    more = long["run"]["partitions"] - short["run"]["partitions"]
    planned, executed = (
        (long["run"][part][clock] - short["run"][part][clock]) / more for part in ("created", "executed")
    )
    transfer = (long["sync"][clock] - short["sync"][clock]) / more
    sizes = ((long["run"][part] - short["run"][part]) / more for part in ("planned_bytes", "recorded_bytes"))
    return {
        "planned": planned,
        "beside": executed - transfer,
        "transfer": transfer,
        "event": runs["events"][clock] / runs["events"]["partitions"],
        "bytes": sum(sizes),
    }


def _pages(pages: Facts) -> Iterator[str]:
    limits = "\n".join(_limits_of(people) for people in (500, 1000, 2000, 5000))
    yield _SIZES.format(limit=COMFORTABLE_PARTITIONS, rows=limits)
    yield (
        "A real webserver was asked what Dagster's pages ask, in its costly parts: the first time after a start, and "
        "again. Its history is in SQLite, or where that is said in Postgres on the same machine; all but one in a "
        "hundred partitions is materialized. A daemon's "
        "iteration is every 30 s while a backfill of everything runs: the first one decides which runs there are, "
        f"and the next one finds nothing new. {_where(pages)}\n"
    )
    sizes = pages["sizes"]
    names = [_size_in_words(name, found) for name, found in sizes.items()]
    lines = zip(*map(_page_rows, sizes.values()), strict=True)
    rows = [[cells[0][0], *(text for _, text in cells)] for cells in lines]
    yield from _table(("participants x windows", *names), rows)
    yield ""


def _browser(found: Facts) -> Iterator[str]:
    yield (
        f"The largest of these studies in {found['browser']}, looked at by hand: seconds until a page is complete, "
        f"what it receives, and the memory of its scripts. {found['taken'][:10]}.\n"
    )
    rows = [
        (page, f"{facts['seconds']:.1f} s", _megabytes(facts["bytes"]), _megabytes(facts["heap_bytes"]))
        for page, facts in found["pages"].items()
    ]
    yield from _table(("page", "complete after", "received", "memory"), rows)
    yield ""


def _where(found: Facts) -> str:
    """Sentences about the machine, of sections that are measured by themselves."""
    load = machine.load_before(float(found["machine"]["load before"]), real_time=found.get("real_time", False))
    return f"{found['machine']['processor']}; {load}. {found['taken']}."


def _page_rows(found: Facts) -> Iterator[tuple[str, str]]:
    """What each row of one size says."""
    yield "partitions", f"{found['partitions']:,}"
    for query, facts in found["pages"].items():
        yield from ((f"{query}, {turn}", _time(facts[turn])) for turn in ("first", "next"))
        yield "its answer", _megabytes(facts["bytes"])
    yield "the webserver's memory, at most", _megabytes(found["webserver_bytes"])
    yield from ((f"the daemon's iteration, {turn}", _time(found["iterations"][turn])) for turn in ("first", "next"))
    yield "what it writes each time", _megabytes(found["iterations"]["bytes"])


def _limits_of(people: int) -> str:
    windows = COMFORTABLE_PARTITIONS // people
    return f"| {people:,} | {windows:,} weeks | {windows:,} months ({windows / 12:.1f} years) |"


def _size_in_words(name: str, found: Facts) -> str:
    participants, (window, *place) = name.split(" x ")[0], name.split(", ")[1:]
    size = f"{int(participants):,} x {found['windows']} {'months' if window == 'monthly' else 'weeks'}"
    return ", ".join((size, *place))


def _studies(found: Facts) -> Iterator[str]:
    """One after the other, as the daemon evaluates them."""
    yield f"## Sensors and schedules of {found['studies']} studies of {found['participants_each']} participants\n"
    yield (
        "Each is evaluated once with everything new, and once directly after: processor time of all studies, elapsed "
        "in parentheses, the slowest one (elapsed), and the runs requested. Dagster gives each 60 s. "
        f"{_where(found)}\n"
    )
    rows = [
        (f"{name}, {turn}", _time(facts), f"{facts['slowest_seconds']:.2f} s", f"{facts['runs']:,}")
        for name, turns in found["ticks"].items()
        for turn, facts in turns.items()
    ]
    yield from _table(("", "all studies", "the slowest", "runs"), rows)
    yield ""


def _machine(results: Facts) -> Iterator[str]:
    facts = [*results["machine"].items(), *results["versions"].items()]
    yield "; ".join(f"{name} {value}" for name, value in facts) + f"; {results['taken']}.\n"


def _runs(runs: Facts) -> Iterator[str]:
    cpu, wall = per_partition(runs, "cpu_seconds"), per_partition(runs, "seconds")
    yield "## One partition in a run\n"
    yield from _table(
        ("what", "processor", "elapsed"),
        [
            (name, _ms(cpu[key]), _ms(wall[key]))
            for name, key in (
                ("planning by Dagster, before the run starts", "planned"),
                ("Dagster in the run, without the transfer (aim: 60 ms)", "beside"),
                ("of that, recording an empty event", "event"),
                ("the transfer: request, encrypt, and commit 7 small files", "transfer"),
            )
        ],
    )
    long, short = (runs[size]["run"]["partitions"] for size in ("long", "short"))
    yield (
        f"\nRecording takes {cpu['beside'] / cpu['event']:.1f} times the processor time of the smallest event. "
        f"Computed as a run of {long} partitions minus a run of {short}, so the fixed cost of a run does not count. "
        f"Dagster's history takes {cpu['bytes'] / 1000:.1f} kB per partition of these in SQLite, and in [whole "
        "backfills](cost.md#a-participant-week) a little less. For whole studies, extrapolated linearly:\n"
    )
    rows = [
        (f"{people:,} x {weeks}", f"{people * weeks:,}", _hours(people * weeks * (wall["planned"] + wall["beside"])),
         f"{people * weeks * cpu['bytes'] / 1e9:.2f} GB")
        for people in (10, 100, 500, 2000) for weeks in (52, 156)
    ]  # fmt: skip
    yield from _table(("participants x weeks", "partitions", "Dagster's own time, elapsed", "history"), rows)
    yield ""


def _backfills(found: Facts) -> Iterator[str]:
    backfills = _by_size(found)
    yield "## Runs of a backfill\n"
    yield "Dagster's own backfill decides this in the daemon's first iteration. The aim is 60 runs for 500 x 52.\n"
    largest = list(backfills.values())[-1]
    rows = [
        [
            name,
            *(f"{found[name]['runs']:,}" for found in backfills.values()),
            f"{backfills[_AIM][name]['rectangles']:,}",
        ]
        for name in sorted(largest, key=lambda each: largest[each]["runs"])
    ]
    yield from _table(("selection", *backfills, f"rectangles of our sensors, {_AIM}"), rows)
    yield "\nDuration of that iteration:\n"
    rows = [
        [name, f"{found['all']['partitions']:,}", _time(found["all"]), *_slowest(found)]
        for name, found in backfills.items()
    ]
    yield from _table(("participants x weeks", "partitions", "all of them", "the slowest selection", "which"), rows)
    yield ""


def _slowest(found: Facts) -> tuple[str, str]:
    name = max(found, key=lambda each: found[each]["cpu_seconds"])
    return _time(found[name]), name


def _definitions(found: Facts) -> Iterator[str]:
    empty = found["empty"]
    yield f"## Loading {found['studies']} studies of {found['participants_each']} participants\n"
    yield "The aim is less than 3 s more than an empty project, and no request per participant.\n"
    rows = [("an empty project", _time(empty), "", "0")]
    for name, turn in (("the first load", "first"), ("within five minutes, and in every run", "again")):
        beyond = {clock: found[turn][clock] - empty[clock] for clock in ("cpu_seconds", "seconds")}
        rows.append((name, _time(found[turn]), _time(beyond), f"{found[turn]['requests']:.0f}"))
    yield from _table(("", "time", "more than the empty one", "requests"), rows)
    yield (
        f"\n{found['first']['assets']:.0f} assets. Half of the time goes into importing pandas and pyarrow, once; the "
        f"rest grows with the assets and jobs of the studies, not with participants. {_where(found)}\n"
    )


def _by_size(found: Facts) -> Facts:
    """Sorted by participants, then weeks."""
    return dict(sorted(found.items(), key=lambda item: [int(number) for number in item[0].split(" x ")]))


def _ticks(found: Facts) -> Iterator[str]:
    ticks = _by_size(found)
    yield "## Sensors and schedules of one study\n"
    yield (
        "One evaluation: its time, and the number of runs requested. In `first`, every participant is new; `next` "
        "follows directly. Every participant has data in the newest two weeks. Dagster gives a sensor 60 s. `changes` "
        "mostly waits for the simulated server to count days; after 25 s it leaves the other participants to the next "
        "evaluation.\n"
    )
    lines = [(name, turn) for name, found in next(iter(ticks.values())).items() for turn in found]
    rows = [[f"{name}, {turn}", *(_tick(found[name][turn]) for found in ticks.values())] for name, turn in lines]
    yield from _table(("participants x weeks", *ticks), rows)
    yield ""


def _tick(facts: Facts) -> str:
    return f"{_time(facts)}, {facts['runs']}"


def _pools(pools: Facts) -> Iterator[str]:
    yield "## Downloads at once\n"
    yield (
        "A real daemon with the project's `dagster.yaml`, enough slots for all runs at once, and a server that counts "
        "the downloads in progress. The other rows change one setting.\n"
    )
    rows = [
        (name, f"{found['pools']['default_limit']}, `{found['pools']['granularity']}`",
         f"{found['succeeded']} of {found['runs']}", str(found["peak_runs"]), str(found["peak_downloads"]),
         f"{found['seconds']:.0f} s")
        for name, found in pools.items()
    ]  # fmt: skip
    head = ("", "limit, granularity", "runs that succeeded", "runs at once", "downloads at once", "elapsed")
    yield from _table(head, rows)
    yield (
        "\nWith `granularity: run`, a run waits in the queue until its pool has a free slot. When a pool without a "
        "limit is used for the first time, Dagster starts all queued runs (its issue 31936), so `roster` and the "
        "sensor for new participants set the pool's limit before there is anything to run. With `op`, each step takes "
        "a slot itself: a run may wait as a process, which keeps a processor busy, and a killed run keeps its slot or "
        "its place in line until someone frees it.\n"
    )


def _containers(found: Facts) -> Iterator[str]:
    partitions, seconds, runs = found["partitions"], found["seconds"], found["runs"]
    yield "## Containers\n"
    yield (
        "The deployment of [Deploy beyond one machine](deploy.md) with its own settings: Postgres, a lake in S3, a "
        "code server in a container, and runs in containers, started by `DockerRunLauncher` on podman. One backfill "
        f"fetches {found['participants']:,} participants x {found['weeks']} weeks with one small file each, from a "
        f"server that takes {found['request_seconds']} s for each download; the pool's limit is set to "
        f"{found['limit']}. One container is killed (SIGKILL) in mid-run, and the clock of "
        "every fourth container is ten minutes ahead. `python -m benchmarks.scale --only containers` plays 500 x 52, "
        "or 20 x 8 with `--quick` (root, Linux, `apt-get install podman runc libfaketime`).\n"
    )
    once = found["recorded"] - found["twice"]
    rows = [
        ("partitions recorded by exactly one successful run", f"{once:,} of {partitions:,}"),
        ("runs that succeeded; failed (the killed one)", f"{runs.get('SUCCESS', 0)}; {runs.get('FAILURE', 0)}"),
        ("containers at once, at most", f"{found['peak_runs']}"),
        ("downloads at once at the server, at most", f"{found['peak_downloads']}"),
        ("containers whose clock was ahead", f"{found['clocks_ahead']}"),
        ("files that differ between lake and server", f"{found['different']}"),
        ("findings of `verify`", f"{len(found['findings'])}"),
        ("elapsed", _hours(seconds)),
        ("partitions per second", f"{partitions / seconds:.1f}"),
    ]
    yield from _table(("what", "result"), rows)
    if (found["participants"], found["weeks"]) != (500, 52):
        yield "\n500 x 52 has not been played to its end."
    yield (
        "\nThe containers, Postgres, the stand-ins for store and server, and Dagster's programs shared one machine, so "
        f"the time says little about a lab's machines. {_where(found)}\n"
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    for row in (head, ["---"] * len(head), *rows):
        yield f"| {' | '.join(row)} |"


def _time(facts: Facts) -> str:
    return f"{facts['cpu_seconds']:.2f} s ({facts['seconds']:.2f})"


def _megabytes(size: float) -> str:
    return f"{size / 1e6:.{0 if size > 1e7 else 2}f} MB"


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds / 60:.0f} min"
