"""The documentation site: each page is in its navigation, and each public name in its API reference.

Links, anchors, and docstrings are checked when it is built (``run.py docs``), where a warning is an error.
"""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path

from site_parts import PARTS, SETTINGS, public_names, settings_page, variables

from dagster_beiwe import BeiweComponent, environment

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


def test_the_page_of_settings_is_what_the_code_says() -> None:
    """``python docs/site_parts.py`` writes it anew."""
    assert SETTINGS.read_text(encoding="utf-8") == settings_page()


def test_each_setting_says_what_it_means() -> None:
    """Fields and environment variables, each in a sentence."""
    fields = {
        f"{model.__name__}.{name}": field.description
        for model in PARTS.values()
        for name, field in model.model_fields.items()
    }
    assert [name for name, text in {**fields, **dict(variables())}.items() if not (text or "").endswith(".")] == []
    assert {name for name, _ in variables()} == {
        name for name in vars(environment) if re.fullmatch("[A-Z]+_[A-Z_]+", name)
    }


def test_the_schema_of_the_component_describes_each_field() -> None:
    """Editors show the description beside the field, and so does ``dg utils inspect-component``."""
    schema = BeiweComponent.get_model_cls().model_json_schema()
    ours = [
        schema,
        *(each for name, each in schema["$defs"].items() if name.startswith(("StudyIn", "Depl", "Auto", "Noti"))),
    ]
    assert len(ours) == len(PARTS)
    assert [name for part in ours for name, field in part["properties"].items() if "description" not in field] == []
