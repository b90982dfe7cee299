"""The results as docs/cost.md: what a participant-week takes, what a study needs, and whether predictions hold."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks import machine
from benchmarks.cost import needs
from benchmarks.cost.formats import as_duration, as_number, as_percent, as_plain, as_seconds, as_size, table
from benchmarks.cost.needs import Difference, Figures, Size
from dagster_beiwe.automation.limits import PARTITIONS_PER_RUN
from dagster_beiwe.sync.audit import DEFAULT_AUDIT

Results = Mapping[str, Any]
Rows = list[tuple[str, ...]]

PAGE = "docs/cost.md"
STUDY = Size(participants=321, days=365)
_LONGEST_MONTH_DAYS = 31
_PUTS_PRICE = 5.0
"""USD for a million, an assumption that the page names."""

_WITHOUT_FILES = ("checks", "nothing new", "tables")
"""Steps that cost the same whatever the files are."""

_HEAD = ("what", "downloads", "other requests", "sent", "received", "the server works", "our processor")
_SHOWN = {
    "downloads": "downloads",
    "questions": "other requests",
    "sent_bytes": "sent",
    "received_bytes": "received",
    "files_sent": "files sent",
    "cpu_seconds": "processor s",
    "peak_bytes": "peak memory",
    "data_bytes": "files, bytes",
    "manifest_bytes": "manifests, bytes",
    "log_bytes": "log, bytes",
    "disk_bytes": "on the disk",
    "inodes": "files and manifests",
    "history_bytes": "Dagster's history",
}
_COMPARED: Mapping[str, Sequence[str]] = {
    "backfill": (
        "downloads", "questions", "sent_bytes", "received_bytes", "files_sent", "cpu_seconds", "peak_bytes",
    ),
    "nothing new": ("questions", "received_bytes", "cpu_seconds", "peak_bytes"),
    "a day": ("downloads", "questions", "sent_bytes", "received_bytes", "files_sent", "cpu_seconds", "peak_bytes"),
    "late data": ("downloads", "sent_bytes", "received_bytes"),
    "checks": ("questions", "received_bytes", "cpu_seconds", "peak_bytes"),
    "audit of everything": ("downloads", "sent_bytes", "received_bytes", "cpu_seconds", "peak_bytes"),
    "lake": ("data_bytes", "manifest_bytes", "log_bytes", "disk_bytes", "inodes", "history_bytes"),
}  # fmt: skip


def as_text(results: Results) -> str:
    """What fits on a terminal: the document's tables."""
    return "\n".join(line for line in as_document(results).splitlines() if line.startswith(("|", "## ")))


def as_document(results: Results) -> str:
    """The page ``docs/cost.md``."""
    return "\n\n".join(_sections(results)) + "\n"


def differences(results: Results) -> list[Difference]:
    """Each figure of the tenth beside what the hundredth predicted."""
    small, large = (results["studies"][name] for name in ("hundredth", "tenth"))
    predicted = needs.extrapolate(small["steps"], needs.size_of(small), needs.size_of(large), base=_base(results))
    predicted["late data"] = needs.extrapolate(
        {"late data": small["steps"]["late data"]}, _late(small), _late(large), base=_base(results)
    )["late data"]
    found = needs.compared(small["steps"], predicted, large["steps"])
    return [each for each in found if each.figure in _COMPARED.get(each.step, ())]


def predicted(results: Results, size: Size) -> dict[str, dict[str, float]]:
    """The figures of a study with a real one's files and bytes.

    Steps that do not depend on them are predicted from the largest study that was played.
    """
    found, without_files = (
        needs.extrapolate(study["steps"], needs.size_of(study), size, base=_base(results))
        for study in (results["studies"]["real"], _largest(results))
    )
    return found | {step: without_files[step] for step in _WITHOUT_FILES}


def _largest(results: Results) -> Results:
    """The largest study that was played."""
    studies = results["studies"]
    found: Results = studies.get("tenth", studies["hundredth"])
    return found


def _base(results: Results) -> needs.Steps:
    steps: needs.Steps = results["studies"]["least"]["steps"]
    return steps


def listed_bytes(results: Results) -> float:
    """Bytes in a request for each file that it lists as held."""
    audit = results["studies"]["real"]["steps"]["audit of everything"]
    return float(audit["sent_bytes"]) / float(audit["files_listed"])


def _late(study: Results) -> Size:
    """The participants with late data."""
    return Size(participants=study["late"], days=study["days"])


def audit_day(steps: needs.Steps) -> dict[str, float]:
    """What a day's audit takes: the newest weeks of everybody, and a part of all windows."""
    everything, newest = steps["audit of everything"], steps["audit of the newest weeks"]
    return {name: newest[name] + everything[name] / DEFAULT_AUDIT.days for name in newest}


