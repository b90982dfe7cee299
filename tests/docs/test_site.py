"""The documentation site: each page is in its navigation, and each public name in its API reference.

Links, anchors, and docstrings are checked when it is built (``run.py docs``), where a warning is an error.
"""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path

from site_parts import public_names

DOCS = Path(__file__).parents[2] / "docs"


def test_the_start_page_lists_each_page_once() -> None:
    """In the lists that become the sidebar; a page that is in none would be found by its search only."""
    _, *sections = (DOCS / "index.md").read_text(encoding="utf-8").split("\n## ")
    listed = re.findall(r"\]\(([\w-]+\.md)\)", "".join(sections))
    assert sorted(listed) == sorted({path.name for path in DOCS.glob("*.md")} - {"index.md"})


def test_each_name_of_the_api_reference_says_what_it_is() -> None:
    """By a docstring of its own, not by one that it inherits."""
    silent = [
        f"{module}.{name}"
        for module, names in public_names().items()
        for name in names
        if not inspect.getattr_static(getattr(importlib.import_module(module), name), "__doc__", None)
    ]
    assert silent == []
