"""``python -m benchmarks``: run, print, and write the results as JSON and as documentation."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from benchmarks import catalog, columns, coverage, lake, limits, machine, maintenance, real_costs, suite, watch
from benchmarks.report import as_document, as_text
from benchmarks.worlds import Scale

_NAMES = (*suite.WORKLOADS, "real costs", "memory", "limits", "lake", "coverage", "columns", "maintenance", "watch")
_DATED = {*suite.WORKLOADS, "real costs", "limits", "lake", "coverage", "columns", "maintenance", "watch"}
"""What tells by itself when it was measured."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="smaller data, in less than two minutes")
    parser.add_argument("--tiny", action="store_true", help="no numbers worth reading: shows that it runs")
    parser.add_argument("--only", nargs="+", choices=_NAMES, metavar="NAME", default=_NAMES, help=", ".join(_NAMES))
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the results; workloads left out are kept")
    parser.add_argument("--doc", type=Path, metavar="PATH", help="write the results as documentation")
    parser.add_argument("--from", dest="source", type=Path, metavar="PATH", help="take results from JSON, run nothing")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="where to write data")
    options = parser.parse_args(arguments)
    if options.source:
        results = json.loads(options.source.read_text(encoding="utf-8"))
    else:
        scale: Scale = "tiny" if options.tiny else "quick" if options.quick else "full"
        earlier = _earlier(options.json, scale)
        with tempfile.TemporaryDirectory(dir=options.folder, prefix="beiwe-benchmark-") as folder:
            results = run(scale, only=options.only, folder=Path(folder), earlier=earlier)
    print(as_text(results))
    if options.json and not options.source:
        options.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
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
            "taken": _now(),
            "machine": machine.describe(folder),
            "versions": machine.versions(),
        }
    for name in only:
        _say(f"{name} ...")
        if name == "memory":
            results[name] = suite.measure_memory(scale, folder=folder, say=_say)
        elif name == "real costs":
            results[name] = real_costs.measure(scale, folder=folder / name, say=_say)
        elif name == "lake":
            kept = {key: each for key, each in results.get(name, {}).items() if key.endswith("before")}
            results[name] = lake.measure(scale, folder=folder / name)
            sizes = {"full": (26_000, 312_000), "quick": (26_000,)}.get(scale, (64,))
            results[name]["logs"] = {
                "in a folder": [catalog.measure(size) for size in sizes],
                "in S3": [catalog.measure_s3(size) for size in sizes[:1]],
            }
            results[name] |= kept
        elif name == "coverage":
            results[name] = coverage.measure(scale, folder=folder / name)
        elif name == "columns":
            results[name] = columns.measure(scale, folder=folder / name)
        elif name in ("maintenance", "watch"):
            part = maintenance if name == "maintenance" else watch
            results[name] = part.measure(scale, folder=folder / name, say=_say)
        elif name == "limits":
            size_bytes = {"full": 32_000_000, "quick": 8_000_000, "tiny": 100_000}[scale]
            results[name] = limits.measure(folder, size_bytes=size_bytes, files={"full": 500}.get(scale, 50))
            results["limits taken"] = _now()
        else:
            dated = {"taken": _now(), "load": os.getloadavg()[0]}
            measured = suite.measure(suite.WORKLOADS[name], scale, folder=folder, say=_say)
            results["workloads"][name] = {**measured, **dated}
    return results


def _earlier(path: Path | None, scale: Scale) -> dict[str, Any] | None:
    """Results of the same scale at ``path``: those of another can't stand beside them."""
    if path is None or not path.exists():
        return None
    results: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return results if results.get("scale") == scale else None


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="minutes")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