def _sections(results: Results) -> Iterator[str]:
    real = results["studies"]["real"]
    size = needs.size_of(real)
    steps = predicted(results, STUDY)
    yield "# What it costs"
    yield (
        "Plan with this page what a study needs: of the Beiwe server, of the disk, and of the machine that runs "
        "Dagster. A **participant-week** is a participant who sends data for a week. A participant who sends nothing "
        "costs nearly nothing."
    )
    yield (
        f"The participant-weeks here have {real['files'] / size.participant_weeks:,.0f} files and "
        f"{as_size(real['steps']['backfill']['plain_bytes'] / size.participant_weeks)}: acceleration, rotation, "
        "magnetic field, and position every hour, the small streams of both systems, a survey a day, and a "
        "recording a week. If your study has fewer streams, look at its files per week: they count more than bytes."
    )
    yield "## A participant-week"
    yield table(_HEAD, _week_rows(results))
    yield (
        "*Downloads* are requests for data, *other requests* all others. *Sent* and *received* are the bytes of "
        "requests and answers, without headers. *The server works* is computed: "
        f"{needs.REQUEST_SECONDS} s for each request (the server checks the secret key), "
        f"{1000 * needs.FILE_SECONDS:.1f} ms for each file that it sends, {1e6 * needs.LISTED_SECONDS:.0f} ms for a "
        f"thousand files that a request lists as held, and {1e9 * needs.BYTE_SECONDS:.0f} ms for each MB before "
        "compression, as measured on a real server with two cores and a local disk. Two downloads at once took "
        f"{needs.TWO_AT_ONCE} times as long there as the same two in turn. [Performance](performance.md) has what the "
        "client adds to that. *Our processor* is that of "
        "the step, once it has started; starting takes [some seconds](dagster-scale.md#the-defaults-and-why) more per "
        "run. Rows *of the whole study* come on top, once each time, and are those of a study with next to nothing in "
        f"it. A run of raw data fetches up to {PARTITIONS_PER_RUN} windows."
    )
    yield "What is stored, for each participant-week:"
    yield table(("what", "per participant-week"), _stored_rows(results, size))
    yield f"## A study of {STUDY.participants} participants by {STUDY.days} days"
    yield "Extrapolated from the table above; every participant sends data on every day."
    yield table(("once", f"{STUDY.participants} by {STUDY.days}"), _once_rows(results, steps))
    yield table(("every day", f"{STUDY.participants} by {STUDY.days}"), _daily_rows(steps))
    yield from _advice(results, steps)
    yield "## What it grows with"
    yield _GROWTH
    if "tenth" in results["studies"]:
        yield "## Does the prediction hold?"
        yield from _proof(results)
    yield "## How it was measured"
    yield _method(results)


def _week_rows(results: Results) -> Iterator[tuple[str, ...]]:
    real, large, base = results["studies"]["real"], _largest(results), _base(results)
    size = needs.size_of(real)

    def each(step: str, size: Size = size, study: Results = real) -> dict[str, float]:
        return needs.each(study["steps"], base, step, size)

    yield _cost("first backfill", each("backfill"))
    yield _cost("a week of new data, fetched once a day", each("a day"), 7)
    yield _cost("a week of new data, fetched every hour", each("an hour"), 7 * 24)
    yield _cost("an hour of late or restated data", each("late data", _late(real)))
    yield _cost("a comparison of contents by hash", each("audit of everything"))
    yield _cost("the daily checks, for each week in the lake", each("checks", needs.size_of(large), large))
    yield _cost("the daily tables, for each week in the lake", each("tables", needs.size_of(large), large))
    yield _cost("what a phone reported, asked again (`participant`)", each("phones"))
    yield _cost("**of the whole study:** a look with nothing new", base["nothing new"])
    yield _cost("**of the whole study:** a run of raw data", {**base["late data"], "downloads": 0, "files_listed": 0})
    yield _cost("**of the whole study:** the daily checks", base["checks"])
    yield _cost("**of the whole study:** the daily tables", base["tables"])


def _cost(name: str, figures: Figures, times: float = 1) -> tuple[str, ...]:
    part = {key: value * times for key, value in figures.items()}
    return (
        name,
        as_number(part["downloads"]),
        as_number(part["questions"]),
        as_size(part["sent_bytes"]),
        as_size(part["received_bytes"]),
        as_seconds(needs.server_seconds(part)),
        as_seconds(part["cpu_seconds"]),
    )


