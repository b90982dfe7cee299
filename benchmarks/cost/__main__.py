"""``python -m benchmarks.cost``: play four studies, compare them, and write the results as JSON and documentation."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks import command, machine
from benchmarks.cost.page import as_document, as_text
from benchmarks.cost.play import Facts, play
from benchmarks.cost.worlds import STUDIES


def main(arguments: Sequence[str] | None = None) -> int:
    parser = command.parser("benchmarks.cost", __doc__)
    parser.add_argument("--only", nargs="+", choices=list(STUDIES), metavar="NAME", default=list(STUDIES))
    options = parser.parse_args(arguments)
    results = command.load(options.source or options.json)
    if not options.source:
        results = run(options.only, folder=options.folder, earlier=results)
    command.keep(results, options)
    if STUDIES.keys() - {"tenth"} <= results["studies"].keys():
        print(as_text(results))
        if options.doc:
            options.doc.write_text(as_document(results), encoding="utf-8")
    return 0


def run(only: Sequence[str], *, folder: Path, earlier: Facts) -> Facts:
    """Play the named studies; others are kept from ``earlier`` results."""
    studies = dict(earlier.get("studies", {}))
    for name in only:
        command.say(f"{name} ...")
        taken = machine.moment()
        with tempfile.TemporaryDirectory(dir=folder, prefix="beiwe-cost-") as own:
            studies[name] = play(STUDIES[name], folder=Path(own) / name, say=command.say) | taken
    return {"machine": machine.describe(folder), "versions": machine.versions(), "studies": studies}


if __name__ == "__main__":
    raise SystemExit(main())
