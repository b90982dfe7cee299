"""``python -m benchmarks``: run, print, and write the results as JSON and as documentation."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import catalog, columns, command, coverage, lake, limits, machine, maintenance, real_costs, suite, watch
from benchmarks.command import say
from benchmarks.report import as_document, as_text
from benchmarks.worlds import Scale


def _limits(scale: Scale, *, folder: Path) -> dict[str, Any]:
    size_bytes = {"full": 32_000_000, "quick": 8_000_000, "tiny": 100_000}[scale]
    folder.mkdir()
    return limits.measure(folder, size_bytes=size_bytes, files={"full": 500}.get(scale, 50))


def _lake(scale: Scale, *, folder: Path) -> dict[str, Any]:
    sizes = {"full": (26_000, 312_000), "quick": (26_000,)}.get(scale, (64,))
    return lake.measure(scale, folder=folder) | {
        "logs": {
            "in a folder": [catalog.measure(size) for size in sizes],
            "in S3": [catalog.measure_s3(size) for size in sizes[:1]],
        }
    }


_PARTS: Mapping[str, Callable[..., dict[str, Any]]] = {
    "real costs": partial(real_costs.measure, say=say),
    "memory": partial(suite.measure_memory, say=say),
    "limits": _limits,
    "lake": _lake,
    "coverage": coverage.measure,
    "columns": columns.measure,
    "maintenance": partial(maintenance.measure, say=say),
    "watch": partial(watch.measure, say=say),
}
"""What is measured beside the workloads, each in a folder of its own."""

_NAMES = (*suite.WORKLOADS, *_PARTS)
_DATED = {*_NAMES} - {"memory"}
"""What tells by itself when it was measured."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = command.parser("benchmarks", __doc__)
    parser.add_argument("--quick", action="store_true", help="smaller data, in less than two minutes")
    parser.add_argument("--tiny", action="store_true", help="no numbers worth reading: shows that it runs")
    parser.add_argument("--only", nargs="+", choices=_NAMES, metavar="NAME", default=_NAMES, help=", ".join(_NAMES))
    options = parser.parse_args(arguments)
    results = command.load(options.source or options.json)
    if not options.source:
        scale: Scale = "tiny" if options.tiny else "quick" if options.quick else "full"
        earlier = results if results.get("scale") == scale else {}  # those of another can't stand beside them
        with tempfile.TemporaryDirectory(dir=options.folder, prefix="beiwe-benchmark-") as folder:
            results = run(scale, only=options.only, folder=Path(folder), earlier=earlier)
    print(as_text(results))
    command.keep(results, options)
    if options.doc:
        options.doc.write_text(as_document(results), encoding="utf-8")
    return 0


def run(
    scale: Scale, *, only: Sequence[str] = _NAMES, folder: Path, earlier: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Measure; ``earlier`` results of what is not among ``only`` are kept."""
    results: dict[str, Any] = {"workloads": {}, **(earlier or {})}
    if "taken" not in results or not set(only) <= _DATED:
        results |= {
            "scale": scale,
            "taken": machine.moment()["taken"],
            "machine": machine.describe(folder),
            "versions": machine.versions(),
        }
    for name in only:
        say(f"{name} ...")
        moment = machine.moment()
        if name in suite.WORKLOADS:
            measured = suite.measure(suite.WORKLOADS[name], scale, folder=folder, say=say)
            results["workloads"][name] = measured | moment
            continue
        kept = {key: each for key, each in results.get(name, {}).items() if key.endswith("before")}
        results[name] = _PARTS[name](scale, folder=folder / name) | kept
        if name == "limits":
            results["limits taken"] = moment["taken"]
    return results


if __name__ == "__main__":
    raise SystemExit(main())
