"""A participant's month from a server with the costs of a real one: what the client adds to the bare download."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.process import Job, run
from benchmarks.server import ServerProcess
from benchmarks.worlds import REAL_COSTS, Scale

_CLIENTS = {"bare download": ("wire", {"version": 2}), "ours": ("ours", {})}
_MEGA = 1_000_000
_TIMES = "\N{MULTIPLICATION SIGN}"


def measure(scale: Scale, *, folder: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Each client alone, and as many at once as the server has participants, each with its own one.

    One run of each: what varies between runs is the client's work, and most of the time is the server's.
    """
    taken = machine.moment()
    folder.mkdir()
    with ServerProcess("month", scale) as server:
        people = server.served.participants

        def download(client: str, participants: Sequence[str], name: str) -> dict[str, Any]:
            program, options = _CLIENTS[client]
            own = folder / name
            own.mkdir()
            jobs = [
                Job(
                    client=program,
                    served=server.served,
                    folder=str(own / each),
                    options={**options, "participants": [each]},
                    together=len(participants),
                )
                for each in participants
            ]
            with ThreadPoolExecutor(len(jobs)) as pool:
                cases = list(pool.map(run, jobs))
            counts = server.counts()
            say(f"  {name}: {max(case['seconds'] for case in cases):.2f} s")
            return {
                "seconds": max(case["seconds"] for case in cases),
                "cpu_seconds": sum(case["cpu_seconds"] for case in cases),
                "grown_bytes": max(case["peak_bytes"] - case["base_bytes"] for case in cases),
                "requests": counts.requests,
                "wire_bytes": counts.bytes_sent,
                "server_cpu_seconds": counts.cpu_seconds,
            }

        cases = {"one run": people[:1]}
        if len(people) > 1:
            cases["runs at once"] = people
            download("bare download", people, "warm-up")  # the server makes its content
        found = {
            case: {client: download(client, participants, f"{case}, {client}") for client in _CLIENTS}
            for case, participants in cases.items()
        }
        served = server.served
    return {
        **taken,
        "costs": dict(REAL_COSTS),
        "at_once": len(people),
        "files": served.files // len(people),
        "size_bytes": served.size_bytes // len(people),
        "cases": found,
    }


def times_as_long(results: Mapping[str, Any], case: str) -> float:
    """Our wall time divided by that of the bare download."""
    clients = results["real costs"]["cases"][case]
    return float(clients["ours"]["seconds"] / clients["bare download"]["seconds"])


def facts(costs: Mapping[str, Any]) -> str:
    """What was measured, as the page says it."""
    return (
        f"All data of an iPhone in a month, {costs['files']:,} files and {costs['size_bytes'] / _MEGA:,.0f} MB plain, "
        f"from a server where each request costs {costs['costs']['auth_seconds']:g} s and each file "
        f"{costs['costs']['file_seconds'] * 1000:g} ms, as a real one needed on two cores. It reads files "
        "ahead of the client, as real ones do. *Bare download* receives the same archive in one request and discards "
        "it; ours checks, encrypts (`cryptease`), and stores it. Of "
        f"{costs['at_once']} runs at once, each is a process of its own with another participant, and the server "
        "serves all of them at the same time; the seconds are those of the slowest. The share of a core and the memory "
        f"are those of one run. Measured {costs['taken'][:10]}."
    )


def table(costs: Mapping[str, Any]) -> tuple[Sequence[str], list[list[str]]]:
    """Head and rows."""
    head = ("client", "of the bare download", "seconds", "processor s", "of a core", "requests", "grown by")
    rows = []
    for case, clients in costs["cases"].items():
        runs = 1 if case == "one run" else costs["at_once"]
        for client, found in clients.items():
            rows.append(
                [
                    client if runs == 1 else f"{runs} at once: {client}",
                    f"{found['seconds'] / clients['bare download']['seconds']:.2f} {_TIMES}",
                    f"{found['seconds']:.2f}",
                    f"{found['cpu_seconds']:.2f}",
                    f"{found['cpu_seconds'] / runs / found['seconds']:.0%}",
                    f"{found['requests']:,.0f}",
                    f"{found['grown_bytes'] / _MEGA:,.0f} MB",
                ]
            )
    return head, rows