def _stored_rows(results: Results, size: Size) -> Rows:
    lake, weeks = results["studies"]["real"]["steps"]["lake"], size.participant_weeks
    return [
        ("files, encrypted, in the server's compression", as_size(lake["data_bytes"] / weeks)),
        ("manifests", as_size(lake["manifest_bytes"] / weeks)),
        ("the log", as_size(lake["log_bytes"] / weeks)),
        ("all of that on a disk with blocks of 4 kB", as_size(lake["disk_bytes"] / weeks)),
        ("files on the disk (inodes), or objects in a store", f"{lake['inodes'] / weeks:,.0f}"),
        ("Dagster's history (SQLite), for each time that a window is recorded", as_size(_history_of_one(results))),
    ]


def _history_of_one(results: Results) -> float:
    """What recording one window adds to Dagster's history, in a long run: the events of short ones weigh more."""
    large = _largest(results)
    return float(large["steps"]["lake"]["history_bytes"]) / needs.size_of(large).windows


def _once_rows(results: Results, steps: needs.Steps) -> Rows:
    lake, backfill = steps["lake"], steps["backfill"]
    hours = needs.server_seconds(backfill) / 3600
    return [
        ("participant-weeks", f"{STUDY.participant_weeks:,.0f}"),
        ("windows, weekly", f"{STUDY.windows:,}"),
        ("first backfill: requests", f"{backfill['downloads'] + backfill['questions']:,.0f}"),
        ("first backfill: received", as_size(backfill["received_bytes"])),
        ("first backfill: the server works", f"{hours:,.0f} h"),
        (
            "first backfill with two downloads at once (the default): lasts",
            f"{hours / 2:,.0f} h if the server has cores to spare, {needs.TWO_AT_ONCE * hours:,.0f} h if it has two",
        ),
        ("first backfill: our processor", f"{backfill['cpu_seconds'] / 3600:,.1f} h"),
        ("lake on the disk", as_size(lake["disk_bytes"])),
        ("of that, manifests and log", as_size(lake["manifest_bytes"] + lake["log_bytes"])),
        ("inodes (`df -i`), or objects in a store", f"{lake['inodes'] / 1e6:,.1f} million"),
        ("Dagster's history after the backfill", as_size(STUDY.windows * _history_of_one(results))),
        ("memory of a run, with Dagster and everything imported", as_size(backfill["peak_bytes"])),
    ]


def _daily_rows(steps: needs.Steps) -> Rows:
    day, hour, audit = steps["a day"], steps["an hour"], audit_day(steps)
    rows: Rows = []
    for name, figures, factor in (
        ("24 looks with nothing new", steps["nothing new"], 24),
        ("everybody's new data, fetched once", day, 1),
        ("the same, fetched every hour", hour, 24),
        ("the audit", audit, 1),
        ("the daily checks", steps["checks"], 1),
        ("the daily tables of the server", steps["tables"], 1),
        ("what phones reported, of everybody once in 30 days", steps["phones"], 1 / 30),
    ):
        part = {key: value * factor for key, value in figures.items()}
        requests = part["downloads"] + part["questions"]
        text = (
            f"{requests:,.0f} requests, {as_size(part['sent_bytes'] + part['received_bytes'])}, the server works "
            f"{as_duration(needs.server_seconds(part))}, our processor {as_duration(part['cpu_seconds'])}"
        )
        rows.append((name, text))
    return rows


def _advice(results: Results, steps: needs.Steps) -> Iterator[str]:
    one = _history_of_one(results)
    hourly, daily = (STUDY.participants * times * one for times in (24, 1))
    yield (
        "**How often to fetch.** The sensor `changes` looks every hour and fetches what changed. Each fetch of a "
        "window costs a request, the list of the files that the lake holds of that window, and an event in Dagster's "
        f"history: {as_size(hourly)} a day if everybody's phone uploads every hour, {as_size(daily)} if you look once "
        "a day. For a large study, set `changes_seconds: 86400` in `automation`, unless somebody needs the data on the "
        "same day."
    )
    real = results["studies"]["real"]
    files_a_day = real["files"] / real["participants"] / real["days"]
    listed = listed_bytes(results) * files_a_day
    week, month = listed * 7, listed * _LONGEST_MONTH_DAYS
    yield (
        f"**Wider windows.** The list takes {listed_bytes(results):.0f} bytes for each file: at the end of a window, "
        f"{as_size(week)} for a week, and {as_size(month)} for a month. With `window: monthly`, fetching a "
        f"participant every hour therefore sends up to {as_size(24 * month)} a day, and once a day up to "
        f"{as_size(month)}. So set `changes_seconds: 86400` there."
    )
    audit = audit_day(steps)
    size_bytes = audit["sent_bytes"] + audit["received_bytes"]
    requests = audit["downloads"] + audit["questions"]
    everything = steps["audit of everything"]
    first = max(
        everything["downloads"] / DEFAULT_AUDIT.requests,
        (everything["sent_bytes"] + everything["received_bytes"]) / DEFAULT_AUDIT.size_bytes,
    )
    yield (
        f"**The audit** compares every window once in {DEFAULT_AUDIT.days} days and the newest weeks daily, by sending "
        "the same list, with the hashes of what the lake holds; a request without differences is answered with next to "
        "nothing. That takes "
        f"{requests:,.0f} requests and {as_size(size_bytes)} a day, of a budget of {DEFAULT_AUDIT.requests:,} and "
        f"{as_size(DEFAULT_AUDIT.size_bytes)}. If the contents were never compared, the first audit takes "
        f"{math.ceil(first)} days. A server older than 2026-01-08 cannot compare: it sends every file again, which "
        "costs as much as a backfill. [Completeness](completeness.md#same-size-different-content) explains the audit."
    )
    yield (
        "**Disk.** Keep room for a second copy of what is restated: old versions are kept for `keep_superseded_days`. "
        "ext4 has one inode for each 16 kB unless it was made with another ratio, so compare `df -i` with the table "
        "before you begin. Typed tables come on top if you make them: [Columns](performance.md#columns) compares one "
        "with its files. [Performance](performance.md) and [Dagster at scale](dagster-scale.md) measure speed."
    )
    files = real["files"] / needs.size_of(real).participant_weeks * STUDY.participant_weeks
    yield (
        f"**In an object store**, each new file is a PUT: {files_a_day:,.0f} a day and participant, and "
        f"{files / 1e6:,.1f} million in the first backfill. If a million costs {_PUTS_PRICE:.0f} USD, that backfill "
        f"costs {files / 1e6 * _PUTS_PRICE:,.0f} USD in requests. [Use an object store]"
        "(object-stores.md#requests-and-costs) counts the others, which are few."
    )


