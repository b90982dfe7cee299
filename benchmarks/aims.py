"""The aims, whether they are met, and if not, why."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks import real_costs

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
    digits: int = 1


def binds(results: Results) -> Iterator[str]:
    """Paragraphs on what the limits are; numbers of this machine only where they were measured."""
    limits = results.get("limits", {})
    alone, together = limits.get("cryptease encrypt MB/s"), limits.get("cryptease encrypt, many files MB/s")
    here = f" (here, in this run, {alone:.0f} MB/s)" if alone else ""
    in_step = f" ({together:.0f} MB/s)" if together else ""
    yield (
        "For large data, encryption is the bottleneck. The format of `cryptease`, which mano's users can open, is AES "
        "in CFB8 mode: one AES block for each byte, and each block depends on the one before. One core encrypts about "
        f"25 to 40 MB/s of one file{here}. Two things make it faster. The server's compressed frames are kept, so "
        "only a third of the bytes has to be encrypted. And hundreds of files are encrypted in step: a byte depends "
        "on the byte before it in its own file, but not on other files, so one AES call handles the next byte of each "
        f"file{in_step}. Recordings of more than a megabyte are too few at a time for that, so threads encrypt several "
        "of them at once."
    )
    yield (
        "For small files, mano spends its time deriving a key for each file. Ours derives one key per run, with a "
        "random IV for each file. What remains is flushing each file to the disk (`fsync`) before its manifest names "
        "it, and Python, which works on one core at a time."
    )
    yield (
        "A real server is slower than the simulated one. One on two cores, with its files on a local disk, delivered "
        "240 to 300 files and 35 MB of plain content per second, with either version of `get-data`. This page "
        "therefore compares the clients. With such a server, a client that is faster than these rates waits for the "
        "server."
    )


REMARKS = {
    "accelerometer": (
        "*Ours* uses version 2 of `get-data` and keeps its compression. `age` encrypts several times faster than "
        "`cryptease`, but mano cannot open its files."
    ),
    "audio": "The recordings are random bytes, so all of them are encrypted: this shows the ciphers' own speeds.",
    "backfill": (
        "mano starts in September 2015, requests five days at a time, and sleeps three seconds after each request. The "
        "sleep is added, not waited for. Ours asks once which days have data."
    ),
    "refresh": (
        "mano cannot ask what is new, so it downloads everything again (not encrypted here, which is to its "
        "advantage). Its own registry cannot be sent as it is, and hides changed files if it is sent otherwise. Ours "
        "compares one answer of totals with what it remembers. If nothing differs, no run is started."
    ),
    "reading": (
        "Ours decrypts, decompresses, checks every file against its manifest, and gives every file the same types; "
        "threads read ahead. *File by file as decrypted* is pyarrow's reader on the same decrypted and checked "
        "files; the other readers have plain CSV files. They guess types. *Decrypt and check alone* is the time before "
        "parsing. With a time range, no file outside it is opened; columns that you do not ask for are not converted."
    ),
    "memory": (
        "One archive in one request, of recordings of 5 MB that do not compress, encrypted with `cryptease`. Peaks are "
        "those of the whole process. Ours has Dagster and pandas imported before anything is done: see *grown by*."
    ),
}


def _ratio(results: Results, workload: str, client: str = "ours") -> float:
    clients = results["workloads"][workload]["clients"]
    return float(clients["mano"]["seconds"] / clients[client]["seconds"])


def _rate(results: Results, workload: str, client: str) -> float:
    """Megabytes of plain content per second."""
    found = results["workloads"][workload]
    return float(found["data"]["size_bytes"] / _MEGA / found["clients"][client]["seconds"])


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
    return float(clients["pyarrow, file by file as decrypted"]["seconds"] / clients["ours"]["seconds"])


def _reading_memory(results: Results) -> float:
    ours = results["workloads"]["reading"]["clients"]["ours"]
    return _grown(ours) / float(ours["frame_bytes"])


def _beside_a_real_server(case: str, title: str, most: float, reason: str) -> Aim:
    return Aim(
        title=title,
        wanted=f"≤ {most} {TIMES} the bare download",
        value=lambda results: real_costs.times_as_long(results, case),
        holds=lambda ratio: ratio <= most,
        reason=lambda _: reason,
        digits=2,
    )


def _small_files(workload: str, title: str, least: float) -> Aim:
    return Aim(
        title=title,
        wanted=f"≥ {least} {TIMES} mano",
        value=lambda results: _ratio(results, workload),
        holds=lambda ratio: ratio >= least,
        reason=lambda results: (
            "Each file is created, encrypted, flushed to the disk with `fsync`, and recorded with three hashes in an "
            "authenticated manifest; mano computes no hashes and does not wait for the disk. Each run also checks its "
            f"passphrase, which takes {results['limits']['passphrase check ms']:.0f} ms whatever there is to fetch. It "
            "does so while it asks the server for its streams; a real server takes longer for that, the simulated one "
            "answers at once. The first download has to wait, because what is held decides what is asked for. In "
            f"processor seconds, mano needs {_processor(results, workload, 'mano', 'ours'):.0f} {TIMES} as much as "
            "ours. The rate of files is higher than what a real server delivers (see below), so less work per file "
            "would make no difference there."
        ),
    )


AIMS = (
    Aim(
        title="Download and encrypt, accelerometer",
        wanted=f"≥ 8 {TIMES} mano",
        value=lambda results: _ratio(results, "accelerometer"),
        holds=lambda ratio: ratio >= 8,
        reason=lambda results: (
            f"Encrypting is {1 - _processor(results, 'accelerometer', 'ours, not encrypted', 'ours'):.0%} of our time "
            "on the processor; the rest is decompressing and three hashes per file (see below). On the processor, "
            f"mano needs {_processor(results, 'accelerometer', 'mano', 'ours'):.1f} {TIMES} as much. Ours can use "
            "several cores and mano uses one: two free cores give at most twice that, four cores four times."
        ),
    ),
    _beside_a_real_server(
        "one run",
        "All data of a month, from a server with real costs",
        1.05,
        "Each run asks the server what it can do before its first download, and the last files are stored after the "
        "last byte has arrived.",
    ),
    _beside_a_real_server(
        "runs at once",
        "The same, 4 runs at once",
        1.1,
        "The runs, and the simulated server itself, share the cores of the machine.",
    ),
    _small_files("small", "Download and encrypt, small files", 30),
    _small_files("gps", "Download and encrypt, GPS", 25),
    Aim(
        title="Download and encrypt, recordings",
        wanted=f"≥ 4 {TIMES} mano",
        value=lambda results: _ratio(results, "audio"),
        holds=lambda ratio: ratio >= 4,
        reason=lambda results: (
            "The format sets the limit. Each byte of a recording needs an AES block that waits for the one before, so "
            "one core encrypts "
            f"{results['limits']['cryptease encrypt MB/s']:.0f} MB/s, whichever library does it. Both cores "
            f"together encrypt {2 * results['limits']['cryptease encrypt MB/s']:.0f} MB/s if they do nothing else, and "
            f"mano works at {_rate(results, 'audio', 'mano'):.0f} MB/s on one: "
            f"{2 * results['limits']['cryptease encrypt MB/s'] / _rate(results, 'audio', 'mano'):.1f} {TIMES} is the "
            "most that two cores can do, and four cores twice that. Encrypting recordings in step is faster only for "
            "more than a hundred of them at a time, all in memory (see below). `age` has no such limit: "
            f"{_ratio(results, 'audio', 'ours, age'):.1f} {TIMES}."
        ),
    ),
    Aim(
        title="First backfill, requests",
        wanted="≤ 1/50 of mano's",
        value=lambda results: _requests(results, "mano") / _requests(results, "ours"),
        holds=lambda ratio: ratio >= 50,
        unit="times fewer",
        reason=lambda _: "Some requests are made once per run, whatever its size, to learn what the server can do.",
    ),
    Aim(
        title="Refresh with nothing new",
        wanted="one request per study",
        value=lambda results: float(results["workloads"]["refresh"]["clients"]["ours"]["requests"]),
        holds=lambda requests: requests <= 1,
        unit="request(s)",
        reason=lambda _: "There was more than the one request for the totals.",
    ),
    Aim(
        title="Memory beyond a process with Dagster imported",
        wanted="< 300 MB",
        value=lambda results: max(_grown(case["ours"]) for case in results["memory"]["archives"].values()) / _MEGA,
        holds=lambda megabytes: megabytes < 300,
        unit="MB at most",
        reason=lambda _: "It grew by more than buffers and threads explain.",
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
        title="Reading, against pyarrow's reader on each decrypted file",
        wanted=f"≥ 1 {TIMES}",
        value=_reading,
        holds=lambda ratio: ratio >= 1,
        reason=lambda _: "Ours compares each file with its header and its times, and gives every column its type.",
    ),
    Aim(
        title="The same: memory, in that of the frame",
        wanted=f"≤ 1.2 {TIMES}",
        value=_reading_memory,
        holds=lambda ratio: ratio <= 1.2,
        reason=lambda _: "Files that are read ahead, and columns as they grow, need memory beside the frame.",
    ),
    Aim(
        title="Coverage of 300 participants and a year, one file per hour, the first time",
        wanted="< 10 s",
        value=lambda results: float(results["coverage"]["studies"][0]["made_seconds"]),
        holds=lambda seconds: seconds < 10,
        unit="s",
        reason=lambda results: (
            f"The records of {results['coverage']['studies'][0]['files']:,} files are unpacked and parsed, which takes "
            "most of the time, on one core. After that, only the manifests of windows that changed are read."
        ),
    ),
    Aim(
        title="The same, each later day",
        wanted="< 10 s",
        value=lambda results: float(results["coverage"]["studies"][0]["later"]["made_seconds"]),
        holds=lambda seconds: seconds < 10,
        unit="s",
        reason=lambda _: "Each day of each participant is a row of the server's counts, which are read one by one.",
    ),
    Aim(
        title="Memory of making that table, first and later",
        wanted="< 300 MB",
        value=lambda results: (
            max(_grown(table) for study in results["coverage"]["studies"] for table in (study, study["later"])) / _MEGA
        ),
        holds=lambda megabytes: megabytes < 300,
        unit="MB at most",
        reason=lambda _: "It grew by more than the table and its encrypted copy explain.",
    ),
    Aim(
        title="Two columns of one week from a table, against raw files: processor time",
        wanted=f"≥ 8 {TIMES}",
        value=lambda results: _times_as_much(results, "raw files, pandas", "a week", "cpu_seconds"),
        holds=lambda ratio: ratio >= 8,
        reason=lambda _: "Opening the table takes a part that does not depend on its size.",
    ),
    Aim(
        title="The same: bytes read",
        wanted="≥ 2 times fewer",
        value=lambda results: _times_as_much(results, "raw files, pandas", "a week", "bytes"),
        holds=lambda ratio: ratio >= 2,
        unit="times fewer",
        reason=lambda _: "The end of the file is a large part of a small table.",
    ),
    Aim(
        title="A whole table, against one encrypted as a whole: processor time",
        wanted=f"≥ 5 {TIMES}",
        value=lambda results: _times_as_much(results, "table encrypted as a whole, pandas", "all", "cpu_seconds"),
        holds=lambda ratio: ratio >= 5,
        digits=2,
        reason=lambda _: "Decompressing values and copying them into a DataFrame take most of the time of either.",
    ),
)


def _times_as_much(results: Results, other: str, part: str, what: str, of: str = "table, pandas") -> float:
    """How many times as much another way to read costs as the table."""
    ways = results["columns"]["ways"]
    return float(ways[other][part][what] / ways[of][part][what])


def judged(results: Results, more: Iterable[Aim] = ()) -> Iterator[tuple[Aim, str, bool]]:
    """Each aim that was measured, with its value in words and whether it is met."""
    for aim in (*AIMS, *more):
        try:
            value = aim.value(results)
        except KeyError:
            continue
        yield aim, f"{value:,.{aim.digits}f} {aim.unit}", aim.holds(value)


def unmet(results: Results, more: Iterable[Aim] = ()) -> list[Aim]:
    return [aim for aim, _, met in judged(results, more) if not met]
