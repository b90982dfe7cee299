"""How fast a lake is adopted, verified, exported, and rekeyed, against what hashes, cipher, zstd, and the disk allow.

Each is done in a process of its own, once by the package and once by a bare loop over the same files, which knows where
they are, does nothing but that work, and uses as many threads as there are cores. ``python -m benchmarks.maintenance``
is such a process; its standard input tells what to do.
"""

from __future__ import annotations

import hashlib
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any
from unittest import mock

import msgspec
import zstandard

from benchmarks import machine
from benchmarks.adopt import take_over
from benchmarks.process import is_real_time, measured, run_module
from benchmarks.server import Served, ServerProcess
from benchmarks.worlds import Scale, build
from dagster_beiwe.client import BeiweClient
from dagster_beiwe.credentials import Credentials
from dagster_beiwe.encryption import Cipher, CrypteaseCipher, encrypt_bytes
from dagster_beiwe.exports.folder import ExportFolder, Request
from dagster_beiwe.exports.raw_data import export
from dagster_beiwe.exports.selection import Contents, Selection
from dagster_beiwe.lake import BeiweLake, LakeWriter, StudyLake
from dagster_beiwe.maintenance.rekey import rekey_study
from dagster_beiwe.maintenance.verify import verify_study
from dagster_beiwe.private_files import make_folder
from dagster_beiwe.progress import Progress
from dagster_beiwe.windows import windows_between

Costs = dict[str, Any]
Job = Mapping[str, Any]

DATA = {"hours": "Accelerometer hours of 0.3 to 0.9 MB", "small": "Small files, 85 per participant and day"}
"""Workloads of ``worlds``, and what they are."""

WORKS = ("adopt", "adopt, locked by mano", "verify", "export", "rekey")
"""What is done, in this order: the first fills the lake of the others."""

_RUNS: Mapping[Scale, int] = {"full": 3, "quick": 1, "tiny": 1}
"""What else the disk has to do makes one run as much as half as long again as another, so each pair has its ratio."""

NAMES: Mapping[Scale, int] = {"full": 16, "quick": 2, "tiny": 1}
"""So many names each participant has in the lake that is verified: the others' lake is verified in no time."""

_PASSPHRASE, _NEW_PASSPHRASE = "a passphrase of the benchmark", "another passphrase of the benchmark"
_BATCH_FILES = 250


def measure(scale: Scale, *, folder: Path, say: Callable[[str], None] = lambda _: None) -> Costs:
    """Seconds of each work and of its limit, for each kind of data; medians of alternating runs."""
    costs: Costs = machine.moment() | {"real_time": is_real_time(), "data": {}}
    folder.mkdir(exist_ok=True)
    for name, title in DATA.items():
        with ServerProcess(f"lake of {name}", scale) as server:
            works = measure_works(server.served, name, scale, folder=folder / name, say=say)
            costs["data"][name] = {"title": title, "works": works}
    return costs


def measure_works(
    served: Served,
    name: str,
    scale: Scale,
    *,
    folder: Path,
    say: Callable[[str], None] = lambda _: None,
    run: Callable[[Job], Costs] | None = None,
) -> Costs:
    """What each work takes with one kind of data, ours and the limit; each ``run`` in a process of its own."""
    run = run or (lambda job: run_module("benchmarks.maintenance", given=job))
    one = served.participants[:1]
    folder.mkdir()
    _write_tree(name, scale, folder / "plain", served.participants, locked=False)
    _write_tree(name, scale, folder / "locked", one, locked=True)
    found: Costs = {}
    lake = many = ""
    for work in WORKS:
        tree = folder / ("locked" if "locked" in work else "plain")
        people = one if "locked" in work else served.participants
        runs: dict[str, list[Costs]] = {"ours": [], "limit": []}
        for _ in range(_RUNS[scale]):
            for side, cases in runs.items():
                target = tempfile.mkdtemp(dir=folder)
                job = {
                    "work": work, "side": side, "served": vars(served), "tree": str(tree), "participants": people,
                    "lake": many if work == "verify" else lake, "target": target,
                }  # fmt: skip
                cases.append(run(job))
                say(f"  {name}, {work}, {side}: {cases[-1]['seconds']:.2f} s")
                if work == "adopt" and side == "ours":
                    lake = target
        if not many:
            many = tempfile.mkdtemp(dir=folder)
            _multiply(_lake(Path(lake), served.study_id), _lake(Path(many), served.study_id), names=NAMES[scale])
        assert len({(case["files"], case["size_bytes"]) for case in (*runs["ours"], *runs["limit"])}) == 1, runs
        found[work] = {
            side: {key: statistics.median(case[key] for case in cases) for key in cases[0]}
            for side, cases in runs.items()
        }
        pairs = zip(runs["limit"], runs["ours"], strict=True)
        found[work]["ours"]["ratio"] = statistics.median(limit["seconds"] / ours["seconds"] for limit, ours in pairs)
    return found