_GROWTH = """| what | grows with |
| --- | --- |
| first backfill, disk, manifests, log | participant-weeks |
| a refresh | participants who sent something; nothing else of the study matters |
| a look with nothing new | one request; its answer with the participants |
| a full comparison by hash | files |
| the daily checks and tables | participants and days of the whole study: the server's counts of all days are read |
| memory of a run of raw data | nearly nothing |
| memory of the daily checks | [rows of `coverage`](performance.md#coverage-of-a-large-study) |
| Dagster's history | windows recorded: once each in a backfill, and again whenever their data changes |"""


def _proof(results: Results) -> Iterator[str]:
    small, large = (results["studies"][name] for name in ("hundredth", "tenth"))
    yield (
        f"A hundredth of that study ({small['participants']} participants by {small['days']} days) was played, and "
        f"each of its figures multiplied by what it grows with. Then a tenth ({large['participants']} by "
        f"{large['days']}) was played. Both have real numbers of participants, days, and windows, but only one hour a "
        f"day of the hourly streams ({large['files']:,} files in the tenth), with a row in each file. The limits of a "
        "request are as much smaller, so that a request covers as many weeks as it would."
    )
    rows = [
        (
            each.step,
            _SHOWN[each.figure],
            as_plain(each.figure, each.small),
            as_plain(each.figure, each.predicted),
            as_plain(each.figure, each.measured),
            as_percent(each.percent),
        )
        for each in differences(results)
    ]
    yield table(("what", "figure", "hundredth", "tenth, predicted", "tenth, measured", "predicted too high by"), rows)
    found = [each for each in differences(results) if each.figure != "cpu_seconds"]
    much, little = (max(abs(each.percent) for each in found if is_large(each) is large) for large in (True, False))
    yield (
        "The large items (first backfill, full audit, disk) were predicted to within "
        f"{much:.0f} %; small ones (a day's refresh, late data, the daily checks, the log) were off by up to "
        f"{little:.0f} %: leave that much room there. Processor seconds differ more, because a step is short. "
        "Memory is taken to stay the same, which that of the daily checks does not (see above)."
    )


def is_large(difference: needs.Difference) -> bool:
    """Whether a plan rests on this figure."""
    return difference.step in ("backfill", "audit of everything", "lake") and difference.figure != "log_bytes"


def _method(results: Results) -> str:
    studies = results["studies"]
    real = studies["real"]
    when = "; ".join(f"{name} {each['taken']}, {machine.load_before(each['load'])}" for name, each in studies.items())
    facts = "; ".join(f"{name} {value}" for name, value in [*results["machine"].items(), *results["versions"].items()])
    return (
        "This page is the output of `python -m benchmarks.cost --json benchmarks/cost.json --doc docs/cost.md`. The "
        "package's own definitions run through Dagster, with its sensors, schedules, and jobs, against the simulated "
        "server, step by step in one process, whose peak memory is reset before each. A participant-week is from "
        f"{real['participants']} participants (Android and iOS) by {real['days']} days with real files and sizes. "
        "Requests and bytes are counted at the server, and do not depend on the machine. Processor seconds do, and on "
        f"what else it does. Measured: {when}. {facts}."
    )
