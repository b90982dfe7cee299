"""What the report says about ``maintenance`` and ``watch``: tables, facts, and aims."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from benchmarks import machine, maintenance
from benchmarks.aims import TIMES, Aim

Results = Mapping[str, Any]
Table = tuple[Sequence[str], list[list[str]]]
_MEGA = 1_000_000
_SMALL = "small"
_WORKS = ("verify", "export", "rekey", "adopt")


def parts(results: Results) -> Iterator[tuple[str, str, Table]]:
    """Title, facts, and table of what was measured."""
    if "maintenance" in results:
        costs = results["maintenance"]
        yield "Whole lakes: verify, export, rekey, adopt", maintenance_facts(costs), maintenance_table(costs)
    if "watch" in results:
        costs = results["watch"]
        yield "Watching a large study", watch_facts(costs), watch_table(costs)


def maintenance_facts(costs: Results) -> str:
    sizes = "; ".join(
        f"{data['title'][0].lower()}{data['title'][1:]}: {data['works']['adopt']['ours']['files']:,.0f} files, "
        f"{data['works']['adopt']['ours']['size_bytes'] / _MEGA:,.0f} MB"
        for data in costs["data"].values()
    )
    return (
        "What is done with a whole lake, against its limit: a bare loop over the same files, in a process of its own, "
        "with as many threads as there are cores. The loop for `verify` reads and hashes stored files; for `export`, "
        "it decrypts, decompresses, and writes; for `rekey`, it decrypts, encrypts, and flushes; for `adopt`, it reads "
        "the old tree (one participant's, if mano locked it), compresses, encrypts, and flushes. It uses this "
        "package's cipher, knows beforehand where the files are, checks no hash, and keeps no record. A ratio is the "
        "limit's time divided by ours, the median of alternating pairs. It can be above 1, because the loop's threads "
        "wait for each other in Python. MB/s are plain bytes, for `verify` stored ones. *Processor* is the same ratio "
        "of processor seconds, and *grown by* includes all that these processes have in memory. "
        f"Data: {sizes}. `verify` gets {maintenance.NAMES['full']} of these lakes as one: each participant under as "
        f"many names, of the same files on the disk. {_measured(costs)}"
    )


def maintenance_table(costs: Results) -> Table:
    head = ("files", "what", "ratio", "processor", "seconds", "limit, s", "processor s", "MB/s", "files/s", "grown by")
    rows = []
    for data in costs["data"].values():
        for work, sides in data["works"].items():
            ours, limit = sides["ours"], sides["limit"]
            rows.append(
                [
                    data["title"].partition(",")[0].partition(" of ")[0],
                    work,
                    f"{ours['ratio']:.2f}",
                    f"{limit['cpu_seconds'] / ours['cpu_seconds']:.2f}",
                    f"{ours['seconds']:.2f}",
                    f"{limit['seconds']:.2f}",
                    f"{ours['cpu_seconds']:.2f}",
                    f"{ours['size_bytes'] / ours['seconds'] / _MEGA:,.0f}",
                    f"{ours['files'] / ours['seconds']:,.0f}",
                    _grown(ours),
                ]
            )
    return head, rows


def watch_facts(costs: Results) -> str:
    study, *others = costs["studies"]
    more = "".join(
        f" With {each['files_a_day']} files a day, {each['participants']} participants show what a file costs."
        for each in others
    )
    return (
        f"One run of a Dagster job with `coverage` and its checks `complete` and `intact`, for {study['participants']} "
        f"participants and {study['windows']:,} windows, from the start of the job to its end: *first* without a table "
        "of coverage, *again* with nothing new. `intact` compares the sizes of all files and reads the default share "
        "of them. Files of equal content are one on the disk. The server has prepared its counts, and its time is not "
        "that of the run. Memory is what a process grows by that has loaded the project's definitions."
        f"{more} {_measured(costs)}"
    )


def _measured(costs: Results) -> str:
    load = machine.load_before(costs["load"], real_time=costs.get("real_time", False))
    return f"Measured {costs['taken'][:10]}, {load}."


def watch_table(costs: Results) -> Table:
    head = ("files per participant and day", "run", "files", "seconds", "coverage, s", "checks, s", "processor s",
            "grown by")  # fmt: skip
    return head, [
        [
            str(study["files_a_day"]),
            name,
            f"{run['files']:,}",
            f"{run['seconds']:.1f}",
            f"{_step(run, 'coverage'):.1f}",
            f"{_step(run, 'check_data'):.1f}",
            f"{run['cpu_seconds']:.1f}",
            _grown(run),
        ]
        for study in costs["studies"]
        for name, run in (("first", study["first"]), ("again", study["again"]))
    ]


def _step(run: Results, name: str) -> float:
    (seconds,) = (seconds for key, seconds in run["steps"].items() if key.endswith(name))
    return float(seconds)


def _grown(case: Results) -> str:
    return f"{max(0, case['peak_bytes'] - case['base_bytes']) / _MEGA:,.0f} MB"


def _ratio(results: Results, data: str, work: str) -> float:
    return float(results["maintenance"]["data"][data]["works"][work]["ours"]["ratio"])


def _why(work: str, data: str, results: Results) -> str:
    reason = _REASONS.get((work, data), _REASONS.get((work, ""), "It does more than the limit allows for."))
    sides, limits = results["maintenance"]["data"][data]["works"][work], results["limits"]
    beyond_ms = 1000 * (sides["ours"]["cpu_seconds"] - sides["limit"]["cpu_seconds"]) - limits["passphrase check ms"]
    each_us = 1000 * beyond_ms / sides["ours"]["files"]
    hashed_kb = each_us * limits["sha256 MB/s"] / 1000
    return reason.format(each_us=each_us, hashed_kb=hashed_kb)


_REASONS: Mapping[tuple[str, str], str] = {
    ("verify", "hours"): (
        "Each file's record is parsed and checked, its folder listed, its size compared, and its name looked for among "
        "those that nothing accounts for: Python, {each_us:.0f} µs per file, in which one core hashes {hashed_kb:.0f} "
        "kB. Each process but the first takes a third of a second to start."
    ),
    ("verify", _SMALL): (
        "A small file is hashed in a microsecond. Parsing and checking its record, listing its folder, comparing its "
        "size, and looking for its name among those that nothing accounts for is Python, {each_us:.0f} µs per file."
    ),
    ("rekey", ""): (
        "Before a window is committed, the content of every old file is proven (decompressed and hashed), and so is "
        "that of every new file, which is read back and decrypted for it. The limit does none of this."
    ),
    ("adopt", ""): (
        "Each file is looked up, hashed three times, compared with the server, which answers on the same machine, and "
        "recorded. Comparing and recording is Python, on one core."
    ),
    ("export", ""): (
        "Each file's record is read, its content proven, and it gets its own name when it is complete and noted in a "
        "journal: {each_us:.0f} µs of a core for each."
    ),
}


def _of_work(work: str, data: str, title: str) -> Aim:
    limit, lakes = "cipher and disk alone", ""
    if work == "verify":
        limit, lakes = "SHA-256 alone", f" of {maintenance.NAMES['full']} lakes as one"
    return Aim(
        title=f"`{work}`{lakes}, {title}, against {limit}",
        wanted=f"≥ 0.8 {TIMES}",
        value=lambda results: _ratio(results, data, work),
        holds=lambda ratio: ratio >= 0.8,
        digits=2,
        reason=partial(_why, work, data),
    )


def _watched(results: Results) -> Results:
    found: Results = results["watch"]["studies"][0]["again"]
    return found


AIMS = (
    *(_of_work(work, "hours", "accelerometer hours") for work in _WORKS),
    *(_of_work(work, _SMALL, "small files") for work in _WORKS),
    Aim(
        title="Coverage, `complete`, and `intact` of 500 participants and 52 weeks, nothing new",
        wanted="≤ 60 s",
        value=lambda results: float(_watched(results)["seconds"]),
        holds=lambda seconds: seconds <= 60,
        unit="s",
        reason=lambda _: "Each file of each manifest is compared with its size on the disk, on one core.",
    ),
    Aim(
        title="The same: memory",
        wanted="≤ 300 MB",
        value=lambda results: float(_watched(results)["peak_bytes"] - _watched(results)["base_bytes"]) / _MEGA,
        holds=lambda megabytes: megabytes <= 300,
        unit="MB",
        reason=lambda _: "It grew by more than the table and its encrypted copy explain.",
    ),
)
