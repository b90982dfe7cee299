"""What the documentation site generates from the code: see ``conf.py``."""

from __future__ import annotations

import importlib
import inspect
import re
from collections import defaultdict
from pathlib import Path

import dagster_beiwe
from dagster_beiwe import errors

HERE = Path(__file__).parent
PAGES = [HERE.parent / "README.md", *sorted(HERE.glob("*.md"))]

_IMPORTED = re.compile(r"^from (dagster_beiwe[\w.]*) import (?:\(\n([^)]*)\)|(.*))$", re.MULTILINE)


def public_names() -> dict[str, list[str]]:
    """{module: names}: what the package exports at its top, and what the pages import from its modules."""
    found: dict[str, set[str]] = defaultdict(set)
    for page in PAGES:
        for module, lines, line in _IMPORTED.findall(page.read_text(encoding="utf-8")):
            found[module] |= set(re.findall(r"\w+", lines or line))
    top = set(dagster_beiwe.__all__)
    others = {module: sorted(names - top) for module, names in found.items()}
    return {"dagster_beiwe": sorted(top)} | {module: names for module, names in sorted(others.items()) if names}


def api_reference() -> str:
    """The directives by which Sphinx documents the public names, and all errors."""
    parts = [_section(module, names) for module, names in public_names().items()]
    own = [name for name, each in vars(errors).items() if inspect.isclass(each) and issubclass(each, errors.BeiweError)]
    return "\n".join([*parts, _section("dagster_beiwe.errors", own)])


def _section(module: str, names: list[str]) -> str:
    lines = [f"\n## {module}\n", "```{eval-rst}", f".. currentmodule:: {module}"]
    for name in names:
        is_class = inspect.isclass(getattr(importlib.import_module(module), name))
        lines += ["", f".. auto{'class' if is_class else 'function'}:: {name}", *["   :members:"] * is_class]
    return "\n".join([*lines, "```\n"])
