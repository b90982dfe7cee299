"""``python -m benchmarks.cost``: play four studies, compare them, and write the results as JSON and documentation."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

from benchmarks import machine
from benchmarks.cost.page import as_document, as_text
from benchmarks.cost.play import Facts, play
from benchmarks.cost.worlds import STUDIES


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cost", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=list(STUDIES), metavar="NAME", default=list(STUDIES))
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the results; studies left out are kept")
    parser.add_argument("--doc", type=Path, metavar="PATH", help="write the results as documentation (docs/cost.md)")
    parser.add_argument("--from", dest="source", type=Path, metavar="PATH", help="take results from JSON, run nothing")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="where to write data")
    options = parser.parse_args(arguments)
    if options.source:
        results = json.loads(options.source.read_text(encoding="utf-8"))
    else:
        earlier = json.loads(options.json.read_text(encoding="utf-8")) if options.json and options.json.exists() else {}
        results = run(options.only, folder=options.folder, earlier=earlier)
    if options.json and not options.source:
        options.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    if STUDIES.keys() - {"tenth"} <= results["studies"].keys():
        print(as_text(results))
        if options.doc:
            options.doc.write_text(as_document(results), encoding="utf-8")
    return 0


def run(only: Sequence[str], *, folder: Path, earlier: Facts) -> Facts:
    """Play the named studies; others are kept from ``earlier`` results."""
    studies = dict(earlier.get("studies", {}))
    for name in only:
        _say(f"{name} ...")
        taken = {"taken": datetime.now(timezone.utc).isoformat(timespec="minutes"), "load": os.getloadavg()[0]}
        with tempfile.TemporaryDirectory(dir=folder, prefix="beiwe-cost-") as own:
            studies[name] = play(STUDIES[name], folder=Path(own) / name, say=_say) | taken
    return {"machine": machine.describe(folder), "versions": machine.versions(), "studies": studies}


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