def _write_tree(name: str, scale: Scale, folder: Path, participants: Sequence[str], *, locked: bool) -> None:
    """Files as mano saves them."""
    world = build(f"lake of {name}", scale).world
    (study,) = world.studies.values()

    def write(path: Path, data: bytes) -> None:
        path.write_bytes(encrypt_bytes(data, _PASSPHRASE) if locked else data)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for file in world.files(study.id):
            if file.participant_id in participants:
                path = folder / f"{file.member_stem}.csv{'.lock' if locked else ''}"
                path.parent.mkdir(parents=True, exist_ok=True)
                pool.submit(write, path, file.read())


def _multiply(source: StudyLake, target: StudyLake, *, names: int) -> None:
    """Commit each participant's windows under several names; their files are those of the source, by other names."""
    origin, copy = (Path(lake.storage.describe()) for lake in (source, target))
    with mock.patch("os.fsync"):  # nothing of this has to survive
        for participant in source.participants():
            manifests = list(source.manifests(participant))
            for name in (f"{participant}-{number}" for number in range(names)):
                with LakeWriter(target, run_id="benchmark", participants=[name]) as writer:
                    plan = writer.plan(name, [each.window for each in manifests])
                    for manifest in manifests:
                        for record in manifest.files:
                            path = copy / target.folder(name, record.path)
                            make_folder(path.parent)
                            os.link(origin / source.folder(participant, record.path), path)
                        own = msgspec.structs.replace(manifest, participant=name)
                        writer.adopt(plan, own, [], compared=int(manifest.span.end.timestamp()))


# Ours


def _adopt(job: Job) -> Costs:
    """Take over a tree, as the command does, without Dagster's records."""
    served = _served(job)
    start, end = datetime.fromisoformat(served.start), datetime.fromisoformat(served.end)
    lake = _lake(Path(job["target"]), served.study_id)
    with BeiweClient(_keys(served)) as client:
        windows = list(windows_between("weekly", start, end))
        adoption, files = take_over(client, lake, Path(job["tree"]), windows, passphrase=_PASSPHRASE)
    assert adoption.outcomes.adopted == files, adoption.outcomes
    return {"files": adoption.outcomes.adopted, "size_bytes": adoption.outcomes.adopted_bytes}


def _verify(job: Job) -> Costs:
    found = verify_study(_held(job), processes=True)
    assert found.intact, found.findings
    return {"files": found.files_checked, "size_bytes": found.bytes_checked}


def _export(job: Job) -> Costs:
    """Write Beiwe's own tree, as the command does."""
    lake, selection, target = _held(job).at(), Selection(form="tree"), Path(job["target"])
    request = Request(study_id=lake.study_id, form="tree")
    contents = Contents.of(lake, selection)
    with ExportFolder.open(target, request, lake.state.head, temporary=False) as folder:
        result = export(lake, selection, contents, folder, Progress(), processes=True)
        folder.finish()
    return {"files": result.files, "size_bytes": result.size_bytes}


def _rekey(job: Job) -> Costs:
    lake = _held(job)
    result = rekey_study(lake, _lake(Path(job["target"]), lake.study_id, _NEW_PASSPHRASE), processes=True)
    return {"files": result.files_copied, "size_bytes": result.bytes_copied}


# The limits


def _adopt_barely(job: Job) -> Costs:
    """Read, decrypt if locked, compress, encrypt, write, and flush."""
    paths = [path for path in Path(job["tree"]).rglob("*") if path.is_file()]
    targets = _targets(Path(job["target"]), len(paths))
    sizes: list[int] = []

    def read(path: Path) -> bytearray:
        data = path.read_bytes()
        # Each file that mano locked has a key of its own.
        data = _decrypted(CrypteaseCipher(_PASSPHRASE), data) if path.name.endswith(".lock") else data
        sizes.append(len(data))
        return bytearray(zstandard.ZstdCompressor(level=3).compress(data))

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        _encrypt_and_write(
            pool, CrypteaseCipher(_PASSPHRASE), (pool.map(read, batch) for batch in _batches(paths)), targets
        )
    return {"files": len(paths), "size_bytes": sum(sizes)}


def _verify_barely(job: Job) -> Costs:
    """Read and hash."""
    paths = _stored(job)

    def work(batch: Sequence[str]) -> int:
        size_bytes = 0
        for path in batch:
            with open(path, "rb", buffering=0) as file:
                data = file.read()
            hashlib.sha256(data).hexdigest()
            size_bytes += len(data)
        return size_bytes

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return {"files": len(paths), "size_bytes": sum(pool.map(work, _batches(paths)))}


def _export_barely(job: Job) -> Costs:
    """Read, decrypt, decompress, and write."""
    paths, cipher = _stored(job), CrypteaseCipher(_PASSPHRASE)
    targets = _targets(Path(job["target"]), len(paths))

    def work(batch: Sequence[tuple[str, str]]) -> int:
        size_bytes = 0
        for path, target in batch:
            with open(path, "rb", buffering=0) as file:
                frame = _decrypted(cipher, file.read())
            with open(target, "xb", buffering=0) as file, zstandard.ZstdDecompressor().stream_reader(frame) as reader:
                size_bytes += file.write(reader.readall())
        return size_bytes

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return {"files": len(paths), "size_bytes": sum(pool.map(work, _batches([*zip(paths, targets, strict=True)])))}


