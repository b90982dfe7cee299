"""What was aimed at, whether it is met, and why not where it is not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Results = Mapping[str, Any]
_MEGA = 1_000_000
TIMES = "\N{MULTIPLICATION SIGN}"


@dataclass(frozen=True, kw_only=True)
class Aim:
    """``value`` takes a number from the results (``KeyError`` where it was not measured), which ``holds`` judges.

    ``reason`` tells why it is not met, for the case that it is not.
    """

    title: str
    wanted: str
    value: Callable[[Results], float]
    holds: Callable[[float], bool]
    unit: str = TIMES
    reason: Callable[[Results], str]


def binds(results: Results) -> Iterator[str]:
    """Paragraphs on what the limits are; numbers of this machine only where they were measured."""
    limits = results.get("limits", {})
    alone, together = limits.get("cryptease lock MB/s"), limits.get("cryptease lock, many files MB/s")
    here = f" (here, in this run, {alone:.0f} MB/s)" if alone else ""
    in_step = f" ({together:.0f} MB/s)" if together else ""
    yield (
        "Where data is large, encryption binds. The format of `cryptease`, which mano's users can open, locks with AES "
        "in CFB8 mode: one block of AES for each byte, each of which waits for the one before. A core locks some 25 to "
        f"40 MB/s of one file{here}. Two things make that more. The server's compressed frames are kept as they are: "
        "only a third of the bytes has to be locked. And hundreds of files are locked in step: a byte waits for the "
        "one before it in its own file but not for those of other files, so that one call of AES serves the next byte "
        f"of each{in_step}. Recordings of more than some hundred kB are too few at a time for that; several are locked "
        "at once in threads."
    )
    yield (
        "Where files are small, mano is bound by the derivation of a key for each file. Ours derives one key per run, "
        "with a random IV for each file; what remains is that each file is on the disk (`fsync`) before its manifest "
        "names it, and Python, which works on one core at a time."
    )
    yield (
        "A real server is slower than the simulated one. One on two cores, with its files on a local disk, was "
        "measured at 240 to 300 files and 35 MB of plain content a second, with either version of `get-data`. What is "
        "compared here are therefore the clients; beside such a server, one that is faster than these rates waits for "
        "the server."
    )


REMARKS = {
    "accelerometer": (
        "*Ours* takes version 2 of `get-data` and keeps its compression. `age` locks several times faster than "
        "`cryptease`, and its files can't be opened by mano."
    ),
    "audio": "Recordings are random bytes here, so that all of them have to be locked: the ciphers' own speeds show.",
    "backfill": (
        "mano starts in September 2015, asks for five days at a time, and sleeps three seconds after each; that sleep "
        "is not waited for but added. Ours asks once which days have data."
    ),
    "refresh": (
        "mano has no way to ask for news: it downloads everything again (not locked here, which is to its advantage). "
        "Its own registry can't be sent as it is, and hides changed files if it is sent otherwise. Ours compares one "
        "answer of totals with what it remembers of the last look; without a difference, no run is started."
    ),
    "reading": (
        "Ours unlocks, decompresses, checks every file against its manifest, and gives the same types for every file; "
        "pandas and pyarrow read plain CSV files and guess types. *Unlock and check alone* is the time before parsing. "
        "A time range opens no file outside of it; columns that are not asked for are not converted."
    ),
    "memory": (
        "One archive in one request, of recordings of 5 MB that do not compress, locked with `cryptease`. Peaks are of "
        "the whole process: ours starts at some 170 MB, which is Dagster and pandas, imported before anything is done."
    ),
}


def _ratio(results: Results, workload: str) -> float:
    clients = results["workloads"][workload]["clients"]
    return float(clients["mano"]["seconds"] / clients["ours"]["seconds"])


def _processor(results: Results, workload: str, client: str, other: str) -> float:
    """One client's processor seconds divided by another's."""
    clients = results["workloads"][workload]["clients"]
    return float(clients[client]["cpu_seconds"] / clients[other]["cpu_seconds"])


def _requests(results: Results, client: str) -> float:
    return float(results["workloads"]["backfill"]["clients"][client]["requests"])


def _grown(case: Results) -> float:
    return float(max(0, case["peak_bytes"] - case["base_bytes"]))


def _spread(peaks: list[float]) -> float:
    return (max(peaks) - min(peaks)) / _MEGA


def _reading(results: Results) -> float:
    clients = results["workloads"]["reading"]["clients"]
    plain = min(clients[f"{name}, plain files"]["seconds"] for name in ("pandas", "pyarrow"))
    return float((plain + clients["ours, unlock and check alone"]["seconds"]) / clients["ours"]["seconds"])


def _small_files(workload: str, title: str) -> Aim:
    return Aim(
        title=title,
        wanted=f"≥ 30 {TIMES} mano",
        value=lambda results: _ratio(results, workload),
        holds=lambda ratio: ratio >= 30,
        reason=lambda results: (
            "Each file is created, locked, brought to the disk with `fsync`, moved, and recorded with three hashes in "
            "a manifest that is authenticated; mano hashes nothing, and does not wait for the disk. Each run also "
            f"checks its passphrase first, which takes {results['limits']['passphrase check ms']:.0f} ms whatever "
            "there is to fetch. One call that brings all files to the disk at once (`syncfs`) is faster than `fsync` "
            "for each, but not every file system obeys it, Linux before 5.8 keeps its errors to itself, and it waits "
            "for what other programs have written. In processor seconds mano needs "
            f"{_processor(results, workload, 'mano', 'ours'):.0f} {TIMES} as much as ours. The rate of files is above "
            "what a real server delivers (see below), so that less work per file would not be noticed there."
        ),
    )


AIMS = (
    Aim(
        title="Download and lock, accelerometer",
        wanted=f"≥ 8 {TIMES} mano",
        value=lambda results: _ratio(results, "accelerometer"),
        holds=lambda ratio: ratio >= 8,
        reason=lambda results: (
            f"Locking is {1 - _processor(results, 'accelerometer', 'ours, not locked', 'ours'):.0%} of our time on the "
            "processor; the rest is decompressing and three hashes of each file (see below). On the processor mano "
            f"needs {_processor(results, 'accelerometer', 'mano', 'ours'):.1f} {TIMES} as much; ours can use several "
            "cores and mano one: two free cores give at most twice that, four cores four times."
        ),
    ),
    _small_files("small", "Download and lock, small files"),
    _small_files("gps", "Download and lock, GPS"),
    Aim(
        title="First backfill, requests",
        wanted="≤ 1/50 of mano's",
        value=lambda results: _requests(results, "mano") / _requests(results, "ours"),
        holds=lambda ratio: ratio >= 50,
        unit="times fewer",
        reason=lambda _: "Some requests are made once per run whatever its size, to learn what the server can do.",
    ),
    Aim(
        title="Refresh with nothing new",
        wanted="one request per study",
        value=lambda results: float(results["workloads"]["refresh"]["clients"]["ours"]["requests"]),
        holds=lambda requests: requests <= 1,
        unit="request(s)",
        reason=lambda _: "More than the one request for the totals was made.",
    ),
    Aim(
        title="Memory beyond a process with Dagster imported",
        wanted="< 300 MB",
        value=lambda results: max(_grown(case["ours"]) for case in results["memory"]["archives"].values()) / _MEGA,
        holds=lambda megabytes: megabytes < 300,
        unit="MB at most",
        reason=lambda _: "It grew beyond what buffers and threads explain.",
    ),
    Aim(
        title="Memory of the largest archive and the smallest",
        wanted="flat: < 100 MB apart",
        value=lambda results: _spread([case["ours"]["peak_bytes"] for case in results["memory"]["archives"].values()]),
        holds=lambda megabytes: megabytes < 100,
        unit="MB apart",
        reason=lambda _: "It grew with the archive.",
    ),
    Aim(
        title="Reading, against the faster of pandas and pyarrow with unlocking added",
        wanted=f"near 1 {TIMES}",
        value=_reading,
        holds=lambda ratio: ratio >= 0.8,
        reason=lambda _: "Unlocking, checking and parsing share the processor, and types are given to every column.",
    ),
)


def judged(results: Results) -> Iterator[tuple[Aim, str, bool]]:
    """Each aim that was measured, with its value in words and whether it is met."""
    for aim in AIMS:
        try:
            value = aim.value(results)
        except KeyError:
            continue
        yield aim, f"{value:,.1f} {aim.unit}", aim.holds(value)


def unmet(results: Results) -> list[Aim]:
    return [aim for aim, _, met in judged(results) if not met]
