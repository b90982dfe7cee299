"""What the commands that measure have in common: options, kept results, and what they say meanwhile."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any


def parser(module: str, description: str | None) -> argparse.ArgumentParser:
    """Options about results, which all of them have."""
    made = argparse.ArgumentParser(prog=f"python -m {module}", description=description)
    made.add_argument("--json", type=Path, metavar="PATH", help="write the results; what is not measured is kept")
    made.add_argument("--doc", type=Path, metavar="PATH", help="write the results as documentation")
    made.add_argument("--from", dest="source", type=Path, metavar="PATH", help="take results from JSON, run nothing")
    made.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="where to write data")
    return made


def load(path: Path | None) -> dict[str, Any]:
    """The results at ``path``; none if it is not there."""
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path and path.exists() else {}
    return found


def keep(results: dict[str, Any], options: argparse.Namespace) -> None:
    """Write results that were not read from a file."""
    if options.json and not options.source:
        options.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def say(text: str) -> None:
    """How far a measurement is."""
    print(text, file=sys.stderr, flush=True)