def _rekey_barely(job: Job) -> Costs:
    """Read, decrypt, encrypt, write, and flush; what is compressed stays so."""
    paths, old = _stored(job), CrypteaseCipher(_PASSPHRASE)
    targets = _targets(Path(job["target"]), len(paths))

    def read(path: str) -> bytearray:
        with open(path, "rb", buffering=0) as file:
            return bytearray(_decrypted(old, file.read()))

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        batches = (pool.map(read, batch) for batch in _batches(paths))
        _encrypt_and_write(pool, CrypteaseCipher(_NEW_PASSPHRASE), batches, targets)
    return {"files": len(paths), "size_bytes": job["plain_bytes"]}


def _encrypt_and_write(
    pool: ThreadPoolExecutor, cipher: Cipher, batches: Iterable[Iterable[bytearray]], targets: Sequence[str]
) -> None:
    """Encrypt files together, as fast as the format allows, while threads read the next and write the last ones."""
    left, writing = iter(targets), list[Iterator[None]]()

    def write(job: tuple[str, Iterable[bytes | bytearray | memoryview]]) -> None:
        target, chunks = job
        with open(target, "xb", buffering=0) as file:
            file.write(b"".join(chunks))
            os.fsync(file.fileno())

    for files in _one_ahead(batches):
        stored = cipher.encrypt_all([*files])
        writing.append(pool.map(write, [(next(left), chunks) for chunks in stored]))
        if len(writing) > 1:
            list(writing.pop(0))
    for each in writing:
        list(each)


def _one_ahead(batches: Iterable[Iterable[bytearray]]) -> Iterator[Iterable[bytearray]]:
    """The batches, each begun while the one before it is in use."""
    before: Iterable[bytearray] | None = None
    for batch in batches:
        if before is not None:
            yield before
        before = batch
    if before is not None:
        yield before


def _batches(items: Sequence[Any]) -> list[Sequence[Any]]:
    return [items[start : start + _BATCH_FILES] for start in range(0, len(items), _BATCH_FILES)]


def _decrypted(cipher: Cipher, data: bytes) -> bytes:
    decryptor = cipher.decryptor()
    return decryptor.update(data) + decryptor.finish()


def _targets(folder: Path, files: int) -> list[str]:
    """New files in a few folders, as a participant's streams have them."""
    folders = [folder / str(number) for number in range(-(-files // 1000))]
    for each in folders:
        each.mkdir()
    return [f"{folders[number // 1000]}/{number}" for number in range(files)]


def _stored(job: Job) -> list[str]:
    """The files of the lake, found beforehand."""
    paths: list[str] = job["stored"]
    return paths


def _held(job: Job) -> StudyLake:
    return _lake(Path(job["lake"]), job["served"]["study_id"])


def _lake(folder: Path, study_id: str, passphrase: str = _PASSPHRASE) -> StudyLake:
    return BeiweLake(folder).study(study_id, passphrase=passphrase)


def _served(job: Job) -> Served:
    lists = {name: tuple(job["served"][name]) for name in ("participants", "streams")}
    return Served(**{**job["served"], **lists})


def _keys(served: Served) -> Credentials:
    return Credentials(url=served.url, access_key=served.access_key, secret_key=served.secret_key)


def _list_stored(lake: StudyLake) -> Costs:
    """What the bare loops know beforehand: where the files lie, and how large their content is."""
    paths: list[str] = []
    size_bytes = 0
    for participant in lake.participants():
        for manifest in lake.manifests(participant):
            paths += [f"{lake.storage.describe()}/{lake.folder(participant, each.path)}" for each in manifest.files]
            size_bytes += sum(each.size_bytes for each in manifest.files)
    return {"stored": paths, "plain_bytes": size_bytes}


_SIDES: Mapping[str, Mapping[str, Callable[[Job], Costs]]] = {
    "adopt": {"ours": _adopt, "limit": _adopt_barely},
    "adopt, locked by mano": {"ours": _adopt, "limit": _adopt_barely},
    "verify": {"ours": _verify, "limit": _verify_barely},
    "export": {"ours": _export, "limit": _export_barely},
    "rekey": {"ours": _rekey, "limit": _rekey_barely},
}


def carry_out(job: Job) -> Costs:
    """Do what a job asks for, and tell what it took and how much was done. Imports are not counted."""
    if job["lake"] and job["side"] == "limit":
        job = {**job, **_list_stored(_held(job))}
    work = _SIDES[job["work"]][job["side"]]
    costs: Costs = {}
    with measured(costs):
        done = work(job)
    return {**costs, **done}


if __name__ == "__main__":
    print(json.dumps(carry_out(json.load(sys.stdin))))
