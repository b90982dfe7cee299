"""The physical limits beside the workloads: what ciphers, hashes, zstd and the disk give by themselves, on one core."""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import zstandard

from benchmarks.worlds import build
from dagster_beiwe.encryption import AgeCipher, Cipher, CrypteaseCipher, cfb8
from dagster_beiwe.lake import BeiweLake
from dagster_beiwe.lake.storage.local import LocalStorage

_CHUNK_BYTES = 256 * 1024
_FILES_TOGETHER = 300
LANES = (16, 64, 150)
"""So many files are encrypted in step, to see from when on it is worth it."""


def measure(folder: Path, *, size_bytes: int, files: int) -> dict[str, float]:
    """Rates in MB/s (10^6 bytes) of plain content, and milliseconds for what is done once per file or study."""
    sample = _sample(size_bytes)
    megabytes = len(sample) / 1e6
    packed = zstandard.ZstdCompressor(level=3).compress(sample)
    passphrase = CrypteaseCipher("benchmark")
    found = {
        "zstd ratio": len(sample) / len(packed),
        "zstd compress MB/s": megabytes / _seconds(lambda: zstandard.ZstdCompressor(level=3).compress(sample)),
        "zstd decompress MB/s": megabytes / _seconds(lambda: zstandard.ZstdDecompressor().decompress(packed)),
        "key derivation ms": 1000 * _seconds(lambda: CrypteaseCipher("benchmark").encryptor()),
        "passphrase check ms": 1000 * _seconds(lambda: _open_lake(folder)),
    }
    for algorithm in ("md5", "sha1", "sha256"):
        found[f"{algorithm} MB/s"] = megabytes / _seconds(lambda name=algorithm: hashlib.new(name, sample))  # type: ignore[misc]
    found |= _cipher_rates("cryptease", passphrase, sample)
    files_together = _cut(sample, _FILES_TOGETHER)
    together = _seconds(lambda: [*map(list, passphrase.encrypt_all([bytearray(each) for each in files_together]))])
    found["cryptease encrypt, many files MB/s"] = megabytes / together
    found |= {f"cryptease encrypt, {lanes} files in step MB/s": _in_step(sample, lanes) for lanes in LANES}
    found |= _age_rates(sample)
    found["disk write and fsync MB/s"] = megabytes / _seconds(lambda: _write(folder, [sample]))
    small = [sample[:400]] * files
    found["disk create and fsync ms per small file"] = 1000 * _seconds(lambda: _write(folder, small)) / files
    return found


def _in_step(sample: bytes, lanes: int) -> float:
    """The rate of so many files in step, worth it or not."""
    files, ivs = _cut(sample, lanes), [bytes(cfb8.IV_BYTES)] * lanes
    seconds = _seconds(lambda: cfb8.encrypt_in_step(bytes(32), ivs, [bytearray(each) for each in files], fewest=1))
    return len(sample) / 1e6 / seconds


def _open_lake(folder: Path) -> None:
    """Begin a study's lake anew: its key file is made, as it is read in each later run."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        BeiweLake(place).study("LimitLimitLimitLimitLimi", passphrase="benchmark").log.begun()


def _sample(size_bytes: int) -> bytes:
    """Accelerometer data as the workloads have it."""
    (study,) = (data := build("accelerometer", "quick")).world.studies.values()
    chunks: list[bytes] = []
    for file in data.world.files(study.id):
        if sum(map(len, chunks)) >= size_bytes:
            break
        chunks.append(file.read())
    return b"".join(chunks)[:size_bytes]


def _cut(sample: bytes, files: int) -> list[bytes]:
    """The sample as so many files."""
    size = -(-len(sample) // files)
    return [sample[start : start + size] for start in range(0, len(sample), size)]


def _age_rates(sample: bytes) -> dict[str, float]:
    try:
        import pyrage
    except ImportError:  # an optional extra
        return {}
    return _cipher_rates("age", AgeCipher(identity=str(pyrage.x25519.Identity.generate())), sample)


def _cipher_rates(name: str, cipher: Cipher, sample: bytes) -> dict[str, float]:
    stored: list[bytes] = []
    chunks = [sample[start : start + _CHUNK_BYTES] for start in range(0, len(sample), _CHUNK_BYTES)]

    def encrypt() -> None:
        encryptor = cipher.encryptor()
        stored[:] = [*(encryptor.update(chunk) for chunk in chunks), encryptor.finish()]

    def decrypt() -> None:
        decryptor = cipher.decryptor()
        for chunk in stored:
            decryptor.update(chunk)
        decryptor.finish()

    encrypt()  # derives the key
    megabytes = len(sample) / 1e6
    return {
        f"{name} encrypt MB/s": megabytes / _seconds(encrypt),
        f"{name} decrypt MB/s": megabytes / _seconds(decrypt),
    }


def _write(folder: Path, contents: list[bytes]) -> None:
    """As the lake writes: a new file, complete on the disk before it counts as written."""
    storage = LocalStorage(folder)
    for number, content in enumerate(contents):
        name = f"{os.urandom(8).hex()}-{number}"
        with storage.create(name) as file:
            file.write(content)
        storage.delete(name)


def _seconds(work: Callable[[], object]) -> float:
    """The shortest of three runs: a limit is what is possible."""
    times = []
    for _ in range(3):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return min(times)
