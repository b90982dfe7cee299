"""What was tried and did not help, each with its number; and what the ratios depend on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.aims import TIMES
from benchmarks.limits import LANES

_TRIED = {
    "Recordings: AES of another library": "pycryptodome encrypts 32 to 35 MB/s of one file on a core and OpenSSL, by "
    "`cryptography`, 33. Each byte waits for the 14 rounds of AES of the byte before it, whoever implements them",
    "Recordings: larger chunks": "64 kB, 256 kB, and 1.5 MB at a time are all encrypted at 32 to 33 MB/s",
    "GPS: each file alone, in threads that do not need Python's lock": "0.68 s of processor time in place of 0.43 s",
    "GPS: the server's daily counts first, so that one request brings everything": "0.56 to 0.67 s of processor time "
    "in place of 0.56 to 0.63 s with two requests",
    "GPS: one thread that stores files in place of four": "336 files take 130 ms in place of 90 on a disk, "
    "although 24 in place of 54 in memory, where nothing waits but the threads for Python's lock",
    "GPS: one thread that writes files, and 4 to 32 that flush them": "as long as four threads that do both",
    "A server with real costs: batches of 128 files, or of what arrives in a second, in place of 1,000": "26.5 to "
    "26.7 s in place of 26.7 to 27.0, but 8 s of processor time in place of 6; GPS and accelerometer data "
    "from a fast server take a tenth longer",
    "A server with real costs: batches of 1,000 files in place of 500": "5.7 s of processor time in place of 6.7, but "
    "26.9 s for 4 runs at once in place of 26.3, and 23 MB more memory",
    "`rekey`: threads for two windows at the same time, one read or proven while the other is encrypted": "15.2 to "
    "16.1 s in place of 14.6 to 15.0, because threads take Python's lock from each other. Two processes need 8 to 9",
    "`rekey`, `adopt`: a process of its own for encrypting alone": "12.3 to 12.6 s in place of 11.6 to 12.5, and 14.2 "
    "in place of 15.6: the rest waits for it",
    "`export` of hours: two processes in place of two threads": "5.0 to 5.2 s in place of 3.7 to 4.8",
    "`adopt`: one zstd compressor for each thread in place of one for each file": "12.7 s either way",
    "`verify`: a thread that lists the next participant's files while those of the last are hashed": "4.6 s in place "
    "of 4.7 for hours, but 21.8 in place of 13.4 for small files, because threads take Python's lock from each other",
    "`cryptease`: a register that moves on by a byte, in place of gathering 16 bytes of each file": "56 to 80 MB/s in "
    "place of 129 with 336 files of 0.2 MB in step: AES waits for bytes that were only just written",
    "`cryptease`: decrypting 64 or 256 kB at a time in place of 16": "as fast in one thread, but an export takes 5.4 "
    "to 5.8 s in place of 4.0",
    "Small files: one `syncfs` in place of one `fsync` per file": "faster, but not every file system honors it, Linux "
    "before 5.8 does not report its errors, and it waits for what other programs have written",
}
"""Measured in pairs on a busy machine, so that numbers of different lines cannot be compared."""


def sections(results: Mapping[str, Any]) -> Iterator[str]:
    """Paragraphs of the page."""
    yield (
        "The ratios depend on the processor. mano encrypts one byte after the other, so its speed is the latency of an "
        "AES block. Ours encrypts many files in step, so its speed is the throughput of AES blocks, and that of "
        f"Python around them. Processors differ in both: an Intel without fast AES gave 4 {TIMES} for accelerometer "
        "data with `--quick`. The ratios also depend on the number of cores, because mano uses one, and for small "
        "files on how fast the disk confirms `fsync`."
    )
    limits = results.get("limits", {})
    in_step = {lanes: limits.get(f"cryptease encrypt, {lanes} files in step MB/s") for lanes in LANES}
    if all(in_step.values()):
        alone = limits["cryptease encrypt MB/s"]
        rates = ", ".join(f"{rate:.0f} MB/s with {lanes}" for lanes, rate in in_step.items())
        yield (
            f"How many files in step are worth it: one core encrypts {rates}, and {alone:.0f} MB/s of one file after "
            "the other. Only the latter works in several threads at once, because in step Python itself is at work. "
            "With two cores, recordings in step would have to be more than a hundred at a time, all in memory."
        )
    yield "What was tried and did not help:"
    yield "\n".join(f"- {what}: {found}." for what, found in _TRIED.items())
