"""The workloads: which clients run on which data, how often, and what the medians are."""

from __future__ import annotations

import shutil
import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.process import Job, run
from benchmarks.server import ServerProcess
from benchmarks.worlds import Scale, sizes_of_memory

Say = Callable[[str], None]
Case = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Client:
    """One column of a workload's table: a client and its options under a label."""

    label: str
    client: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Workload:
    """What is compared: ``clients`` of the same work. ``first`` is ours, which ratios are about."""

    name: str
    title: str
    clients: Sequence[Client]
    prepare: Sequence[Client] = ()
    runs: Mapping[Scale, int] = field(default_factory=lambda: {"full": 3, "quick": 1, "tiny": 1})


_OURS = Client(label="ours", client="ours")
_WIRE2 = Client(label="wire alone, v2", client="wire", options={"version": 2})
_WIRE1 = Client(label="wire alone, v1", client="wire", options={"version": 1})
_MANO = Client(label="mano", client="mano")
_ONCE: Mapping[Scale, int] = {"full": 1, "quick": 1, "tiny": 1}

TRANSFERS = (
    Workload(
        name="accelerometer",
        title="Accelerometer hours of 0.3 to 0.9 MB: download, check, encrypt, store",
        clients=(
            _OURS,
            Client(label="ours, stored uncompressed", client="ours", options={"compression": "none"}),
            Client(label="ours, v1", client="ours", options={"version": 1}),
            Client(label="ours, age", client="ours", options={"encryption": "age"}),
            Client(label="ours, not encrypted", client="ours", options={"encryption": None}),
            _MANO,
            Client(label="mano, not encrypted", client="mano", options={"lock": False}),
            _WIRE2,
            _WIRE1,
        ),
    ),
    Workload(name="gps", title="GPS hours of 4 to 90 kB", clients=(_OURS, _MANO, _WIRE2, _WIRE1)),
    Workload(name="small", title="Small files, 85 per participant and day", clients=(_OURS, _MANO, _WIRE2, _WIRE1)),
    Workload(
        name="audio",
        title="Recordings of 1.5 MB, which do not compress",
        clients=(_OURS, Client(label="ours, age", client="ours", options={"encryption": "age"}), _MANO, _WIRE2, _WIRE1),
    ),
)
OTHERS = (
    Workload(
        name="backfill",
        title="First backfill of a participant with 60 days of data, start unknown",
        clients=(Client(label="ours", client="ours backfill"), Client(label="mano", client="mano backfill")),
        runs=_ONCE,
    ),
    Workload(
        name="refresh",
        title="Refresh of a study with nothing new",
        prepare=(Client(label="first sync", client="ours refresh", options={"prepare": True}),),
        clients=(
            Client(label="ours", client="ours refresh"),
            Client(label="mano", client="mano", options={"lock": False}),
        ),
    ),
    Workload(
        name="reading",
        title="90 days of accelerometer into pandas",
        prepare=(_OURS, Client(label="export", client="export", options={"plain": "plain"})),
        clients=(
            Client(label="ours", client="ours read"),
            Client(label="ours, window by window", client="ours iterate"),
            Client(label="ours, two columns", client="ours read", options={"columns": ["timestamp", "x"]}),
            Client(label="ours, last 7 days", client="ours read", options={"last_days": 7}),
            Client(label="ours, decrypt and check alone", client="ours decrypt"),
            Client(label="pyarrow, file by file as decrypted", client="pyarrow decrypt"),
            Client(label="pandas, plain files", client="pandas", options={"plain": "plain"}),
            Client(label="pyarrow, plain files", client="pyarrow", options={"plain": "plain"}),
        ),
    ),
)
WORKLOADS = {workload.name: workload for workload in (*TRANSFERS, *OTHERS)}


def measure(workload: Workload, scale: Scale, *, folder: Path, say: Say) -> dict[str, Any]:
    """Run a workload; the facts of its data, and of each client by its label.

    What clients write stays in ``folder``. ext4 does not reuse the inodes of removed files for half a minute and
    searches past them for each new file: removing what one run wrote would slow the next.
    """
    shared = _fresh(folder)
    with _server(workload.name, scale) as server:
        for client in workload.prepare:
            _run(server, client, shared)
        runs: dict[str, list[Case]] = {client.label: [] for client in workload.clients}
        for number in range(workload.runs[scale]):
            for client in workload.clients:
                place = shared if workload.prepare and client.client != "mano" else _fresh(folder)
                case = _run(server, client, place)
                runs[client.label].append(case)
                say(f"  {client.label}, run {number + 1}: {case['seconds']:.2f} s")
        data = {"files": server.served.files, "size_bytes": server.served.size_bytes}
    return {"title": workload.title, "data": data, "clients": {label: _median(cases) for label, cases in runs.items()}}


def measure_memory(scale: Scale, *, folder: Path, say: Say) -> dict[str, Any]:
    """Peak memory by size of an archive, which comes in one request, and for a single recording."""
    found: dict[str, Any] = {}
    folder.mkdir()
    with _server("memory", scale) as server:
        for participant, megabytes in sizes_of_memory(scale).items():
            options = {"participants": [participant]}
            label = f"{megabytes} MB" + (", one recording" if participant == "one" else "")
            found[label] = {"megabytes": megabytes}
            for client in ("ours", "mano"):
                with _temporary(folder) as own:
                    chosen = Client(label=client, client=client, options={**options, "windows": "one"})
                    found[label][client] = _run(server, chosen, own)
                say(f"  {label}, {client}: {found[label][client]['peak_bytes'] / 1e6:.0f} MB")
    return {"title": "Peak memory by size of the archive", "archives": found}


@contextmanager
def _server(workload: str, scale: Scale) -> Iterator[ServerProcess]:
    """A server that has served everything once, so that making its content counts for nobody."""
    with ServerProcess(workload, scale) as server:
        for version in () if scale == "tiny" else (1, 2):
            run(Job(client="wire", served=server.served, folder="", options={"version": version}))
        server.counts()
        yield server


@contextmanager
def _temporary(folder: Path) -> Iterator[Path]:
    path = _fresh(folder)
    try:
        yield path
    finally:
        shutil.rmtree(path)


def _fresh(folder: Path) -> Path:
    return Path(tempfile.mkdtemp(dir=folder))


def _run(server: ServerProcess, client: Client, folder: Path) -> Case:
    options = dict(client.options)
    if "plain" in options:
        options["plain"] = str(folder / options["plain"])
    server.counts()
    measured = run(Job(client=client.client, served=server.served, folder=str(folder / "data"), options=options))
    counts = server.counts()
    return {
        **measured,
        "requests": counts.requests,
        "wire_bytes": counts.bytes_sent + counts.bytes_received,
        "server_cpu_seconds": counts.cpu_seconds,
    }


def _median(cases: Sequence[Case]) -> dict[str, Any]:
    """Medians of what was measured, and the seconds of all runs."""
    middle = {name: statistics.median(case[name] for case in cases) for name in cases[0]}
    return {**middle, "runs_seconds": [case["seconds"] for case in cases]}
